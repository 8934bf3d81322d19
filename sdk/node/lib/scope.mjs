/** Where commands go: each handler runs in a scope that collects them. */
import { AsyncLocalStorage } from "node:async_hooks";

/** The scope of the code that runs, also behind an await. */
export const current = new AsyncLocalStorage();

/** Commands that commit together. */
export class Scope {
	own = undefined; // id of the connection that commands may leave out
	commands = [];
	binaries = [];
	open = true;
}

/** The event that is being handled. connection and sequence together never change when it is delivered again. */
export class Event extends Scope {
	#abort;
	// For what follows it in a run: whether it was acknowledged (undefined: under way), and what waits for that.
	done = undefined;
	behind = undefined;

	constructor(type, connection, item, link) {
		super();
		this.own = connection?.id;
		this.type = type;
		this.connection = connection;
		this.sequence = item.seq ?? 0;
		this.attempt = item.attempt ?? 1;
		this.number = item.s;
		this.link = link;
		this.stored = item.state ?? item.state_bin; // the state that it leaves
		const { subject, user, info, traceparent, tracestate } = item;
		this.who = { subject, user, info, traceparent, tracestate, claims: item.request?.claims ?? item.claims }; // and who its client is then
	}

	/** Names this event for ever: store it with your own writes to make them idempotent. */
	get key() {
		return `${this.own ?? ""}:${this.sequence}`;
	}

	/** An AbortSignal: the connection to the host is lost, and the event is given to another worker. */
	get signal() {
		this.#abort ??= new AbortController();
		return this.#abort.signal;
	}

	/** It stays open: what its handler still does is not for the host, not even as a push. */
	abandon() {
		this.#abort ??= new AbortController();
		this.#abort.abort(new Error("the connection to the host is lost"));
	}
}

/** The event whose handler runs here, or undefined. */
export function current_event() {
	const scope = current.getStore();
	return scope instanceof Event && scope.open ? scope : undefined;
}
