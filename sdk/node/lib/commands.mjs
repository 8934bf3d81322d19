/** What handlers can do: commands, timers, pushes and queries.
 *
 * Commands of a handler are collected and committed together with its acknowledgement: all of them in order, or, when it throws,
 * none. Anywhere else (in timers of JavaScript, in promises that outlive their handler) each command is a push of its own. */
import { isBinary, quote, toBuffer, toJson } from "./codec.mjs";
import { Connection, ROOM_STATE_MAX, Room, encodeState } from "./connection.mjs";
import { Push, Query, outbox } from "./outbox.mjs";
import { Event, Scope, current } from "./scope.mjs";

/** Throw it in a handler to undo the event and have it delivered again after so many milliseconds. */
const HOUR_MS = 3_600_000;
const INFO_MAX = 1024; // bytes
const LIST_MAX = 256; // entries
const PAGE = 1000; // that the host lists at a time

export class Retry extends Error {
	name = "Retry";

	constructor(after_ms, text = "try again later") {
		super(text);
		this.after_ms = whole(after_ms, "after_ms");
		if (after_ms > HOUR_MS) throw new RangeError(`after_ms is at most ${HOUR_MS}, an hour, not ${after_ms}`);
	}
}

// --- commands ----------------------------------------------------------------------------------------------------------------

export function send(ws, data, options) {
	const scope = open();
	const [text, binary] = payload(data, options);
	add(scope, `{"c":"send"${conn(scope, ws)}${text}}`, binary);
}

export function join(ws, room, { max, first, replace, ...rest } = {}) {
	const scope = open();
	const text = `${most(max, "max")}${most(rest.users_max ?? rest.usersMax, "users_max")}${first ? ',"first":true' : ""}${replace ? ',"replace":true' : ""}`;
	add(scope, `{"c":"join","room":${label(room, "the name of a room")}${text}${remembered(rest)}${conn(scope, ws)}}`);
}

export function leave(ws, room) {
	const scope = open();
	add(scope, `{"c":"leave","room":${label(room, "the name of a room")}${conn(scope, ws)}}`);
}

export function leave_all(ws) {
	const scope = open();
	add(scope, `{"c":"leave_all"${conn(scope, ws)}}`);
}

export function prolong(ws, token) {
	const scope = open();
	if (typeof token !== "string" || token === "") throw new TypeError("a token is a text that is not empty");
	add(scope, `{"c":"prolong","token":${quote(token)}${conn(scope, ws)}}`);
}

export function watch(room, { grace_ms, ...rest } = {}) {
	const grace = grace_ms ?? rest.graceMs;
	if (grace !== undefined && whole(grace, "grace_ms") > HOUR_MS) throw new RangeError(`grace_ms is at most ${HOUR_MS}, an hour, not ${grace}`);
	add(open(), `{"c":"watch","room":${label(room, "the name of a room")}${grace === undefined ? "" : `,"grace":${grace}`}}`);
}

export function unwatch(room, { if_empty, ...rest } = {}) {
	add(open(), `{"c":"unwatch","room":${label(room, "the name of a room")}${(if_empty ?? rest.ifEmpty) ? ',"if_empty":true' : ""}}`);
}

/** What is undefined stays as it is. */
export function info(ws, said, { user } = {}) {
	const scope = open();
	const text = said === undefined ? undefined : checkedInfo(said);
	if (text === undefined && user === undefined) throw new TypeError("an info needs something to say: a text, or a user");
	const members = (text === undefined ? "" : `,"info":${quote(text)}`) + (user === undefined ? "" : `,"user":${quote(checkedUser(user))}`);
	add(scope, `{"c":"info"${members}${conn(scope, ws)}}`);
	if (!(scope instanceof Event) || idOf(ws) !== scope.own) return;
	// what follows in a run is told nothing of it
	if (text !== undefined) scope.who.info = text === "" ? undefined : text;
	if (user !== undefined) scope.who.user = user === "" ? undefined : user;
	scope.connection?.told({ info: scope.who.info ?? null, user: scope.who.user ?? scope.who.subject ?? null });
}

