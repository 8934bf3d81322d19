/** Write WebSocket handlers for tova-host in JavaScript or TypeScript.
 *
 *     import { broadcast_to, join, serve } from "tova";
 *
 *     serve({
 *         on_open(ws) { join(ws, "general"); ws.send("Welcome!"); },
 *         on_message(ws, message) { broadcast_to("general", message, ws); },
 *     });
 *
 * Start it with `tova-host -w 'node file.mjs'`. Every name exists with underscores and in camel case. */
/// <reference types="node" />
import type { ConnectionOptions } from "node:tls";

/** A string is sent as text, bytes as binary, any other value as JSON text. */
export type Data = string | Uint8Array | ArrayBuffer | ArrayBufferView | Json;

/** Anything that JSON.stringify turns into text. */
export type Json = string | number | boolean | null | object;

/** A connection, or its id. */
export type Target = Connection | string;

/** A client. Two are the same if their ids are; keep one as long as you like: commands to one that is gone do nothing. */
export class Connection {
	constructor(id: string);
	/** 22 characters, never reused. */
	readonly id: string;
	/** The request that opened it; in on_back, with which it came back. Known in these only; throws elsewhere. */
	readonly request: Request;
	/** Rooms that it was in. Known in on_close only; throws elsewhere, where rooms(ws) asks the host. */
	readonly rooms: string[];
	/** What was last stored with this connection: null, a Buffer, or a JSON value (text is one). Kept by the host, at most 4,096 bytes,
	 * committed with the event, so that any worker can serve the connection. Known in events of the connection; throws for one
	 * that was asked for (members, connections) unless it was set here. */
	state: any;
	/** Whose connection it is: what info() has said, or else the sub of its token; null: nobody's. Known in events of the connection, and of
	 * members(room). */
	readonly user: string | null;
	/** What info() has said of it, or null. Known as user is. */
	readonly info: string | null;
	/** What its token says (--jwt-key), or null. Known in events of the connection. */
	readonly claims: Record<string, unknown> | null;
	/** The room that it has joined first, with what is kept there (of one that has ended: the one that it was in then); null: it is in none. Known in events of the connection, if the worker asks
	 * for it: serve(handlers, { room_state: true }). */
	readonly room: Room | null;
	/** Which distributed trace the event belongs to (--trace-sample, W3C Trace Context): the header of requests that its handler makes
	 * elsewhere. null: to none. Known in events of the connection. */
	readonly traceparent: string | null;
	/** What goes with traceparent there, or null. */
	readonly tracestate: string | null;
	send(data: Data, options?: Keyed): void;
	join(room: string, options?: Conditions & WantedHistory): void;
	leave(room: string): void;
	leave_all(): void;
	leaveAll(): void;
	/** See prolong. */
	prolong(token: string): void;
	/** Code 1000, 1001, 1003, 1007 to 1014, 3000 to 4999 or none; a reason of at most 123 bytes. */
	close(code?: number | null, reason?: string): void;
	toString(): string;
}

/** What is kept with a room, as it was when it was asked for. */
export class Room {
	private constructor();
	readonly name: string;
	/** null, a Buffer, or a JSON value (text is one). */
	readonly state: any;
	/** What set_room needs, to replace it with what was made from it; 0: nothing is kept. */
	readonly version: number;
}

/** The HTTP request that opens a connection. */
export class Request {
	readonly method: string;
	/** Percent-decoded. */
	readonly path: string;
	/** Behind the "?", not decoded: see URLSearchParams. */
	readonly query: string;
	readonly mount: string;
	readonly host: string;
	/** As they came, in order. */
	readonly headers: [name: string, value: string][];
	readonly remote: [address: string, port: number];
	readonly local: [address: string, port: number];
	readonly tls: { version: string; cipher: string; subject: string | null } | null;
	/** The client speaks TLS, with the host or with a proxy that is trusted to say so. */
	readonly secure: boolean;
	/** Offered by the client, in its order. */
	readonly subprotocols: string[];
	/** What the token says (--jwt-key), null where none is asked for. The user is claims.sub. */
	readonly claims: Record<string, unknown> | null;
	/** The first header of that name, in any case. */
	header(name: string): string | undefined;
	readonly cookies: Record<string, string>;
}

