/** The twin of atomic.c for Node. It also dies while its acknowledgement is on the way: then all or nothing has to have happened. */
import { randomBytes } from "node:crypto";
import process from "node:process";
import { broadcast_to, current_event, join, serve } from "../../../sdk/node/index.mjs";

const life = randomBytes(6).toString("hex"); // process ids come again when thousands have died
let executions = 0;

function die() {
	process.kill(process.pid, "SIGKILL");
	for (;;); // until the signal has come
}

serve({
	on_open(ws) {
		ws.send("welcome");
		join(ws, "all");
	},
	on_message(ws, n) {
		const run = `${life}.${++executions}`;
		const was = ws.state ?? "-";
		// Less often if it has been tried before, so that workers get something done and are started again at once.
		const at = Math.random() < (current_event().attempt > 1 ? 0.1 : 0.33) ? Math.floor(Math.random() * 7) : -1;
		const commands = [
			() => join(ws, `run ${run}`),
			() => ws.send(`sent ${n} ${run} ${was}`),
			() => broadcast_to(`run ${run}`, `room ${n} ${run}`),
			() => { ws.state = run; },
			() => broadcast_to("all", `all ${n} ${run}`),
		];
		commands.forEach((command, k) => {
			if (k === at) die();
			command();
		});
		if (at === 5) die();
		if (at === 6) setTimeout(die, Math.random() * 2);
	},
});
