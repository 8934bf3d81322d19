/** Counts in its room, together with whoever else does. */
import { join, send, serve, set_room } from "../../../sdk/node/index.mjs";

serve({
	on_open(ws) {
		join(ws, "counter");
	},
	async on_message(ws) {
		const n = (ws.room.state?.n ?? 0) + 1;
		await null;
		set_room(ws.room, { n });
		send(ws, String(n));
	},
}, { room_state: true });