/** What on_error is given. */
export interface WebSocketError extends Error {
	kind: "handler" | "protocol" | "transport" | "limit";
}

/** The event that is being handled. */
export interface Event {
	readonly type: "upgrade" | "open" | "message" | "close" | "error" | "timer" | "away" | "back";
	readonly connection?: Connection;
	/** Counts the connection's events from 1. */
	readonly sequence: number;
	/** 1, or more when it is delivered again. */
	readonly attempt: number;
	/** Connection and sequence, which never change when it is delivered again: store it with your own writes to make them idempotent. */
	readonly key: string;
	/** Aborts when the connection to the host is lost: the event is given to another worker then. */
	readonly signal: AbortSignal;
}

type Maybe = void | Promise<void>;
type Answer = Accept | Refuse | boolean | void | null;
declare class Accept {
	private accepted;
}
declare class Refuse {
	private refused;
}

/** Somebody who has come into a room that is watched, or has gone from it. */
export interface Presence {
	room: string;
	/** null: nobody in particular, who counts by his connection. */
	user: string | null;
	/** What is said of the connection. */
	info: string | null;
	/** How many there are of whom on_join has told and on_leave has not, this one told. */
	users: number;
	/** With which he has come, or has gone as the last; it may be gone by now. */
	ws: Connection;
}

/** All are optional, plain or async. Async ones run at the same time for different connections; events of one connection come one after
 * the other. A handler that throws or rejects has done nothing, and on_error is called for its connection, which stays open. */
export interface Handlers {
	/** Before there is a connection: return accept(), refuse(), true or false. */
	on_upgrade?(request: Request): Answer | Promise<Answer>;
	on_open?(ws: Connection): Maybe;
	/** Text comes as a string, binary as a Buffer. */
	on_message?(ws: Connection, message: string | Buffer): Maybe;
	/** Exactly once for each on_open. It has left its rooms, which ws.rooms names. */
	on_close?(ws: Connection, code: number, reason: string): Maybe;
	on_error?(ws: Connection | undefined, error: WebSocketError): Maybe;
	/** ws: for timers of a connection. */
	on_timer?(name: string, id: number, ws: Connection | undefined): Maybe;
	/** Where the host runs with --resume: a client of tova.v1 has lost its socket (1006, or 1001 if it has said that it goes). It stays in
	 * its rooms, and what it is sent waits. */
	on_away?(ws: Connection, code: number): Maybe;
	/** It is back on another socket, with ws.request; also without an on_away before, where the loss was not noticed. */
	on_back?(ws: Connection): Maybe;
	/** Who has come into a room that is watched, and who has gone from it: of each user one after the other. */
	on_join?(who: Presence): Maybe;
	on_leave?(who: Presence): Maybe;
	/** Each time that the host welcomes this worker, for timers of the mount say. Its commands are one push. If it throws the worker
	 * ends with exit status 1, without having been ready. */
	on_start?(): Maybe;
	/** Before this worker leaves. Its commands are one push. */
	on_stop?(): Maybe;
	onUpgrade?: Handlers["on_upgrade"];
	onOpen?: Handlers["on_open"];
	onMessage?: Handlers["on_message"];
	onClose?: Handlers["on_close"];
	onError?: Handlers["on_error"];
	onTimer?: Handlers["on_timer"];
	onAway?: Handlers["on_away"];
	onBack?: Handlers["on_back"];
	onJoin?: Handlers["on_join"];
	onLeave?: Handlers["on_leave"];
	onStart?: Handlers["on_start"];
	onStop?: Handlers["on_stop"];
}

