/** What handlers are given: connections and requests. */
import { close, join, leave, leave_all, prolong, send, storeState } from "./commands.mjs";
import { isBinary, toBuffer, toJson } from "./codec.mjs";

const STATE_MAX = 4096; // bytes that the host keeps with a connection
export const ROOM_STATE_MAX = 65536; // with a room
const UNREAD = Symbol("unread");
const UNKNOWN = Symbol("unknown"); // the host has not told

/** A client. Compare by id, keep as long as you like: commands to one that is gone do nothing. */
export class Connection {
	#stored; // state as the host has it: text, Buffer or undefined
	#state = UNREAD;
	#given; // text of an object as it was read or set, to notice changes within
	#request;
	#rooms;
	#who;

	/** known: of its events { stored, request, rooms, user, info, claims }; of one that was asked for what is known but its id. */
	constructor(id, known, asked = {}) {
		this.id = id;
		this.#stored = known === undefined ? UNKNOWN : known.stored;
		this.#who = known ?? asked;
		this.#request = known?.request;
		this.#rooms = known?.rooms;
	}

	get request() {
		if (this.#request === undefined) throw new Error("ws.request is known in on_open and on_back only; keep in ws.state what is needed later");
		return this.#request;
	}

	get rooms() {
		if (this.#rooms === undefined) throw new Error("ws.rooms is known in on_close only; elsewhere the host can be asked: await rooms(ws)");
		return this.#rooms;
	}

	get user() {
		return this.#known("user");
	}

	get info() {
		return this.#known("info");
	}

	get claims() {
		return this.#known("claims");
	}

	get room() {
		if (this.#who.room === undefined)
			throw new Error("ws.room is known in events of the connection where the worker asks for it: serve(handlers, { room_state: true }); "
				+ "of any room it tells await room_state(room)");
		return this.#who.room;
	}

	get traceparent() {
		return this.#known("traceparent");
	}

	get tracestate() {
		return this.#known("tracestate");
	}

	#known(what) {
		if (this.#who[what] === undefined)
			throw new Error(`ws.${what} is known in events of the connection, not for one of which only the id was asked for`);
		return this.#who[what];
	}

	/** It is somebody else's now, or something else is said of it. */
	told(who) {
		this.#who = { ...this.#who, ...who };
	}

	get state() {
		if (this.#state === UNREAD) {
			if (this.#stored === UNKNOWN)
				throw new Error("the state of a connection is known in events of its own, not for one that was asked for");
			this.#state = decodeState(this.#stored);
			if (isPlain(this.#state)) this.#given = toJson(this.#state);
		}
		return this.#state;
	}

	set state(value) {
		this.store(value);
	}

	/** A state as the host has it, to the byte, where that is known; none: "". */
	asStored(state) {
		const encoded = state === null ? undefined : encodeState(state);
		if (this.#stored === UNKNOWN || this.#stored === undefined) return encoded ?? "";
		const known = decodeState(this.#stored);
		const same = isBinary(known) || isBinary(state) ? this.#stored === state : toJson(known) === toJson(state);
		return same ? this.#stored : encoded ?? "";
	}

	/** expected: as asStored says, or undefined. */
	store(value, expected) {
		const stored = encodeState(value);
		storeState(this, stored, expected);
		this.#stored = stored;
		this.#state = value;
		this.#given = isPlain(value) ? stored : undefined;
	}

	/** Stores an object that was changed within since it was read or set. */
	storeChanges() {
		if (this.#given !== undefined && toJson(this.#state) !== this.#given) this.state = this.#state;
	}

	send(data, options) {
		send(this, data, options);
	}

	join(room, options) {
		join(this, room, options);
	}

	leave(room) {
		leave(this, room);
	}

	leave_all() {
		leave_all(this);
	}

	leaveAll() {
		leave_all(this);
	}

	prolong(token) {
		prolong(this, token);
	}

	close(code, reason) {
		close(this, code, reason);
	}

	toString() {
		return this.id;
	}
}

const isPlain = (value) => typeof value === "object" && value !== null && !isBinary(value);

/** Bytes stay bytes, everything else is kept as JSON text, so that "1" and 1 come back as what they were. */
export function encodeState(value, most = STATE_MAX, what = "a connection") {
	const stored = isBinary(value) ? toBuffer(value) : toJson(value ?? null);
	const size = Buffer.byteLength(stored);
	if (size > most) throw new RangeError(`a state of ${size} bytes: the host keeps at most ${most} with ${what}`);
	return stored;
}

function decodeState(stored) {
	if (typeof stored !== "string") return stored ?? null;
	try {
		return JSON.parse(stored);
	} catch {
		return stored; // set by a worker without this library
	}
}

/** What is kept with a room, as it was when it was asked for. */
export class Room {
	#stored;
	#state = UNREAD;

	constructor(name, stored, version) {
		this.name = name;
		this.version = version;
		this.#stored = stored;
	}

	get state() {
		if (this.#state === UNREAD) this.#state = decodeState(this.#stored);
		return this.#state;
	}

	toString() {
		return this.name;
	}
}

/** The HTTP request that opens a connection. */
export class Request {
	constructor(data = {}) {
		this.method = data.method ?? "GET";
		this.path = data.path ?? "";
		this.query = data.query ?? "";
		this.mount = data.mount ?? "";
		this.host = data.host ?? "";
		this.headers = data.headers ?? [];
		this.remote = data.remote ?? [];
		this.local = data.local ?? [];
		this.tls = data.tls ?? null;
		this.secure = data.secure ?? false;
		this.subprotocols = data.subprotocols ?? [];
		this.claims = data.claims ?? null;
	}

	/** The first header of that name, in any case. */
	header(name) {
		name = name.toLowerCase();
		return this.headers.find(([have]) => have.toLowerCase() === name)?.[1];
	}

	get cookies() {
		const found = {};
		for (const [name, value] of this.headers) {
			if (name.toLowerCase() !== "cookie") continue;
			for (const pair of value.split(";")) {
				const at = pair.indexOf("=");
				if (at >= 0) found[pair.slice(0, at).trim()] ??= pair.slice(at + 1).trim();
			}
		}
		return found;
	}
}
