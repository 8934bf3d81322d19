/** Write WebSocket handlers for tova-host in JavaScript. Every name exists with underscores, as the specification writes it, and in
 * camel case. */
import {
	Retry, broadcast, broadcast_to, cancel_timer, close, close_room, connections, count, history, info, join, leave, leave_all, members, prolong, push,
	room_state, rooms, send, set_room, set_state, set_timer, stats, unwatch, users, watch,
} from "./lib/commands.mjs";
import { Connection, Request, Room } from "./lib/connection.mjs";
import { TovaError } from "./lib/outbox.mjs";
import { current_event } from "./lib/scope.mjs";
import { accept, refuse } from "./lib/upgrade.mjs";
import { serve } from "./lib/worker.mjs";

export {
	Connection, Request, Retry, Room, TovaError, accept, broadcast, broadcast_to, cancel_timer, close, close_room, connections, count,
	current_event, history, info, join, leave, leave_all, members, prolong, push, refuse, room_state, rooms, send, serve, set_room,
	set_state, set_timer, stats, unwatch, users, watch,
};
export {
	broadcast_to as broadcastTo, cancel_timer as cancelTimer, close_room as closeRoom, current_event as currentEvent, leave_all as leaveAll, room_state as roomState,
	set_room as setRoom, set_state as setState, set_timer as setTimer,
};
export { AnswerLost, Expired, Host, Refused, Unreachable, connect } from "./lib/client.mjs";