export interface Options {
	/** Where the host listens for workers: ipc:///path, tcp://address:port or tls+tcp://name:port. Default: TOVA_URL. */
	url?: string;
	/** Default: TOVA_TOKEN. */
	token?: string;
	/** Default: TOVA_MOUNT. */
	mount?: string;
	/** For the host's log. */
	name?: string;
	/** For tls+tcp://, of node:tls: ca, cert, key and so on. Without ca, the system's authorities and NODE_EXTRA_CA_CERTS are trusted. */
	tls?: ConnectionOptions;
	/** With each event comes what is kept with the room that its connection has joined first: ws.room, for set_room. Default: false. */
	room_state?: boolean;
	roomState?: boolean;
	/** Whether the process ends with the worker, even if timers would keep it alive. Default: true. */
	exit?: boolean;
}

/** Serves a mount of tova-host until it drains this worker or a signal (TERM, or INT in a terminal) ends it. A worker that has no host
 * any more ends if tova-host started it, and dials again if it was started elsewhere. */
export function serve(handlers: Handlers | (new () => Handlers), options?: Options): Promise<void>;

// Commands. Those of a handler commit together with its acknowledgement, in order, or, when it throws, not at all. Anywhere else each
// is a push of its own. A command that is wrong in itself throws a TypeError or RangeError, or is refused by the host, which fails the event.

/** For clients that read too slowly where the host runs with --slow-policy conflate: of what waits for one, only the newest of each key,
 * a text of 1 to 255 bytes, is kept. */
export interface Keyed {
	key?: string | null;
}

export function send(ws: Target, data: Data, options?: Keyed): void;
/** What a join asks for, judged when the commit is made: the event fails if it is not so. */
export interface Conditions {
	/** Members that the room has afterwards, at most. */
	max?: number;
	/** Users, of whom one may have several connections there. */
	users_max?: number;
	usersMax?: number;
	/** Nobody else is there. */
	first?: boolean;
	/** The others are ended, with code 4409. */
	replace?: boolean;
}

/** Who of several is left out: a list has at most 256 entries. */
export interface Others {
	exclude_users?: string[];
	excludeUsers?: string[];
	/** Their members. */
	exclude_rooms?: string[];
	excludeRooms?: string[];
}

/** What a join is sent of what its room remembers (--history): the last so many messages, or all behind an offset of an epoch. If some of
 * these are forgotten the last ones, or, with else: "fail", the event fails. Between the last of them and the next message of the room
 * nothing is missing, and nothing comes twice. */
export interface WantedHistory {
	last?: number;
	since?: number;
	epoch?: number;
	else?: "last" | "fail";
}

/** keep: false: rooms do not remember it. */
export interface Kept extends Keyed {
	keep?: boolean;
}

export function join(ws: Target, room: string, options?: Conditions & WantedHistory): void;
export function leave(ws: Target, room: string): void;
export function leave_all(ws: Target): void;
/** Gives a connection a fresh JSON Web Token for the one that it came with (--jwt-key), which it does not end with then. It has to be good, and of
 * the same sub, or the event fails. Its claims are the connection's from the next event on. */
export function prolong(ws: Target, token: string): void;
/** From here on on_join(who) and on_leave(who) are called for everybody who is in the room, comes and goes, each user once however many
 * connections he has. A user whose last connection was lost counts as there for grace_ms (5,000), so that a page may be loaded again unnoticed.
 * The mount watches, not this process: any of its workers may be told, and it stays until unwatch(room). */
export function watch(room: string, options?: { grace_ms?: number; graceMs?: number }): void;
/** if_empty: only if nobody is there when the commit is made, so that whoever has come meanwhile is told of: in on_leave, when who.users is 0. */
export function unwatch(room: string, options?: { if_empty?: boolean; ifEmpty?: boolean }): void;
/** Who a connection is: what the others may know of it, text or a JSON value of at most 1,024 bytes, and as whom it counts among users. What is
 * undefined stays; "" is nothing, and for the user the one whom its token names. */
