/** A worker that does what each message asks for; stories.py does the same. */
import {
	Retry, accept, broadcast, broadcast_to, close_room, count, current_event, info, join, leave, leave_all, members, push, refuse, rooms,
	serve, set_timer, stats, users, unwatch, watch,
} from "../../../sdk/node/index.mjs";

const deeds = {
	echo(ws, ask) {
		ws.send(ask.data);
	},
	count(ws) {
		ws.state.n++;
		ws.send({ n: ws.state.n, pid: process.pid });
	},
	bytes(ws) {
		const before = ws.state;
		ws.state = new Uint8Array([0, 255, 10]);
		ws.send(before instanceof Uint8Array ? before : "none");
	},
	die(ws, ask) {
		const event = current_event();
		ws.send("never twice");
		if (event.attempt <= (ask.times ?? 1)) process.kill(process.pid, "SIGKILL");
		ws.send({ attempt: event.attempt, key: event.key, pid: process.pid });
	},
	fail(ws, ask) {
		ws.send("never");
		broadcast("never");
		leave(ws, "all");
		throw new RangeError(ask.text);
	},
	retry(ws, ask) {
		ws.send("once");
		if (current_event().attempt < 3) throw new Retry(ask.ms ?? 10);
	},
	async slow(ws, ask) {
		await new Promise((resolve) => setTimeout(resolve, ask.ms));
		ws.send({ slow: ask.ms });
	},
	async push(ws) {
		await push(() => {
			broadcast_to("all", "one");
			broadcast_to("all", "two", ws);
		});
		try {
			await push(() => {
				ws.send("never");
				join(ws, "");
			});
		} catch (error) {
			ws.send({ refused: error.message });
		}
	},
	async query(ws) {
		ws.send({
			members: (await members("all")).map((member) => member.id), count: await count("all"), nobody: await count("nobody"),
			rooms: await rooms(ws), connections: (await stats()).connections,
		});
	},
	timer(ws, ask) {
		set_timer("mine", ask.ms, { id: 7, ws });
	},
	close(ws) {
		ws.close(3001, "as you wish");
	},
	room(ws, ask) {
		join(ws, ask.room);
		ws.send("joined");
	},
	me(ws) {
		ws.send({ user: ws.user, info: ws.info });
	},
	who(ws, ask) {
		info(ws, ask.info, { user: ask.user });
		deeds.me(ws);
	},
	async roster(ws, ask) {
		const found = (await members(ask.room)).map(({ user, info }) => [user ?? "", info ?? ""]).sort();
		ws.send({ members: found, users: await users(ask.room) });
	},
	enter(ws, { room, ...conditions }) {
		join(ws, room, conditions);
		ws.send({ entered: room });
	},
	leave_all(ws) {
		leave_all(ws);
		ws.send({ left: "all" });
	},
	clear(ws, ask) {
		close_room(ask.room, ask.code, "cleared", { exclude: ws });
	},
	watch(ws, { room, grace }) {
		if (grace === undefined) unwatch(room);
		else watch(room, { grace_ms: grace });
		ws.send({ watched: room });
	},
	tell(ws, { rooms, text, exclude, ...others }) {
		broadcast_to(rooms, text, exclude, others);
	},
};

serve({
	on_upgrade(request) {
		const status = /^refuse=(\d+)$/.exec(request.query)?.[1];
		if (status) return refuse(Number(status), "who are you?", { headers: { "WWW-Authenticate": "Basic" } });
		if (request.query === "fail") throw new Error("no upgrades today");
		const subprotocol = request.subprotocols.includes("v1") ? "v1" : undefined;
		return accept({ subprotocol, state: { query: request.query, n: 0 } });
	},
	on_open(ws) {
		join(ws, "all");
		broadcast_to("all", { came: ws.id }, ws);
		ws.send({ welcome: ws.id, path: ws.request.path, state: ws.state });
	},
	on_message(ws, message) {
		if (typeof message !== "string") {
			ws.send(message);
			return;
		}
		const ask = JSON.parse(message);
		return deeds[ask.do](ws, ask);
	},
	on_join({ room, user, info, users, ws }) {
		broadcast_to("all", { in: room, user, info, users });
		ws.send({ you: ws.user });
	},
	async on_leave({ room, user, info, users }) {
		broadcast_to("all", { out: room, user, info, users });
		if (user === "trouble") throw new Error("trouble");
	},
	on_timer(name, id, ws) {
		ws.send({ timer: name, id });
	},
	on_close(ws, code, reason) {
		broadcast_to("all", { left: ws.id, code, reason, rooms: ws.rooms.sort() });
	},
	on_error(ws, error) {
		if (error.kind === "handler") ws.send({ error: error.message });
	},
});
