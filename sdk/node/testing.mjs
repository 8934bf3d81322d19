/** Tests of handlers, without a host.
 *
 *     import { Host } from "tova/testing";
 *     import { handlers } from "./hello.mjs"; // which calls serve(handlers) only if it is the program
 *
 *     const host = await Host.start(handlers);
 *     const ann = await host.connect(), bob = await host.connect();
 *     await ann.send("hi");
 *     assert.equal(bob.receive(), "hi (said in JavaScript)");
 *     await host.end();
 *
 * All is as with a host: commands of a handler happen together when it succeeds, and not at all when it throws, the state of its
 * connection included; then on_error is called. Time passes only with host.passTime(ms), except that promises of your own may take
 * some. What an event leads to (errors, closed connections, answers to queries) has happened when the promise resolves. One at a
 * time in a process. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encode } from "./lib/codec.mjs";
import { ROOM_STATE_MAX, encodeState } from "./lib/connection.mjs";
import { eventsOf, find } from "./lib/handlers.mjs";
import { HANDSHAKE, Reader } from "./lib/frame.mjs";
import { serve } from "./lib/worker.mjs";

const PATIENCE = 10_000; // ms for a handler
const EPOCH = 1; // of what a room remembers
const TRIES = 10; // times that an event is given again, as a room was set meanwhile
const CONFLICT = "a set_room was made from another version than the room's state has: somebody else has set it meanwhile";
const MEMBERS = ["state_bin", "room_state_bin", "if_state_bin", "bin"];

/** on_upgrade refused the connection. */
export class Refused extends Error {
	constructor(status, headers = [], body = "") {
		super(`the connection was refused with ${status}`);
		Object.assign(this, { status, headers, body });
	}
}

/** Objects of a batch of the worker, with bytes in the place of their lengths. */
function read(body) {
	const lf = body.indexOf(10);
	const objects = JSON.parse(body.toString("utf8", 0, lf < 0 ? body.length : lf));
	let at = lf < 0 ? body.length : lf + 1;
	const fill = (item) => {
		for (const member of MEMBERS) if (item[member] !== undefined) item[member] = Buffer.from(body.subarray(at, (at += item[member])));
	};
	for (const item of objects) {
		for (const answer of ["accept", "refuse"]) if (item[answer]) fill(item[answer]);
		for (const command of item.commands ?? []) fill(command);
	}
	return objects;
}

function requestOf(path = "/", { query = "", headers = [], subprotocols = [], claims, ...more } = {}) {
	return {
		method: "GET", path, query, mount: "/", host: "localhost", headers, remote: ["127.0.0.1", 40000], local: ["127.0.0.1", 8080],
		tls: null, subprotocols, secure: false, ...(claims === undefined ? {} : { claims }), ...more,
	};
}

/** A connection, as its client sees it and as the host keeps it. */
class Client {
	sequence = 0;
	rooms = new Set();
	/** What it was sent and has not taken yet. */
	received = [];
	/** What prolong gave it; nobody verifies it here. */
	token;
	/** What the handler of its last event threw; undefined: nothing. */
	raised;
	/** The code with which it was closed; 1005: none. */
	closed;
	gone = false;
	/** It has ended by itself. */
	lost = false;
	/** Whose token it came with, and what handlers have said of it. */
	subject;
	info;
	named;
	claims;
	stored;
	#host;

	constructor(host, id) {
		this.#host = host;
		this.id = id;
	}

	/** Whose it is; undefined: nobody's. */
	get user() {
		return this.named ?? this.subject;
	}

	/** What is kept with it, as handlers have it. */
	get state() {
		if (typeof this.stored !== "string") return this.stored ?? null;
		return JSON.parse(this.stored);
	}

	/** A message to the handler. attempt: above 1, the last event once more, as after the death of a worker. */
	async send(data, { attempt = 1 } = {}) {
		const member = Buffer.isBuffer(data) || ArrayBuffer.isView(data) ? { bin: Buffer.from(data) } : { data };
		await this.#host.event(this, "message", member, attempt);
		return this;
	}

	/** The next message, text or bytes. Throws if there is none. */
	receive() {
		if (this.received.length === 0) throw new Error(`${this.id} was sent nothing more`);
		return this.received.shift();
	}