export function info(ws: Target, said?: string | Json, options?: { user?: string }): void;
/** To all connections of the mount. */
export function broadcast(data: Data, exclude?: Target | Target[] | null, options?: Keyed & Others): void;
/** To a room, or to several, each connection once. */
export function broadcast_to(room: string | string[], data: Data, exclude?: Target | Target[] | null, options?: Kept & Others): void;
export function close(ws: Target, code?: number | null, reason?: string): void;
/** Closes all connections of a room, or of several. */
export function close_room(
	room: string | string[],
	code?: number | null,
	reason?: string,
	options?: Others & { exclude?: Target | Target[] | null },
): void;
export function set_state(ws: Target, value: any, options?: { if_state?: any; ifState?: any }): void;
/** Keeps a JSON value, text or bytes with a room, at most 65,536 bytes; null: nothing any more. It was made from what was kept with a version:
 * that of the Room that is given (ws.room, or what room_state has answered), or the one that is said. If somebody else has set the room
 * meanwhile nothing of the event is done, and its handler is called once more, with what is there then. null replaces whatever there is; a push
 * is not made again, but rejects. */
export function set_room(room: Room, state: any): void;
export function set_room(room: Room | string, state: any, version: number | null): void;
/** Has on_timer(name, id, ws) called after delay_ms, and then every period_ms unless that is 0. With ws the timer belongs to that
 * connection and ends with it, else to the mount. One that is set already is left alone if all of it is the same. */
export function set_timer(
	name: string,
	delay_ms: number,
	options?: { period_ms?: number; periodMs?: number; id?: number; ws?: Target },
): void;
export function cancel_timer(name: string, ws?: Target): void;

/** Runs a function, plain or async, and commits its commands together, though no event is at hand. The promise tells when the host has
 * done so, and where its last message is in its room's memory (undefined where rooms remember nothing); it rejects with a TovaError if the
 * host refuses. A function that throws pushes nothing. */
export function push(commands: () => void | Promise<void>): Promise<Place | undefined>;
/** Offsets count from 1, and begin anew with another epoch. */
export interface Place {
	offset: number;
	epoch: number;
}

// Queries. They see what is committed.

/** Those of a room, with user and info: all, or so many (1 to 1,000) behind the connection `after`. */
export function members(room: string, options?: { limit?: number; after?: Target }): Promise<Connection[]>;
/** Names of the users in a room, each once, in their order. */
export function users(room: string, options?: { limit?: number; after?: string }): Promise<string[]>;
export function count(room: string): Promise<number>;
/** What a room remembers: the last messages, or those behind `since`, an offset (of an epoch, if that is given); 100, or `limit`. */
export function history(room: string, options?: { since?: number; limit?: number; epoch?: number }): Promise<History>;
export interface History {
	epoch: number;
	/** Offsets that there are; 0: none. */
	first: number;
	last: number;
	/** None of those asked for is forgotten. */
	complete: boolean;
	/** Some follow that did not fit. */
	more: boolean;
	/** at: when it came, in milliseconds since 1970. */
	messages: { offset: number; at: number; data: string | Buffer }[];
}
/** What is kept with a room. */
export function room_state(room: string): Promise<Room>;
export function rooms(ws: Target): Promise<string[]>;
/** All connections of the mount. */
export function connections(): Promise<Connection[]>;
/** Counters of the host. */
export function stats(): Promise<Record<string, number>>;

/** The event whose handler runs here. */
export function current_event(): Event | undefined;

/** user, info: who it is, as info() says. */
export function accept(answer?: { subprotocol?: string; headers?: Headers; state?: any; user?: string; info?: string | Json }): Accept;
export function refuse(status?: number, body?: string | Uint8Array, options?: { type?: string; headers?: Headers }): Refuse;
type Headers = [name: string, value: string | number][] | Record<string, string | number>;

/** Throw it in a handler to undo the event and have it delivered again after so many milliseconds, a whole number up to 3,600,000. */
export class Retry extends Error {
	constructor(after_ms: number, text?: string);
	readonly after_ms: number;
}

/** The host refused something, or can not be reached any more. */
export class TovaError extends Error {}

// Pushing without handlers.

export interface ConnectOptions {
	token?: string | null;
	/** May be missing where the host has one. */
	mount?: string | null;
	/** For a call, all attempts together. Default: 10,000. */
	timeout_ms?: number;
	timeoutMs?: number;
	/** Calls that are under way at one time, and connections; others wait. Default: 8. */
	connections?: number;
	/** For https:// and tls+tcp://, of node:tls: ca, cert, key and so on. */
	tls?: ConnectionOptions;
	/** For the host's log. */
	name?: string;
}

