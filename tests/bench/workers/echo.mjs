// A worker that sends every message back.
import { serve } from "../../../sdk/node/index.mjs";

serve({
	on_message(ws, message) {
		ws.send(message);
	},
});
