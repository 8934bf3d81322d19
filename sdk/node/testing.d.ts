import type { Handlers } from "./index.mjs";

/** on_upgrade refused the connection. */
export class Refused extends Error {
	readonly status: number;
	readonly headers: [name: string, value: string][];
	readonly body: string | Buffer;
}

export interface Connecting {
	query?: string;
	headers?: [name: string, value: string][];
	subprotocols?: string[];
	/** What a token says; without it the mount asks for none. */
	claims?: Record<string, unknown>;
}

/** A connection, as its client sees it and as the host keeps it. */
export interface Client {
	readonly id: string;
	readonly rooms: Set<string>;
	/** What it was sent and has not taken yet. */
	readonly received: (string | Buffer)[];
	/** What prolong gave it; nobody verifies it here. */
	readonly token?: string;
	/** What the handler of its last event threw. */
	readonly raised?: string;
	/** The code with which it was closed; 1005: none. */
	readonly closed?: number;
	readonly gone: boolean;
	readonly state: any;
	/** Whose it is, and what handlers have said of it; undefined: nothing. */
	readonly user?: string;
	readonly info?: string;
	readonly subprotocol?: string;
	/** attempt: above 1, the last event once more, as after the death of a worker. */
	send(data: string | Uint8Array, options?: { attempt?: number }): Promise<Client>;
	/** The next message; throws if there is none. */
	receive(): string | Buffer;
	close(code?: number, reason?: string): Promise<void>;
	error(text: string, kind?: "handler" | "protocol" | "transport" | "limit"): Promise<void>;
}

/** A host in memory, for tests of handlers. One at a time in a process. */
export class Host {
	static start(handlers: Handlers, options?: { room_state?: boolean; roomState?: boolean }): Promise<Host>;
	/** Milliseconds that have passed. */
	readonly now: number;
	/** Commands that named a connection which was gone. */
	readonly stale: number;
	connect(path?: string, options?: Connecting): Promise<Client>;
	/** Timers run in their order; resolves with how many did. */
	passTime(ms: number): Promise<number>;
	members(room: string): Client[];
	timers(ws?: Client): string[];
	/** What is kept with a room; null: nothing. */
	roomState(room: string): any;
	/** Somebody else keeps something with a room; null: nothing any more. */
	setRoom(room: string, state: any): void;
	quiet(): boolean;
	end(): Promise<void>;
}