export interface CallOptions {
	/** What is not done by then is not done at all. */
	expires_ms?: number;
	expiresMs?: number;
	timeout_ms?: number;
	timeoutMs?: number;
}

/** As the worker protocol has them, with the conn that each is for. */
export type Listed =
	| { c: "send"; conn: Target; data: Data; key?: string }
	| { c: "broadcast"; data: Data; exclude?: Target; key?: string }
	| { c: "broadcast_to"; room: string; data: Data; exclude?: Target; key?: string }
	| ({ c: "join"; conn: Target; room: string } & Conditions & WantedHistory)
	| { c: "leave"; conn: Target; room: string }
	| { c: "leave_all"; conn: Target }
	| { c: "info"; conn: Target; info?: string | Json; user?: string }
	| { c: "close_room"; room: string | string[]; code?: number; reason?: string; exclude?: Target | Target[]; exclude_users?: string[]; exclude_rooms?: string[] }
	| { c: "close"; conn: Target; code?: number; reason?: string }
	| { c: "set"; conn: Target; state: any; if_state?: any }
	| { c: "set_room"; room: string; state: any; version?: number | null };

/** A host to push to. Each call resolves with the number of connections for which it had an effect, and rejects with a TovaError. */
export class Host {
	private constructor();
	send(ws: Target, data: Data, options?: CallOptions & Keyed): Promise<number>;
	/** To all connections of the mount. */
	broadcast(data: Data, exclude?: Target | null, options?: CallOptions & Keyed): Promise<number>;
	broadcast_to(room: string, data: Data, exclude?: Target | null, options?: CallOptions & Keyed): Promise<number>;
	broadcastTo: Host["broadcast_to"];
	join(ws: Target, room: string, options?: CallOptions & Conditions & WantedHistory): Promise<number>;
	leave(ws: Target, room: string, options?: CallOptions): Promise<number>;
	leave_all(ws: Target, options?: CallOptions): Promise<number>;
	leaveAll: Host["leave_all"];
	/** See info. */
	info(ws: Target, said?: string | Json, options?: CallOptions & { user?: string }): Promise<number>;
	/** See close_room. */
	close_room(room: string | string[], code?: number | null, reason?: string, options?: CallOptions & Parameters<typeof close_room>[3]): Promise<number>;
	closeRoom: Host["close_room"];
	/** Ends a connection. (What ends this object is disconnect.) */
	close(ws: Target, code?: number | null, reason?: string, options?: CallOptions): Promise<number>;
	set(ws: Target, state: any, options?: CallOptions & { if_state?: any; ifState?: any }): Promise<number>;
	/** With a version only if that is the one that there is (0: none). */
	set_room(room: string, state: any, version?: number | null, options?: CallOptions): Promise<number>;
	setRoom: Host["set_room"];
	/** All or none. */
	commands(list: Listed[], options?: CallOptions): Promise<number>;
	disconnect(): void;
}

/** A host to push to, at its HTTP API (http://, https://, unix:/path, http+unix://) or where workers attach (ipc:///path, tcp://, tls+tcp://). Of
 * several URLs the next is tried where one can not be reached. Nothing is dialled before the first call. */
export function connect(url: string | string[], options?: ConnectOptions): Host;

/** The host said no, and has done nothing. */
export class Refused extends TovaError {
	/** Of HTTP. */
	readonly status: number | null;
	/** The place of the command that is wrong in a list, from 0. */
	readonly index: number | null;
}
/** No host could be reached in time: nothing was done. */
export class Unreachable extends TovaError {}
/** It was over before a host could do it: nothing was done. */
export class Expired extends TovaError {}
/** It was sent, and its answer never came, nor that to its repetition: whether it was done is not known. */
export class AnswerLost extends TovaError {}

export {
	broadcast_to as broadcastTo, cancel_timer as cancelTimer, close_room as closeRoom, leave_all as leaveAll, current_event as currentEvent, room_state as roomState,
	set_room as setRoom, set_state as setState, set_timer as setTimer,
};
