/** Write WebSocket handlers for tova-host in JavaScript. Every name exists with underscores, as the specification writes it, and in
 * camel case. */
import {
	Retry, broadcast, broadcast_to, cancel_timer, close, connections, count, join, leave, members, push, rooms, send, set_state, set_timer,
	stats,
} from "./lib/commands.mjs";
import { Connection, Request } from "./lib/connection.mjs";
import { TovaError } from "./lib/outbox.mjs";
import { current_event } from "./lib/scope.mjs";
import { accept, refuse } from "./lib/upgrade.mjs";
import { serve } from "./lib/worker.mjs";

export {
	Connection, Request, Retry, TovaError, accept, broadcast, broadcast_to, cancel_timer, close, connections, count, current_event, join,
	leave, members, push, refuse, rooms, send, serve, set_state, set_timer, stats,
};
export {
	broadcast_to as broadcastTo, cancel_timer as cancelTimer, current_event as currentEvent, set_state as setState, set_timer as setTimer,
};