/** As it is sent: text, or a value that becomes JSON text. */
export function checkedInfo(said) {
	const text = typeof said === "string" ? said : toJson(said);
	if (Buffer.byteLength(text) > INFO_MAX) throw new RangeError(`an info has at most ${INFO_MAX} bytes`);
	return text;
}

export function checkedUser(user) {
	if (user !== "") label(user, "a user");
	return user;
}

export function broadcast(data, exclude, options) {
	const scope = open();
	const [text, binary] = payload(data, options);
	add(scope, `{"c":"broadcast"${text}${but(scope, exclude, options)}}`, binary);
}

export function broadcast_to(room, data, exclude, options) {
	const scope = open();
	const [text, binary] = payload(data, options), keep = options?.keep === false ? ',"keep":false' : "";
	add(scope, `{"c":"broadcast_to"${toRooms(room)}${keep}${text}${but(scope, exclude, options)}}`, binary);
}

export function close(ws, code, reason = "") {
	const scope = open();
	add(scope, `{"c":"close"${conn(scope, ws)}${closing(code, reason)}}`);
}

export function close_room(room, code, reason = "", { exclude, ...others } = {}) {
	const scope = open();
	add(scope, `{"c":"close_room"${toRooms(room)}${closing(code, reason)}${but(scope, exclude, others)}}`);
}

export function set_state(ws, value, options = {}) {
	const compares = "if_state" in options || "ifState" in options, expected = options.if_state ?? options.ifState ?? null;
	if (ws instanceof Connection) ws.store(value, compares ? ws.asStored(expected) : undefined);
	else storeState(ws, encodeState(value), !compares ? undefined : expected === null ? "" : encodeState(expected));
}

/** room: a name, or a Room, whose version it was made from; version null: it replaces whatever there is. */
export function set_room(room, state, version = room instanceof Room ? room.version : undefined) {
	if (version === undefined) throw new TypeError("set_room needs the version that the state was made from: set_room(ws.room, state), or null for any");
	const scope = open(), stored = state === null || state === undefined ? "" : encodeState(state, ROOM_STATE_MAX, "a room");
	const text = `{"c":"set_room","room":${label(room instanceof Room ? room.name : room, "the name of a room")}` +
		(version === null ? "" : `,"version":${whole(version, "version")}`);
	if (typeof stored === "string") add(scope, `${text},"state":${quote(stored)}}`);
	else add(scope, `${text},"state_bin":${stored.length}}`, stored);
}

/** expected: what has to be stored, or the event fails; undefined: anything. */
export function storeState(ws, stored, expected) {
	const scope = open(), binaries = [];
	if (scope instanceof Event && idOf(ws) === scope.own) scope.stored = stored;
	const member = (key, value) => {
		if (value === undefined) return "";
		if (typeof value === "string") return `,"${key}":${quote(value)}`;
		binaries.push(value);
		return `,"${key}_bin":${value.length}`;
	};
	const text = `{"c":"set"${conn(scope, ws)}${member("state", stored)}${member("if_state", expected)}}`;
	add(scope, text, binaries.length > 0 ? Buffer.concat(binaries) : undefined);
}

export function set_timer(timer, delay_ms, { id = 0, ws, ...rest } = {}) {
	const period = whole(rest.period_ms ?? rest.periodMs ?? 0, "period_ms");
	const text = `"name":${label(timer, "the name of a timer")},"id":${whole(id, "id")},"delay":${whole(delay_ms, "delay_ms")}`;
	add(open(), `{"c":"timer",${text},"period":${period}${ws === undefined ? "" : `,"conn":${quote(idOf(ws))}`}}`);
}

export function cancel_timer(timer, ws) {
	const text = `"name":${label(timer, "the name of a timer")}`;
	add(open(), `{"c":"cancel",${text}${ws === undefined ? "" : `,"conn":${quote(idOf(ws))}`}}`);
}

/** The scope at hand, or a new one for a command that stands alone. */
function open() {
	const scope = current.getStore();
	return scope?.open ? scope : new Scope();
}

