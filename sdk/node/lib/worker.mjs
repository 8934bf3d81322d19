/** A worker: takes events from the host, runs handlers, and acknowledges with their commands. */
import { basename } from "node:path";
import { Retry } from "./commands.mjs";
import { Connection, Request, Room } from "./connection.mjs";
import { HandlerError, eventsOf, find } from "./handlers.mjs";
import { Link } from "./link.mjs";
import { MESSAGE_MAX, Push, Query, TovaError, outbox, sizeOf } from "./outbox.mjs";
import { Event, Scope, current } from "./scope.mjs";
import { upgradeAnswer } from "./upgrade.mjs";

// All in ms.
const HELD_BACK = 10; // that a finished event may wait for others of its batch: slow handlers must show signs of life
const CORKED = 1; // the same where a promise handles the next one of a run
const GOODBYE = 5000; // for the host to close after bye
const ANSWERS = 2000; // for the answers of pushes and queries before bye
const LEFTOVERS = 5000; // for handlers that a lost connection left running, before their events may come again
const BACK_OFF_FIRST = 100;
const BACK_OFF_MAX = 5000;

const RUNS = 64; // messages of one connection that the host may give together

const EMPTY = Buffer.alloc(0);
const say = (text, ...more) => {
	try {
		console.error(`tova: ${text}`, ...more);
	} catch {
		console.error(`tova: ${text}`); // what was thrown can not even be shown
	}
};
const isPromise = (value) => typeof value?.then === "function";

class Worker {
	#handlers;
	#options;
	#onMessage;
	#dialled; // the link, while it is there
	#link; // the same, once it is welcomed
	#calls = new Map(); // sent, not answered; in the order of sending
	#queries = 0;
	#running = new Set(); // promises of handlers
	#events = new Set(); // of those among them that handle an event
	#last; // the last event, which the next one may follow
	#busy = new Map(); // events of connections that a promise handles, by the connection's id
	#leaving = false;
	#left = false; // bye was said
	#startError; // what on_start failed with
	#wakeUp; // ends a pause between two links
	#flushed = 0;
	#flushing = false;
	#flushingLater = false;
	#types;

