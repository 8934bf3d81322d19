/** A WebSocket whose session outlives its sockets, where tova-host serves it with --resume; with any other server, one that connects
 * again by itself.
 *
 *     import { TovaSocket } from "/.tova/tova.js";
 *
 *     const socket = new TovaSocket("/chat");
 *     socket.onopen = () => socket.send("Good morning");
 *     socket.onmessage = ({ data }) => console.log(data);
 */
export class TovaSocket extends EventTarget {
	static readonly CONNECTING: 0;
	static readonly OPEN: 1;
	static readonly CLOSING: 2;
	static readonly CLOSED: 3;
	readonly CONNECTING: 0;
	readonly OPEN: 1;
	readonly CLOSING: 2;
	readonly CLOSED: 3;

	/** url: ws, wss, http or https; in a page also relative to it. protocols: the application's own. Throws what `new WebSocket` throws. */
	constructor(url: string | URL, protocols?: string | string[], options?: Options);

	readonly url: string;
	/** CONNECTING until it is open for the first time, then OPEN, also while it is away, until it is closed for good. */
	readonly readyState: 0 | 1 | 2 | 3;
	/** The application's subprotocol that the server has chosen, or "". */
	readonly protocol: string;
	readonly extensions: string;
	/** Bytes that were sent and are not confirmed (from a server that confirms nothing: that have not left yet). */
	readonly bufferedAmount: number;
	/** "blob" unless it is set to "arraybuffer". */
	binaryType: BinaryType;

	/** While it is away this waits, and goes out later. Throws an InvalidStateError before it is open, and a QuotaExceededError when more
	 * than options.queue would wait. */
	send(data: string | ArrayBufferLike | ArrayBufferView | Blob): void;
	/** Resolves when the server's handler is done with all that was sent so far. Rejects with an OperationError as soon as a handler
	 * fails (`data` is what it failed at), with an AbortError if the session ends before (see LostEvent, whose members it has), and with
	 * an InvalidStateError when the socket is closed or the server confirms nothing. */
	sent(): Promise<void>;
	close(code?: number, reason?: string): void;
	/** Does not wait any longer for the next try, unless the server has asked for that. If it is connected it finds out whether that is
	 * still so. */
	reconnect(): void;

	onopen: Handler<OpenEvent>;
	onmessage: Handler<MessageEvent>;
	onerror: Handler<ErrorEvent>;
	onclose: Handler<CloseEvent>;
	onaway: Handler<AwayEvent>;
	onresume: Handler<ResumeEvent>;
	onlost: Handler<LostEvent>;
	onfailed: Handler<FailedEvent>;
	onhistory: Handler<HistoryEvent>;

	addEventListener<K extends keyof Events>(type: K, listener: Listener<Events[K]> | null, options?: boolean | AddEventListenerOptions): void;
	removeEventListener<K extends keyof Events>(type: K, listener: Listener<Events[K]> | null, options?: boolean | EventListenerOptions): void;
}

export interface Options {
	/** Gives a JSON Web Token: called for each connection, and again before the last one is over. None, if it gives nothing. */
	token?: () => string | null | undefined | Promise<string | null | undefined>;
	/** A name: the session goes on when the page is loaded again, by what is kept under it in sessionStorage. Each socket of a page needs
	 * its own. Without it a page that is left ends its session. */
	store?: string;
	/** Bytes that may wait to be confirmed, 16 MiB by default; each message counts 64 more. */
	queue?: number;
	/** After so many ms of silence the host is asked whether it is there: 25000. */
	ping?: number;
	/** And so many ms it has for an answer, also when connecting: 10000. */
	timeout?: number;
	/** Where there is no global one (Node.js before 22), such as that of the package ws. */
	WebSocket?: unknown;
}

type Handler<E> = ((this: TovaSocket, event: E) => any) | null;
type Listener<E> = ((this: TovaSocket, event: E) => any) | { handleEvent(event: E): any };

export interface Events {
	open: OpenEvent;
	message: MessageEvent;
	error: ErrorEvent;
	close: CloseEvent;
	away: AwayEvent;
	resume: ResumeEvent;
	lost: LostEvent;
	failed: FailedEvent;
	history: HistoryEvent;
}

/** A session begins. */
export interface OpenEvent extends Event {
	/** It is that of the page before (options.store), which goes on. */
	readonly resumed: boolean;
}

/** In front of a close that was not clean; or a token could not be had, and then it goes on. */
export interface ErrorEvent extends Event {
	readonly error?: unknown;
}

/** A connection is lost, or a try to connect has failed. */
export interface AwayEvent extends Event {
	readonly code: number;
	readonly reason: string;
	/** ms until the next try. */
	readonly delay: number;
}

/** The session goes on, on another connection. */
export interface ResumeEvent extends Event {
	readonly resumed: true;
}

/** Something is lost: the session, and a new one has begun or none will; or, where `missed` is a number, so many messages that the host
 * could not keep for it. */
export interface LostEvent extends Event {
	/** Messages that were not received. null: nobody can know. */
	readonly missed: number | null;
	/** What was sent and is not confirmed, in its order: messages[0] is number done + 1 of the session. */
	readonly messages: (string | ArrayBuffer | Blob)[];
	/** The handler is done with so many. Not there if `missed` is a number, as those that follow. */
	readonly done?: number;
	/** So many have reached the host for certain: messages.slice(0, got - done) have, and may have taken effect. */
	readonly got?: number;
	/** So many were handed to a connection: messages.slice(sent - done) were not, and have taken no effect. */
	readonly sent?: number;
}

/** The handler has failed at a message. The session goes on. */
export interface FailedEvent extends Event {
	readonly data: string | ArrayBuffer | Blob;
}

/** Messages of a room's history follow. */
export interface HistoryEvent extends Event {
	readonly room: string;
	readonly epoch: string;
	readonly from: number;
	readonly to: number;
	readonly complete: boolean;
}