// Only here something is left behind: a command that threw before is as if it had not been given.
function add(scope, text, binary) {
	scope.commands.push(text);
	if (binary !== undefined) scope.binaries.push(binary);
	if (scope !== current.getStore()) outbox.submit(new Push(scope));
}

function idOf(ws) {
	const id = typeof ws === "string" ? ws : ws?.id;
	if (typeof id !== "string") throw new TypeError(`a connection is expected, not ${kind(ws)}`);
	return id;
}

function conn(scope, ws) {
	const id = idOf(ws);
	return id === scope.own ? "" : `,"conn":${quote(id)}`;
}

function but(scope, exclude, options) {
	const users = options?.exclude_users ?? options?.excludeUsers, rooms = options?.exclude_rooms ?? options?.excludeRooms;
	let text = users === undefined ? "" : `,"exclude_users":[${few(users, "exclude_users").map((user) => name(user, "a user"))}]`;
	if (rooms !== undefined) text += `,"exclude_rooms":[${few(rooms, "exclude_rooms").map((room) => label(room, "the name of a room"))}]`;
	if (exclude === undefined || exclude === null) return text;
	if (Array.isArray(exclude)) return `${text},"exclude":[${few(exclude, "exclude").map((ws) => quote(idOf(ws)))}]`;
	const id = idOf(exclude);
	return text + (id === scope.own ? ',"exclude":true' : `,"exclude":${quote(id)}`);
}

function few(values, what) {
	if (!Array.isArray(values)) throw new TypeError(`${what} is a list, not ${kind(values)}`);
	if (values.length > LIST_MAX) throw new RangeError(`${what} has ${values.length} entries: at most ${LIST_MAX}`);
	return values;
}

function toRooms(room) {
	if (!Array.isArray(room)) return `,"room":${label(room, "the name of a room")}`;
	if (room.length === 0) throw new RangeError("a list of rooms is empty");
	return `,"rooms":[${few(room, "rooms").map((one) => label(one, "the name of a room"))}]`;
}

function closing(code, reason) {
	let text = "";
	if (code !== undefined && code !== null) text += `,"code":${closeCode(code)}`;
	else if (reason !== "") throw new TypeError("a reason needs a close code");
	if (reason !== "") text += `,"reason":${name(reason, "a reason")}`;
	if (Buffer.byteLength(reason) > 123) throw new RangeError("a reason has at most 123 bytes");
	return text;
}

function most(value, what) {
	if (value === undefined) return "";
	if (whole(value, what) < 1 || value > 0xffffffff) throw new RangeError(`${what} is a number from 1, not ${value}`);
	return `,"${what}":${value}`;
}

function payload(data, options) {
	const key = options?.key === undefined || options.key === null ? "" : `,"key":${name(options.key, "a key")}`;
	if (typeof data === "string") return [`${key},"data":${quote(data)}`];
	if (isBinary(data)) {
		const binary = toBuffer(data);
		return [`${key},"bin":${binary.length}`, binary];
	}
	return [`${key},"data":${quote(toJson(data))}`];
}

/** What a join wants of what its room remembers. */
function remembered({ last, since, epoch, else: otherwise = "last" } = {}) {
	if (otherwise !== "last" && otherwise !== "fail") throw new RangeError(`else is "last" or "fail", not ${String(otherwise)}`);
	let text = last === undefined ? "" : `,"last":${whole(last, "last")}`;
	if (since === undefined) {
		if (epoch !== undefined || otherwise !== "last") throw new TypeError("epoch and else need since, an offset");
		return text;
	}
	text += `,"since":${whole(since, "since")}`;
	if (epoch !== undefined) text += `,"epoch":${whole(epoch, "epoch")}`;
	else if (since > 0) throw new TypeError("since needs the epoch of that offset");
	return otherwise === "fail" ? `${text},"else":"fail"` : text;
}

function name(value, what) {
	if (typeof value !== "string") throw new TypeError(`${what} is text, not ${kind(value)}`);
	return quote(value);
}

