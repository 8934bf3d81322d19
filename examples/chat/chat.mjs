/** chat: rooms of people who talk to each other. Messages are JSON:
 *
 *     {"type": "chat", "user": "Ada", "text": "Hello"}    to the others in room general, or in the room that "room" names
 *     {"type": "join_room", "room": "tea"}                leaves general and joins that room
 *     {"type": "typing", "user": "Ada"}                   to the others, as chat, and nobody remembers it
 *     {"type": "people", "user": "Ada", "id": 3}          says who one is, and asks who is in room general, or in the room that "room" names
 *
 * Who joins a room is sent its last 50 messages, where the host runs with --history 50. People are
 *
 *     {"type": "people", "id": 3, "users": ["Ada"]}       the answer, each once however many tabs he has
 *     {"type": "here", "room": "tea", "user": "Ada"}      to a room: he has come; or "gone": he has left, and has not just loaded his page again
 *
 * Start it with: tova-host --static examples -w /chat='node examples/chat/chat.mjs'
 */

// The library of this checkout. Where it is installed (npm install ./sdk/node) it is called "tova".
import { broadcast_to, info, join, leave, serve, unwatch, users, watch } from "../../sdk/node/index.mjs";

const line = (type, text) => ({ type, text });
const isText = (value) => typeof value === "string" && !value.includes("\0");
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function on_open(ws) {
	join(ws, "general", { last: 50 });
	broadcast_to("general", line("system", "A new user joined"), ws, { keep: false });
	ws.send(line("system", "Welcome to the chat!"));
}

async function on_message(ws, message) {
	let data;
	try {
		data = JSON.parse(typeof message === "string" ? message : utf8.decode(message));
	} catch {
		data = null;
	}
	if (typeof data !== "object" || data === null) {
		ws.send(line("error", "A message is a JSON object"));
		return;
	}
	switch (data.type) {
		case "chat":
			chat(ws, data);
			break;
		case "join_room":
			joinRoom(ws, data);
			break;
		case "typing":
			typing(ws, data);
			break;
		case "people":
			await people(ws, data);
			break;
		default:
			ws.send(line("error", "Unknown message type"));
	}
}

function chat(ws, { user, text, room }) {
	if (![user, text, ...(room === undefined ? [] : [room])].every(isText)) {
		ws.send(line("error", "A chat message needs user and text, both strings; room may be one"));
		return;
	}
	// A connection can be in several rooms: a message that was sent to one says so.
	broadcast_to(room ?? "general", { type: "chat", user, text, room }, ws);
}

function typing(ws, { user, room }) {
	if (!isText(user) || (room !== undefined && !isText(room))) {
		ws.send(line("error", "A typing notice needs user, a string; room may be one"));
		return;
	}
	broadcast_to(room ?? "general", { type: "typing", user, room }, ws, { keep: false });
}

function joinRoom(ws, { room }) {
	if (!isText(room)) {
		ws.send(line("error", "To join a room, name it: room, a string"));
		return;
	}
	leave(ws, "general");
	join(ws, room, { last: 50 });
	ws.send(line("system", `Joined room: ${room}`));
}

async function people(ws, { user, room = "general", id = 0 }) {
	if (!isText(user) || !isText(room) || !Number.isInteger(id)) {
		ws.send(line("error", "Who asks for people says who asks: user, a string; room may be one"));
		return;
	}
	info(ws, undefined, { user });
	watch(room);
	ws.send({ type: "people", id, users: await users(room) });
}

function on_join({ room, user }) {
	if (user !== null) broadcast_to(room, { type: "here", room, user }, null, { keep: false });
}

function on_leave({ room, user, users }) {
	if (user !== null) broadcast_to(room, { type: "gone", room, user }, null, { keep: false });
	if (users === 0) unwatch(room, { if_empty: true });
}

function on_close() {
	broadcast_to("general", line("system", "A user left the chat"), null, { keep: false });
}

/** Also what became of a command that was wrong, such as joining a room whose name is too long: nothing of that message has happened,
 * and its sender should know. The connection stays. */
function on_error(ws, error) {
	console.error(`WebSocket error: ${error}`);
	if (error.kind === "handler") ws.send(line("error", error.message));
}

serve({ on_open, on_message, on_join, on_leave, on_close, on_error });