	async close(code = 1000, reason = "") {
		this.lost = true;
		await this.#host.endClient(this, code, reason);
	}

	/** A client of tova.v1 loses its socket (or says with 1001 that it goes): on_away. What it is sent is received as ever. */
	async away(code = 1006) {
		await this.#host.event(this, "away", { code });
	}

	/** It comes back on another one: on_back. As connect(). */
	async back(path, more) {
		await this.#host.event(this, "back", { request: requestOf(path, more) });
	}

	/** An error of that kind is told to on_error. */
	async error(text, kind = "limit") {
		await this.#host.event(this, "error", { error: text, kind });
	}
}

export class Host {
	/** Milliseconds. */
	now = 0;
	/** Commands that named a connection which was gone. */
	stale = 0;
	#clients = new Map();
	#timers = new Map();
	#orders = 0;
	#events = 0;
	#waiting = new Map();
	#wants;
	#served;
	#server;
	#socket;
	#folder = mkdtempSync(join(tmpdir(), "tova-testing-"));
	#sweep = () => rmSync(this.#folder, { recursive: true, force: true });
	#history = new Map(); // of each room
	#roomStates = new Map(); // of each room: what is kept with it, and its version
	#version = 0;
	#watches = new Map(); // rooms: the grace, and who is known to be there
	#telling = false;
	#kept = {}; // where the last message of a push is
	#busy = 0; // queries and pushes that came

	/** Starts a worker with these handlers, as serve() takes them, in this process. */
	static async start(handlers, options) {
		const host = new Host();
		await host.#start(handlers, options);
		return host;
	}