	constructor(handlers, options) {
		this.#handlers = handlers;
		this.#onMessage = handlers.on_message;
		this.#options = options;
		const answered = (link, item) => this.#answered(item);
		this.#types = new Map([
			["upgrade", (link, item) => this.#handle(link, item, handlers.on_upgrade, new Request(item.request))],
			["open", (link, item) => this.#handle(link, item, handlers.on_open)],
			["message", (link, item) => this.#handle(link, item, this.#onMessage, item.data ?? item.bin ?? EMPTY)],
			["close", (link, item) => this.#handle(link, item, handlers.on_close, item.code ?? 1006, item.reason ?? "")],
			["error", (link, item) => this.#handle(link, item, handlers.on_error, toError(item))],
			["timer", (link, item) => this.#handle(link, item, handlers.on_timer, item.name, item.id)],
			["away", (link, item) => this.#handle(link, item, handlers.on_away, item.code ?? 1006)],
			["back", (link, item) => this.#handle(link, item, handlers.on_back)],
			["join", (link, item) => this.#handle(link, item, handlers.on_join, presenceOf(item))],
			["leave", (link, item) => this.#handle(link, item, handlers.on_leave, presenceOf(item))],
			["ping", (link) => link.put('{"t":"pong"}')],
			["reply", answered],
			["done", answered],
			["welcome", (link, item) => this.#welcome(link, item)],
			["drain", () => this.leave()],
			["bye", (link, item) => this.#bye(link, item)],
		]);
	}

	// --- the life of a worker ---------------------------------------------------------------------------------------------

	/** Serves until the host drains this worker, or a signal ends it. */
	async run() {
		const leave = () => this.leave();
		// A host that runs in a terminal gets INT together with its workers: what it means for them is the host's to say.
		const interrupted = this.#options.supervised ? () => {} : leave;
		// What was handled before a handler that ends the process is done and must not be done again.
		const exiting = () => this.#link?.flush();
		process.on("SIGTERM", leave).on("SIGINT", interrupted).on("exit", exiting);
		outbox.wake = () => this.#flushSoon();
		try {
			await this.#keepLinked();
		} finally {
			outbox.wake = undefined;
			process.off("SIGTERM", leave).off("SIGINT", interrupted).off("exit", exiting);
			this.#giveUpCalls();
		}
	}

	async #keepLinked() {
		let wait = BACK_OFF_FIRST;
		while (!this.#leaving) {
			if (await this.#oneLink()) wait = BACK_OFF_FIRST;
			if (this.#leaving) return;
			if (this.#options.supervised) throw new TovaError("the host is gone");
			await this.#pause(wait * (0.5 + Math.random() / 2));
			await withTimeout(Promise.allSettled(this.#running), LEFTOVERS);
			wait = Math.min(wait * 2, BACK_OFF_MAX);
		}
	}

	/** Dials and serves until the connection ends. Returns whether the host had welcomed us. */
	async #oneLink() {
		const link = new Link(this, this.#options.url, this.#options.tls);
		this.#dialled = link;
		await link.closed;
		this.#dialled = undefined;
		if (link.refusal !== undefined && !this.#leaving) throw new TovaError(`the host refuses this worker: ${link.refusal}`);
		if (this.#startError !== undefined) throw new TovaError(`this worker ends, as its on_start failed: ${this.#startError}`);
		if (link.id === "") say(`can not reach the host at ${this.#options.url}: ${link.error ?? "it closed the connection"}`);
		else if (!this.#left) say(`the connection to the host ended${link.error === undefined ? "" : `: ${link.error}`}`);
		return link.id !== "";
	}

	#pause(ms) {
		return new Promise((resolve) => {
			const timer = setTimeout(resolve, ms);
			this.#wakeUp = () => {
				clearTimeout(timer);
				resolve();
			};
		});
	}

	/** Settles what is under way and goes. Events that come meanwhile are left to other workers. */
	leave() {
		if (this.#leaving) return;
		this.#leaving = true;
		if (this.#link !== undefined) this.#sayBye(this.#link);
		else this.#dialled?.abort();
		this.#wakeUp?.();
	}

	async #sayBye(link) {
		await this.#handlersEnd();
		this.#callLocal("on_stop");
		await this.#handlersEnd();
		const deadline = performance.now() + ANSWERS;
		while ((this.#calls.size > 0 || outbox.waiting) && link === this.#link && performance.now() < deadline)
			await new Promise((resolve) => setTimeout(resolve, 10));
		if (link !== this.#link) return;
		link.put('{"t":"bye"}');
		this.#left = true;
		link.close();
		await withTimeout(link.closed, GOODBYE);
		link.abort();
	}

	async #handlersEnd() {
		while (this.#running.size > 0) await Promise.allSettled(this.#running);
	}

	#giveUpCalls() {
		for (const call of [...this.#calls.values(), ...outbox.take()]) {
			outbox.answered(call);
			call.settle({ error: "the worker has ended" });
		}
		this.#calls.clear();
	}

	// --- what links report --------------------------------------------------------------------------------------------------

	linked(link) {
		const { token, mount, name, room_state } = this.#options;
		const events = eventsOf(this.#handlers);
		link.put(JSON.stringify({ t: "hello", v: 1, token, events, name, mount: mount || undefined, runs: RUNS, claims: true, room_state: room_state || undefined,
			starting: this.#handlers.on_start !== undefined || undefined })); // events come when that is done
	}

	unlinked(link) {
		if (link !== this.#link) return;
		this.#link = undefined;
		this.#busy.clear();
		// The host gives their events to others.
		for (const event of this.#events) event.abandon();
	}

	batch(link, items) {
		this.#flushed = performance.now();
		for (const item of items) {
			if (item.run !== undefined) this.#follow(link, item);
			else if (this.#busy.size > 0 && this.#busy.get(item.conn)?.link === link) this.#wait(item);
			else this.#take(link, item);
		}
		this.#sendCalls();
	}

	#take(link, item) {
		const take = this.#types.get(item.t);
		if (take !== undefined) take(link, item);
		else if (item.s !== undefined) this.#handle(link, item, undefined);
	}

	#welcome(link, item) {
		link.welcomed(item.link);
		this.#link = link;
		for (const call of this.#calls.values()) link.put(call.text, call.binaries);
		this.#callLocal("on_start", item.starting ? () => this.#started(link) : undefined, (error) => this.#startFailed(link, error));
	}

	#started(link) {
		if (link !== this.#link) return;
		this.#sendCalls(); // what it pushed goes first
		link.put('{"t":"ready"}');
		this.#flushSoon();
	}

	/** It must not say that it is ready: a generation that works would leave for it. One that is leaving, or whose link is lost, so that
	 * on_start comes again, just goes on. */
	#startFailed(link, error) {
		if (link !== this.#link || this.#leaving) return;
		this.#startError = textOf(error).replace(/\s+/g, " "); // one line, whatever it is
		link.abort();
	}

	#bye(link, item) {
		if (link.id === "" && item.error !== undefined) link.refusal = item.error;
		link.abort(item.error);
	}

	// --- events ---------------------------------------------------------------------------------------------------------------

	#handle(link, item, handler, ...facts) {
		if (this.#leaving) return;
		const event = new Event(item.t, connectionOf(item, this.#options.room_state), item, link);
		this.#last = event;
		if (handler === undefined) {
			this.#settle(event);
			return;
		}
		let result;
		try {
			if (item.t === "upgrade" || item.t === "join" || item.t === "leave") result = current.run(event, handler, ...facts);
			else if (item.t === "timer") result = current.run(event, handler, ...facts, event.connection);
			else result = current.run(event, handler, event.connection, ...facts);
			if (isPromise(result)) {
				this.#await(event, result);
				return;
			}
			this.#settle(event, result);
		} catch (error) {
			this.#fail(event, error);
		}
		const now = performance.now();
		if (now - this.#flushed > HELD_BACK) {
			this.#flushed = now;
			link.flush();
		}
	}

	#await(event, promise) {
		this.#events.add(event);
		if (event.own !== undefined) this.#busy.set(event.own, event);
		const finished = () => {
			this.#events.delete(event);
			if (this.#busy.get(event.own) === event) this.#busy.delete(event.own);
			return event.behind !== undefined && this.#goOn(event);
		};
		this.#track(promise, (result) => this.#settle(event, result), (error) => this.#fail(event, error), finished);
	}

	// --- events that follow others in a run -----------------------------------------------------------------------------------

	/** An event behind the one that came last: it is handled when that is acknowledged, and not if it failed, as the host gives it
	 * again then. */
	#follow(link, item) {
		const before = this.#last;
		if (before === undefined || before.link !== link) {
			if (!this.#leaving) throw new Error("an event follows none");
		} else if (before.done === undefined) {
			(before.behind ??= []).push(item);
		} else if (before.done) {
			this.#handleNext(before, item);
		}
	}

	/** An event of a connection that has one under way: the host has taken back what followed that. */
	#wait(item) {
		const busy = this.#busy.get(item.conn);
		busy.behind = [...(busy.behind ?? []).filter((other) => other.run === undefined), item];
		this.#last = busy;
	}

	#handleNext(before, item) {
		item.conn = before.own;
		item.seq = before.sequence + 1;
		if (typeof before.stored === "string") item.state = before.stored;
		else item.state_bin = before.stored;
		Object.assign(item, before.who);
		this.#take(before.link, item);
	}

	/** What waited for an event that a promise has handled. Returns whether another promise handles it now. */
	#goOn(event) {
		const waiting = event.behind;
		event.behind = undefined;
		for (let i = 0; i < waiting.length && event.link === this.#link && !this.#leaving; i++) {
			const item = waiting[i];
			if (item.run === undefined) this.#take(event.link, item);
			else if (event.done) this.#handleNext(event, item);
			else continue;
			event = this.#last;
			if (event.done !== undefined) continue;
			event.behind = waiting.slice(i + 1);
			return true;
		}
		return false;
	}

	#track(promise, fulfilled, rejected, finished) {
		const ended = () => {
			const more = finished?.();
			this.#running.delete(tracked);
			if (more) this.#flushLater(); // the answers of a run together
			else this.#flushSoon();
		};
		// What fulfilled throws is the handler's failure too: its state may be too large, say.
		const tracked = Promise.resolve(promise).then(fulfilled).catch(rejected).then(ended);
		this.#running.add(tracked);
	}

	#settle(event, result) {
		if (event.link !== this.#link) return;
		if (event.connection !== undefined) current.run(event, () => event.connection.storeChanges());
		event.open = false;
		event.done = true;
		let text = `{"t":"ack","s":${event.number}`;
		let binaries = event.binaries;
		if (event.type === "upgrade") {
			const [answer, first] = upgradeAnswer(result);
			text += answer;
			binaries = [...first, ...binaries];
		}
		if (event.commands.length > 0) text += `,"commands":[${event.commands.join(",")}]`;
		if ((text.length > MESSAGE_MAX / 3 || binaries.length > 0) && sizeOf(text, binaries) > MESSAGE_MAX)
			throw new RangeError(`the commands of one event are more than ${MESSAGE_MAX} bytes`);
		event.link.put(`${text}}`, binaries);
	}

	#fail(event, error) {
		const answer = { t: "nack", s: event.number };
		if (isRetry(error)) {
			answer.error = wellFormed(error.message);
			answer.retry_ms = error.after_ms;
		} else {
			answer.error = wellFormed(textOf(error)).slice(0, 1000);
			say(`on_${event.type} failed for event ${event.key}:`, error);
		}
		if (event.link !== this.#link) return;
		event.open = event.done = false;
		event.link.put(JSON.stringify(answer));
	}

	// --- what runs outside of events --------------------------------------------------------------------------------------------

	/** Commands of on_start and on_stop are one push, unless they fail. Behind it comes done(), or undone(error). */
	#callLocal(name, done, undone) {
		const handler = this.#handlers[name];
		if (handler === undefined) return;
		const scope = new Scope();
		const submit = () => {
			scope.open = false;
			if (scope.commands.length > 0) outbox.submit(new Push(scope));
			done?.();
		};
		const failed = (error) => {
			scope.open = false;
			say(`${name} failed:`, error);
			undone?.(error);
		};
		try {
			const result = current.run(scope, handler);
			if (isPromise(result)) this.#track(result, submit, failed);
			else submit();
		} catch (error) {
			failed(error);
		}
	}

	// --- pushes and queries -------------------------------------------------------------------------------------------------------

	#flushLater() {
		if (this.#flushingLater) return;
		this.#flushingLater = true;
		setTimeout(() => {
			this.#flushingLater = false;
			this.#link?.flush();
		}, CORKED);
	}

	#flushSoon() {
		if (this.#flushing) return;
		this.#flushing = true;
		setImmediate(() => {
			this.#flushing = false;
			this.#sendCalls();
			this.#link?.flush();
		});
	}

	#sendCalls() {
		const link = this.#link;
		if (link === undefined) return;
		for (const call of outbox.take()) {
			// Numbers of pushes go with the connection. After a new one, what was sent before is repeated under its old number, and a
			// host that was started anew meanwhile refuses just that, but takes what is numbered from 1.
			if (call instanceof Query) call.number(++this.#queries);
			else call.number(link.source, ++link.pushes);
			this.#calls.set(call.key, call);
			link.put(call.text, call.binaries);
		}
	}

	#answered(item) {
		const key = item.t === "reply" ? item.q : `${item.source} ${item.n}`;
		const call = this.#calls.get(key);
		if (call === undefined) return;
		this.#calls.delete(key);
		outbox.answered(call);
		if (call instanceof Query && call.goesOn(item)) {
			outbox.submit(call);
			return;
		}
		call.settle(item);
		if (item.error !== undefined) say(`the host refused a ${item.t === "reply" ? "query" : "push"}: ${item.error}`);
	}
}

function connectionOf(item, withRoom) {
	if (item.conn === undefined) return undefined;
	return new Connection(item.conn, {
		stored: item.state ?? item.state_bin,
		request: item.t === "open" || item.t === "back" ? new Request(item.request) : undefined,
		rooms: item.t === "close" ? (item.rooms ?? []) : undefined,
		user: item.user ?? item.subject ?? null,
		info: item.info ?? null,
		claims: item.request?.claims ?? item.claims ?? null,
		room: !withRoom ? undefined : item.room_version === undefined ? null : new Room(item.room, item.room_state ?? item.room_state_bin, item.room_version),
		traceparent: item.traceparent ?? null,
		tracestate: item.tracestate ?? null,
	});
}

/** Who has come or gone: of the mount, so the connection is one that commands have to name. */
function presenceOf({ room, user = null, info = null, users, member }) {
	return { room, user, info, users, ws: new Connection(member, undefined, { user, info }) };
}

function toError(item) {
	const error = new Error(item.error ?? "");
	error.name = "WebSocketError";
	error.kind = item.kind ?? "";
	delete error.stack; // it would show where this library made it
	error.toString = () => error.message;
	return error;
}

// Anything can be thrown: an object without a prototype, one whose toString throws, a proxy that was revoked.

function isRetry(error) {
	try {
		return error instanceof Retry;
	} catch {
		return false;
	}
}

function textOf(error) {
	try {
		return String(error);
	} catch {
		return "something was thrown that is no text";
	}
}

/** Half a surrogate pair becomes a question mark. */
const wellFormed = (text) => text.replace(/\p{Surrogate}/gu, "?");

function withTimeout(promise, ms) {
	let timer;
	const late = new Promise((resolve) => (timer = setTimeout(resolve, ms)));
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Serves a mount of tova-host until it drains this worker or a signal ends it; see index.d.ts. */
export async function serve(handlers, options = {}) {
	const env = process.env;
	const script = basename(process.argv[1] ?? "worker");
	const exit = options.exit ?? true;
	try {
		const worker = new Worker(find(handlers), {
			url: options.url ?? env.TOVA_URL ?? "",
			token: options.token ?? env.TOVA_TOKEN ?? "",
			mount: options.mount ?? env.TOVA_MOUNT,
			name: options.name ?? `${script} ${process.pid}`,
			tls: options.tls,
			room_state: options.room_state ?? options.roomState ?? false,
			supervised: env.TOVA_SUPERVISED === "1",
		});
		if ((options.url ?? env.TOVA_URL ?? "") === "")
			throw new TovaError(`TOVA_URL is not set. tova-host sets it for the workers that it starts (tova-host -w 'node ${script}');`
				+ " for others it is the URL of --attach");
		await worker.run();
	} catch (error) {
		if (!exit || !(error instanceof TovaError || error instanceof HandlerError)) throw error;
		say(error.message);
		process.exit(1);
	}
	// Timers and sockets of the handlers would keep the process alive, though it has left its host.
	if (exit) process.exit(0);
}