/** As the host wants it. That would refuse the event, too, but only when the handler has gone on. */
function label(value, what) {
	const text = name(value, what);
	if (value === "" || value.includes("\0") || (value.length > 85 && Buffer.byteLength(value) > 255))
		throw new RangeError(`${what} has 1 to 255 bytes and no NUL, unlike ${text.slice(0, 50)}`);
	return text;
}

function closeCode(code) {
	whole(code, "a close code");
	if (code === 1000 || code === 1001 || code === 1003 || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999)) return code;
	throw new RangeError(`a close code is 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999, not ${code}`);
}

function whole(value, what) {
	if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`${what} is a whole number from 0, not ${String(value)}`);
	return value;
}

function kind(value) {
	return value === null ? "null" : typeof value;
}

// --- pushes ------------------------------------------------------------------------------------------------------------------

/** Runs a function, plain or async, and commits its commands together, though no event is at hand. The promise tells when the
 * host has done so. A function that throws pushes nothing. */
export function push(commands) {
	const scope = new Scope();
	const submit = () => {
		scope.open = false;
		return scope.commands.length > 0 ? outbox.submit(new Push(scope)) : Promise.resolve();
	};
	let result;
	try {
		result = current.run(scope, commands);
	} catch (error) {
		scope.open = false;
		throw error;
	}
	if (typeof result?.then !== "function") return submit();
	const done = Promise.resolve(result).then(submit, (error) => {
		scope.open = false;
		console.error("tova: nothing was pushed:", error);
		throw error;
	});
	// Who does not wait for it finds all failures in the log; the process goes on.
	done.catch(() => {});
	return done;
}

// --- queries -----------------------------------------------------------------------------------------------------------------

export function members(room, { limit, after } = {}) {
	return query(page("members", room, limit, after === undefined ? undefined : idOf(after)), toMembers, limit === undefined ? "members" : undefined);
}

export function users(room, { limit, after } = {}) {
	const names = (reply) => (reply.users ?? []).map(({ user }) => user);
	return query(page("users", room, limit, after), names, limit === undefined ? "users" : undefined);
}

function page(what, room, limit, after) {
	if (limit !== undefined && (whole(limit, "a limit") < 1 || limit > PAGE)) throw new RangeError(`a limit is a number of 1 to ${PAGE}, not ${limit}`);
	const text = `,"what":"${what}","room":${label(room, "the name of a room")},"limit":${limit ?? PAGE}`;
	return after === undefined ? text : `${text},"after":${name(after, "after")}`;
}

export function count(room) {
	return query(`,"what":"count","room":${label(room, "the name of a room")}`, (reply) => reply.count ?? 0);
}

export function history(room, { since, limit = 100, epoch } = {}) {
	let text = `,"what":"history","room":${label(room, "the name of a room")},"limit":${whole(limit, "limit")}`;
	if (since !== undefined) text += `,"since":${whole(since, "since")}`;
	if (epoch !== undefined) text += `,"epoch":${whole(epoch, "epoch")}`;
	return query(text, toHistory);
}

export function rooms(ws) {
	return query(`,"what":"rooms","conn":${quote(idOf(ws))}`, (reply) => reply.rooms ?? []);
}

export function room_state(room) {
	const text = label(room, "the name of a room");
	return query(`,"what":"room_state","room":${text}`, ({ state, state_base64, version = 0 }) =>
		new Room(room, state_base64 === undefined ? state : Buffer.from(state_base64, "base64"), version));
}

export function connections() {
	return query(',"what":"connections"', toConnections);
}

export function stats() {
	return query(',"what":"stats"', (reply) => reply.stats ?? {});
}

const query = (asked, value, pages) => outbox.submit(new Query(asked, value, pages));
const toMembers = (reply) => (reply.members ?? []).map(({ conn, user = null, info = null }) => new Connection(conn, undefined, { user, info }));
const toHistory = ({ epoch, first, last, complete, more, messages }) => ({
	epoch, first, last, complete, more,
	messages: messages.map(({ offset, at, data, data_base64 }) => ({ offset, at, data: data ?? Buffer.from(data_base64, "base64") })),
});
const toConnections = (reply) => (reply.connections ?? []).map((id) => new Connection(id));