	async #start(handlers, { room_state, roomState } = {}) {
		this.#wants = new Set(eventsOf(find(handlers)));
		process.once("exit", this.#sweep); // a test that fails does not come to its end()
		const path = join(this.#folder, "workers");
		this.#server = net.createServer({ allowHalfOpen: true });
		this.#server.listen(path);
		await once(this.#server, "listening");
		const coming = once(this.#server, "connection");
		this.#served = serve(handlers, { url: `ipc://${path}`, token: "", name: "test", exit: false, room_state: room_state ?? roomState });
		this.#served.catch(() => {});
		[this.#socket] = await coming;
		const reader = new Reader(true);
		const ready = new Promise((resolve) => (this.#ready = resolve));
		this.#socket.write(HANDSHAKE);
		this.#socket.on("data", (data) => {
			for (const body of reader.feed(data)) for (const item of read(body)) this.#said(item);
		});
		this.#socket.on("error", () => {}).on("end", () => this.#socket.end());
		await this.#patient(Promise.race([ready, this.#served]), "a worker that is ready");
	}

	#ready;

	/** Lets the worker leave: on_stop. */
	async end() {
		this.#put({ t: "drain" });
		await this.#served;
		this.#socket.destroy();
		this.#server.close();
		process.off("exit", this.#sweep);
		this.#sweep();
	}

	// --- events --------------------------------------------------------------------------------------------------------------

	/** A client comes: on_upgrade and on_open. Refused: it may not. */
	async connect(path, more) {
		const request = requestOf(path, more);
		const ws = new Client(this, `T${String(this.#clients.size + 1).padStart(21, "0")}`);
		if (this.#wants.has("upgrade")) {
			const answer = await this.#deliver({ t: "upgrade", seq: 0, attempt: 1, request });
			if (answer.t === "nack") throw new Refused(500, [], answer.error);
			const no = answer.refuse;
			if (no) throw new Refused(no.status, no.headers, no.bin ?? no.body);
			ws.stored = answer.accept?.state_bin ?? answer.accept?.state;
			ws.named = answer.accept?.user || undefined;
			ws.info = answer.accept?.info || undefined;
			ws.subprotocol = answer.accept?.subprotocol;
			ws.headers = answer.accept?.headers ?? [];
		}
		ws.claims = request.claims;
		ws.subject = request.claims?.sub;
		this.#clients.set(ws.id, ws);
		await this.event(ws, "open", { request });
		return ws;
	}

	/** So much time passes: timers run in their order. Resolves with how many did. */
	async passTime(ms) {
		const until = this.now + ms;
		for (let n = 0; ; n++) {
			const [due] = [...this.#timers.values()].filter((t) => t.due <= until).sort((a, b) => a.due - b.due || a.order - b.order);
			const gone = Math.min(...[...this.#watches.values()].flatMap(({ known }) => [...known.values()].map((k) => k.until ?? Infinity)));
			if (gone <= until && !(due?.due < gone)) {
				this.now = Math.max(this.now, gone);
				await this.#follow();
				n--;
				continue;
			}
			if (due === undefined) {
				this.now = until;
				return n;
			}
			this.now = Math.max(this.now, due.due);
			if (due.period > 0) {
				due.due += due.period;
				due.order = ++this.#orders;
			} else this.#timers.delete(due.key);
			const { name, id, delay, period } = due;
			await this.event(this.#clients.get(due.conn), "timer", { name, id, delay, period });
		}
	}

	members(room) {
		return [...this.#clients.values()].filter((ws) => !ws.gone && ws.rooms.has(room));
	}

	/** Names of those that are set, of the connection or of the mount. */
	timers(ws) {
		return [...this.#timers.values()].filter((t) => t.conn === ws?.id).map((t) => t.name);
	}

	/** What is kept with a room, as handlers have it; null: nothing. */
	roomState(room) {
		const { stored } = this.#roomStates.get(room) ?? {};
		return typeof stored === "string" ? JSON.parse(stored) : (stored ?? null);
	}

	/** Somebody else keeps something with a room; null: nothing any more. */
	setRoom(room, state) {
		this.#setRoom(room, state === null ? "" : encodeState(state, ROOM_STATE_MAX, "a room"));
	}

	#setRoom(room, stored) {
		this.#roomStates.set(room, { stored, version: ++this.#version });
		if (stored.length === 0) this.#roomStates.delete(room);
	}

	/** What comes with an event. */
	#roomOf(ws) {
		const room = ws?.gone ? ws.first : [...(ws?.rooms ?? [])][0];
		if (room === undefined) return {};
		const { stored, version = 0 } = this.#roomStates.get(room) ?? {};
		return { room, room_version: version, ...(stored === undefined ? {} : { [Buffer.isBuffer(stored) ? "room_state_bin" : "room_state"]: stored }) };
	}

	/** Has everybody taken what it was sent? */
	quiet() {
		return [...this.#clients.values()].every((ws) => ws.received.length === 0);
	}

	/** For clients: an event of one (undefined: of the mount), and all that follows it. */
	async event(ws, t, members, attempt = 1) {
		const item = { t, seq: 0, attempt, ...members };
		if (ws !== undefined) {
			if (ws.gone && t !== "close") throw new Error(`${ws.id} has gone`);
			if (attempt === 1) ws.sequence++;
			Object.assign(item, { conn: ws.id, seq: ws.sequence, subject: ws.subject, user: ws.named, info: ws.info });
			if (t !== "open") item.claims = ws.claims;
			if (ws.stored !== undefined) item[Buffer.isBuffer(ws.stored) ? "state_bin" : "state"] = ws.stored;
		}
		let failed;
		if (this.#wants.has(t)) {
			let answer;
			for (let again = 0; again <= TRIES; again++) {
				answer = await this.#deliver({ ...item, ...this.#roomOf(ws), attempt: attempt + again });
				failed = answer.t === "nack" ? answer.error : this.#apply(ws, answer.commands ?? []);
				if (failed !== CONFLICT) break;
			}
			if (ws !== undefined && failed !== undefined && t !== "error" && t !== "close" && answer.retry_ms === undefined)
				await this.event(ws, "error", { error: failed, kind: "handler" });
		}
		if (ws !== undefined) ws.raised = failed;
		await this.#follow();
	}

	async endClient(ws, code, reason) {
		const rooms = [...ws.rooms].sort();
		[ws.first] = ws.rooms;
		ws.rooms.clear();
		ws.gone = true;
		for (const [key, timer] of this.#timers) if (timer.conn === ws.id) this.#timers.delete(key);
		await this.event(ws, "close", { code, reason, rooms });
	}

	// --- how -----------------------------------------------------------------------------------------------------------------

	#patient(promise, what) {
		let timer;
		const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not within ${PATIENCE} ms: ${what}`)), PATIENCE)));
		return Promise.race([promise, late]).finally(() => clearTimeout(timer));
	}

	#put(object) {
		const binaries = [];
		const item = { ...object };
		for (const member of MEMBERS)
			if (Buffer.isBuffer(item[member])) {
				binaries.push(item[member]);
				item[member] = item[member].length;
			}
		this.#socket.write(encode("", [JSON.stringify(item)], binaries, true));
	}

	#deliver(item) {
		const s = ++this.#events;
		const answer = new Promise((resolve) => this.#waiting.set(s, resolve));
		this.#put({ ...item, s });
		return this.#patient(answer, `the handler of ${item.t} ends`);
	}

	#said(item) {
		switch (item.t) {
			case "hello":
				this.#put({ t: "welcome", v: 1, link: "test", mount: "/", host: "test", window: 256, batch: 1048576, starting: item.starting });
				if (!item.starting) this.#ready();
				break;
			case "ready":
				this.#ready();
				break;
			case "push": {
				this.#kept = {};
				const error = this.#apply(undefined, item.commands);
				this.#put({ t: "done", source: item.source, n: item.n, ...(error === undefined ? this.#kept : { error }) });
				this.#busy++;
				break;
			}
			case "query":
				this.#put({ t: "reply", q: item.q, ...this.#reply(item) });
				this.#busy++;
				break;
			case "ack":
			case "nack":
				this.#waiting.get(item.s)?.(item);
				this.#waiting.delete(item.s);
				break;
			case "pong":
				this.#waiting.get("pong")?.();
				this.#waiting.delete("pong");
				break;
			case "bye":
				this.#socket.end();
		}
	}

	#reply(item) {
		const { what, room, conn, limit, after = "" } = item;
		if (what === "history") return this.#remembered(item);
		if (what === "room_state") {
			const { stored, version = 0 } = this.#roomStates.get(room) ?? {};
			return { version, ...(Buffer.isBuffer(stored) ? { state_base64: stored.toString("base64") } : { state: stored }) };
		}
		if (what === "rooms") return { rooms: [...(this.#clients.get(conn)?.rooms ?? [])].sort() };
		const here = [...this.#clients.values()].filter((ws) => !ws.gone);
		if (what === "stats") return { stats: { uptime_ms: this.now, connections: here.length } };
		const found = here.filter((ws) => what === "connections" || ws.rooms.has(room));
		const page = (all, key) => {
			const rest = all.filter((one) => Buffer.compare(Buffer.from(key(one)), Buffer.from(after)) > 0);
			return [rest.slice(0, limit), rest.length > limit ? { next: key(rest[limit - 1]) } : {}];
		};
		if (what === "members" && limit !== undefined) {
			const [members, next] = page(found, (ws) => ws.id);
			return { count: found.length, members: members.map(({ id, user, info }) => ({ conn: id, user, info })), ...next };
		}
		if (what === "users") {
			const lost = [...(this.#watches.get(room)?.known.values() ?? [])].filter((one) => one.until !== undefined);
			const names = [...new Set([...found, ...lost].map((one) => one.user).filter(Boolean))].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
			const [users, next] = page(names, (user) => user);
			const connections = (user) => found.filter((ws) => ws.user === user).length;
			return { count: names.length, anonymous: connections(undefined), users: users.map((user) => ({ user, connections: connections(user) })), ...next };
		}
		return { count: found.length, connections: found.map((ws) => ws.id) };
	}

	/** Until nothing does: what handlers have asked, and the closes that they have commanded. */
	async #follow() {
		for (let before = -1; before !== this.#busy; ) {
			before = this.#busy;
			await this.#heard();
		}
		for (const ws of this.#clients.values()) if (ws.closed !== undefined && !ws.gone) await this.endClient(ws, ws.closed, "");
		if (this.#telling) return;
		this.#telling = true;
		while (await this.#tellNext());
		this.#telling = false;
	}

	/** Of somebody who has come into a room that is watched, or has gone; what follows of one may be about the next. */
	async #tellNext() {
		for (const [room, { grace, known }] of this.#watches) {
			const there = new Map();
			for (const ws of this.members(room)) if (!there.has(ws.user ?? ws.id)) there.set(ws.user ?? ws.id, ws);
			for (const [key, one] of known) {
				const ws = there.get(key);
				if (ws !== undefined) Object.assign(one, { until: undefined, user: ws.user, info: ws.info, member: ws.id });
				else one.until ??= this.now + (one.user !== undefined && this.#clients.get(one.member).lost ? grace : 0);
				if (!(one.until <= this.now)) continue;
				known.delete(key);
				const { user, info, member } = one;
				await this.event(undefined, "leave", { room, user, info, member, users: known.size });
				return true;
			}
			for (const [key, { id: member, user, info }] of there) {
				if (known.has(key)) continue;
				known.set(key, { user, info, member });
				await this.event(undefined, "join", { room, user, info, member, users: known.size });
				return true;
			}
		}
		return false;
	}

	/** The worker has read all that was put, and what it said before its answer to this has come. Twice: what a callback of a query
	 * commands is said a turn later. */
	async #heard() {
		for (let i = 0; i < 2; i++) {
			const pong = new Promise((resolve) => this.#waiting.set("pong", resolve));
			this.#put({ t: "ping" });
			await this.#patient(pong, "a worker that answers");
		}
	}

	// --- commands ------------------------------------------------------------------------------------------------------------

	/** All of them, or none: what is wrong. */
	#apply(own, commands) {
		const taken = commands.map((command) => [command.conn === undefined ? own : this.#clients.get(command.conn), command]);
		for (const [target, { if_state, if_state_bin }] of taken) {
			const wanted = if_state ?? if_state_bin;
			if (wanted === undefined || target === undefined || target.gone) continue;
			const have = target.stored ?? "";
			if (Buffer.isBuffer(wanted) ? !(Buffer.isBuffer(have) && wanted.equals(have)) : wanted !== have)
				return "a command was based on state that somebody else has set meanwhile";
		}
		for (const { c, room, version } of commands)
			if (c === "set_room" && version !== undefined && version !== (this.#roomStates.get(room)?.version ?? 0)) return CONFLICT;
		const forgotten = taken.some(([, command]) => command.else === "fail" && !this.#since(command)[1]);
		const refused = forgotten ? "a room does not remember all since then" : this.#judge(own, taken);
		if (refused === undefined) for (const [target, command] of taken) this.#command(own, target, command);
		return refused;
	}

	#here() {
		return [...this.#clients.values()].filter((ws) => !ws.gone && ws.closed === undefined);
	}

	/** What a join asks for and does not find, behind the commands before it. */
	#judge(own, taken) {
		if (!taken.some(([, { max, users_max, first }]) => (max ?? users_max ?? first) !== undefined)) return undefined;
		const rooms = new Map(this.#here().map((ws) => [ws, new Set(ws.rooms)]));
		const users = new Map([...rooms.keys()].map((ws) => [ws, ws.user]));
		for (const [target, command] of taken) {
			const { c, room } = command;
			if (c === "close_room") for (const ws of this.#selected(own, command, rooms)) rooms.delete(ws);
			if (!rooms.has(target)) continue;
			if (c === "join") {
				let there = [...rooms.keys()].filter((ws) => ws !== target && rooms.get(ws).has(room));
				if (command.replace) there = there.filter((ws) => !rooms.delete(ws));
				const inside = rooms.get(target).has(room), names = new Set(there.map((ws) => users.get(ws) ?? ws));
				if (command.first && there.length > 0) return "a join that was to be the first found somebody in its room";
				if (!inside && there.length >= command.max) return "a join found its room full: it has as many members as its max";
				if (!inside && !names.has(users.get(target)) && names.size >= command.users_max)
					return "a join found its room full: it has as many users as its users_max";
				rooms.get(target).add(room);
			} else if (c === "leave") rooms.get(target).delete(room);
			else if (c === "leave_all") rooms.get(target).clear();
			else if (c === "close") rooms.delete(target);
			else if (c === "info" && command.user !== undefined) users.set(target, command.user || target.subject);
		}
		return undefined;
	}

	/** Whom a command among several is for; rooms: those that each is in. */
	#selected(own, command, rooms) {
		const list = Array.isArray(command.exclude) ? command.exclude : [command.exclude];
		const out = new Set(list.map((id) => (id === true ? own?.id : id)));
		const to = [...(command.rooms ?? []), ...(command.room === undefined ? [] : [command.room])];
		return [...rooms].filter(([ws, all]) => (command.c === "broadcast" || to.some((room) => all.has(room))) && !out.has(ws.id) &&
			!(command.exclude_users ?? []).includes(ws.user) && !(command.exclude_rooms ?? []).some((room) => all.has(room))).map(([ws]) => ws);
	}

	#command(own, target, command) {
		const data = command.bin ?? command.data;
		if (command.c === "broadcast" || command.c === "broadcast_to") {
			for (const ws of this.#selected(own, command, new Map(this.#here().map((ws) => [ws, ws.rooms])))) ws.received.push(data);
			const rooms = new Set([...(command.rooms ?? []), ...(command.room === undefined ? [] : [command.room])]);
			if (command.c === "broadcast_to" && command.keep !== false) for (const room of rooms) this.#remember(room, data);
		} else if (command.c === "close_room") {
			for (const ws of this.#selected(own, command, new Map(this.#here().map((ws) => [ws, ws.rooms])))) ws.closed ??= command.code ?? 1005;
		} else if (command.c === "set_room") this.#setRoom(command.room, command.state ?? command.state_bin);
		else if (command.c === "watch") {
			const watch = this.#watches.get(command.room) ?? { known: new Map() };
			this.#watches.set(command.room, Object.assign(watch, { grace: command.grace ?? 5000 }));
		} else if (command.c === "unwatch") {
			const there = (this.#watches.get(command.room)?.known.size ?? 0) + this.members(command.room).length;
			if (!command.if_empty || there === 0) this.#watches.delete(command.room);
		} else if ((command.c === "timer" || command.c === "cancel") && command.conn === undefined) this.#timer(undefined, command);
		else if (target === undefined || (target.gone && command.c !== "set" && command.c !== "info")) this.stale++;
		else if (command.c === "send") {
			if (target.closed === undefined) target.received.push(data);
		} else if (command.c === "join") {
			target.rooms.add(command.room);
			if (command.replace) for (const ws of this.members(command.room)) if (ws !== target) ws.closed ??= 4409;
			if (command.last !== undefined || command.since !== undefined)
				target.received.push(...this.#since(command)[0].map((message) => message.data));
		} else if (command.c === "leave_all") target.rooms.clear();
		else if (command.c === "prolong") target.token = command.token;
		else if (command.c === "info") {
			target.info = command.info === undefined ? target.info : command.info || undefined;
			target.named = command.user === undefined ? target.named : command.user || undefined;
		} else if (command.c === "leave") target.rooms.delete(command.room);
		else if (command.c === "close") target.closed ??= command.code ?? 1005;
		else if (command.c === "set") target.stored = command.state ?? command.state_bin;
		else this.#timer(target.id, command);
	}

	// --- what rooms remember: everything, each in one epoch --------------------------------------------------------------------

	#remember(room, data) {
		const messages = this.#history.get(room) ?? [];
		this.#history.set(room, messages);
		messages.push({ offset: messages.length + 1, at: this.now, data });
		this.#kept = { offset: messages.length, epoch: EPOCH };
	}

	/** What somebody who joins is sent, and whether that is all that was asked for. */
	#since({ room, last, since, epoch = EPOCH }) {
		const messages = this.#history.get(room) ?? [], tail = messages.slice(Math.max(0, messages.length - (last ?? messages.length)));
		if (since === undefined) return [tail, true];
		return since === 0 || (epoch === EPOCH && since <= messages.length) ? [messages.slice(since), true] : [tail, false];
	}

	#remembered(item) {
		const { room, since, limit = 100 } = item, there = this.#history.get(room)?.length ?? 0;
		const [found, complete] = this.#since(since === undefined ? { ...item, last: limit } : item), some = found.slice(0, limit);
		return {
			epoch: there > 0 ? EPOCH : 0, first: Math.min(there, 1), last: there, complete, more: some.length < found.length,
			messages: some.map(({ offset, at, data }) =>
				Buffer.isBuffer(data) ? { offset, at, data_base64: data.toString("base64") } : { offset, at, data }),
		};
	}

	#timer(conn, { c, name, id, delay, period }) {
		const key = `${conn ?? ""}\n${name}`;
		const there = this.#timers.get(key);
		if (c === "cancel") this.#timers.delete(key);
		else if (there === undefined || there.id !== id || there.delay !== delay || there.period !== period)
			this.#timers.set(key, { key, conn, name, id, delay, period, due: this.now + delay, order: ++this.#orders });
	}
}
