import { fileURLToPath } from "node:url";
import { broadcast_to, cancel_timer, join, serve, set_timer } from "tova";

export const handlers = {
	on_open(ws) {
		join(ws, "lobby");
		set_timer("hint", 30000, { ws });
	},
	on_message(ws, message) {
		ws.state = (ws.state ?? 0) + 1;
		cancel_timer("hint", ws);
		broadcast_to("lobby", `${ws.state}: ${message}`, ws);
		if (message.length > 5) throw new Error("too long");
	},
	on_timer(name, id, ws) {
		ws.send("Say something!");
	},
	on_away(ws, code) {
		broadcast_to("lobby", `away (${code})`, ws);
	},
	on_back(ws) {
		broadcast_to("lobby", `back with ${ws.request.query}`, ws);
	},
};
if (process.argv[1] === fileURLToPath(import.meta.url)) serve(handlers);
