/** Pushing without handlers, from a web application or a job: each call is committed when its promise is fulfilled, or rejects with what the
 * host said. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import * as commands from "./commands.mjs";
import { MESSAGE_MAX, TovaError } from "./outbox.mjs";
import { Scope, current } from "./scope.mjs";
import { Address, AnotherRun, Call, Lost, NotDone, Refusal } from "./transport.mjs";

const BACK_OFF_FIRST = 50, BACK_OFF_MAX = 1000; // ms

/** The host said no, and has done nothing. */
export class Refused extends TovaError {
	name = "Refused";

	constructor(text, status, index) {
		super(text);
		this.status = status;
		this.index = index;
	}
}
/** No host could be reached in time: nothing was done. */
export class Unreachable extends TovaError {
	name = "Unreachable";
}
/** It was over (expires_ms) before a host could do it: nothing was done. */
export class Expired extends TovaError {
	name = "Expired";
}
/** It was sent, and its answer never came, nor that to its repetition: whether it was done is not known. */
export class AnswerLost extends TovaError {
	name = "AnswerLost";
}

/** A host, or several of which one is spoken to. */
export function connect(url, options = {}) {
	return new Host(url, options);
}

export class Host {
	#addresses;
	#mount;
	#timeout;
	#free; // calls that may be under way beside those that are
	#waiting = [];
	#preferred = 0;
	#closed = false;

	constructor(url, { token, mount, name = `client ${process.pid}`, tls, connections = 8, ...rest }) {
		const urls = Array.isArray(url) ? url : [url];
		if (urls.length === 0 || !urls.every((one) => typeof one === "string")) throw new TypeError("a URL of a host is expected, or a list of them");
		if (token !== undefined && token !== null && (typeof token !== "string" || token === "" || token !== token.trim()))
			throw new TypeError("a token is a text without white space around it: one from a file wants .trim()");
		if (!Number.isInteger(connections) || connections < 1) throw new TypeError(`connections is a whole number from 1, not ${connections}`);
		this.#timeout = milliseconds(rest.timeout_ms ?? rest.timeoutMs ?? 10_000, "timeout_ms");
		this.#mount = mount ?? undefined;
		this.#free = connections;
		this.#addresses = urls.map((one) => new Address(one, { token: token ?? undefined, mount: this.#mount, name, tls, connections }));
	}

	/** Closes what is open. Calls that are under way fail, and so do later ones. */
	disconnect() {
		this.#closed = true;
		for (const address of this.#addresses) address.close();
	}

	send(ws, data, options) {
		return this.#push(() => commands.send(ws, data, options), options);
	}

	broadcast(data, exclude, options) {
		return this.#push(() => commands.broadcast(data, exclude, options), options);
	}

	broadcast_to(room, data, exclude, options) {
		return this.#push(() => commands.broadcast_to(room, data, exclude, options), options);
	}

	broadcastTo(...more) {
		return this.broadcast_to(...more);
	}

	join(ws, room, options) {
		return this.#push(() => commands.join(ws, room, options), options);
	}

	leave_all(ws, options) {
		return this.#push(() => commands.leave_all(ws), options);
	}

	leaveAll(...more) {
		return this.leave_all(...more);
	}

	/** What is undefined stays as it is. */
	info(ws, said, options) {
		return this.#push(() => commands.info(ws, said, options), options);
	}

	/** options: who is left out, too. */
	close_room(room, code, reason, options) {
		return this.#push(() => commands.close_room(room, code, reason, options), options);
	}

	closeRoom(...more) {
		return this.close_room(...more);
	}

	leave(ws, room, options) {
		return this.#push(() => commands.leave(ws, room), options);
	}

	/** Ends a connection. (What ends this object is disconnect.) */
	close(ws, code, reason, options) {
		return this.#push(() => commands.close(ws, code, reason), options);
	}

	set(ws, state, options) {
		return this.#push(() => commands.set_state(ws?.id ?? ws, state, options), options);
	}

	/** version null: whatever there is. */
	set_room(room, state, version, options) {
		return this.#push(() => commands.set_room(room, state, version ?? null), options);
	}

	setRoom(...all) {
		return this.set_room(...all);
	}

	/** All or none of a list such as [{ c: "join", conn, room: "a" }, { c: "send", conn, data: "hi" }]. */
	commands(items, options) {
		return this.#push(() => items.forEach(listed), options);
	}

	async #push(write, options) {
		const scope = new Scope();
		current.run(scope, write);
		scope.open = false;
		const now = performance.now(), expires = options?.expires_ms ?? options?.expiresMs;
		let deadline = now + milliseconds(options?.timeout_ms ?? options?.timeoutMs ?? this.#timeout, "timeout_ms"), over = Infinity;
		if (expires !== undefined && expires !== null) {
			over = now + milliseconds(expires, "expires_ms");
			deadline = Math.min(deadline, over);
		}
		const call = new Call(scope, randomUUID(), this.#mount, over === Infinity ? undefined : Math.floor(Date.now() + expires));
		if (call.size > MESSAGE_MAX) throw new RangeError(`${call.size} bytes: the host takes no more than ${MESSAGE_MAX}`);
		await this.#take(deadline, over);
		try {
			return await this.#tryAll(call, deadline, over);
		} catch (error) {
			if (!(error instanceof Refusal)) throw error;
			if (error.status === 410 || (error.status === null && error.message.includes('"expires"'))) throw new Expired(error.message);
			throw new Refused(error.message, error.status, error.index);
		} finally {
			this.#give();
		}
	}

	async #take(deadline, over) {
		if (this.#free > 0) {
			this.#free--;
			return;
		}
		const mine = {};
		this.#waiting.push(mine);
		await new Promise((resolve, reject) => {
			mine.resolve = resolve;
			mine.timer = setTimeout(() => {
				this.#waiting.splice(this.#waiting.indexOf(mine), 1);
				reject(tooLate(over, "all connections are in use by other calls"));
			}, Math.max(1, deadline - performance.now()));
		});
	}

	#give() {
		const next = this.#waiting.shift();
		if (next === undefined) {
			this.#free++;
			return;
		}
		clearTimeout(next.timer);
		next.resolve();
	}

	/** Where it was not done another host is tried; where that is not known only the same one can tell. */
	async #tryAll(call, deadline, over) {
		let wait = BACK_OFF_FIRST, why = "no time was left";
		while (performance.now() < deadline) {
			let final = 0;
			const first = this.#preferred;
			for (let i = 0; i < this.#addresses.length; i++) {
				const at = (first + i) % this.#addresses.length, address = this.#addresses[at];
				if (this.#closed) throw new Unreachable("this was disconnected");
				try {
					const reached = await address.commit(call, false, deadline);
					this.#preferred = at;
					return reached;
				} catch (error) {
					if (error instanceof Lost) return await this.#repeat(address, call, deadline, error.message);
					if (!(error instanceof NotDone)) throw error;
					why = `${address.url}: ${error.message}`;
					final += error.final ? 1 : 0;
				}
			}
			if (final === this.#addresses.length) break;
			await sleep(Math.max(0, Math.min(wait * (0.5 + Math.random() / 2), deadline - performance.now())));
			wait = Math.min(wait * 2, BACK_OFF_MAX);
		}
		throw tooLate(over, why);
	}

	/** Until the host that was given it says what became of it. */
	async #repeat(address, call, deadline, why) {
		let wait = BACK_OFF_FIRST;
		while ((address.sp || call.run) && performance.now() < deadline && !this.#closed) {
			try {
				return await address.commit(call, true, deadline);
			} catch (error) {
				if (error instanceof AnotherRun) {
					why = "the host was started again meanwhile";
					break;
				}
				if (error instanceof Refusal) {
					const may = error.status !== 401 && error.status !== 403 && !/^the token/.test(error.message);
					if (may) throw error; // what became of it
					why = error.message;
					break;
				}
				if (!(error instanceof Lost || error instanceof NotDone)) throw error;
				why = error.message;
			}
			await sleep(Math.max(0, Math.min(wait * (0.5 + Math.random() / 2), deadline - performance.now())));
			wait = Math.min(wait * 2, BACK_OFF_MAX);
		}
		throw new AnswerLost(`it was sent to ${address.url} and not answered, so that it may have been done: ${why}`);
	}
}

function tooLate(over, why) {
	return performance.now() >= over ? new Expired(`its time is over, and no host was reached: ${why}`) : new Unreachable(`no host was reached: ${why}`);
}

function milliseconds(value, what) {
	if (typeof value !== "number" || !(value > 0)) throw new TypeError(`${what} is a number of milliseconds above 0, not ${String(value)}`);
	return value;
}

const LISTED = {
	send: ({ conn, data, key }) => commands.send(conn, data, { key }),
	broadcast: ({ data, exclude, ...how }) => commands.broadcast(data, exclude, how),
	broadcast_to: ({ room, rooms, data, exclude, ...how }) => commands.broadcast_to(rooms ?? room, data, exclude, how),
	join: ({ conn, room, ...asked }) => commands.join(conn, room, asked),
	leave_all: ({ conn }) => commands.leave_all(conn),
	info: ({ conn, info, user }) => commands.info(conn, info, { user }),
	close_room: ({ room, rooms, code, reason, ...but }) => commands.close_room(rooms ?? room, code, reason, but),
	leave: ({ conn, room }) => commands.leave(conn, room),
	close: ({ conn, code, reason }) => commands.close(conn, code, reason),
	set_room: ({ room, state, version = null }) => commands.set_room(room, state, version),
	set: ({ conn, state, ...compare }) => commands.set_state(conn?.id ?? conn, state, compare),
};
const MEMBERS = {
	send: ["conn", "data", "key"], broadcast: ["data", "exclude", "exclude_users", "exclude_rooms", "key"],
	broadcast_to: ["room", "rooms", "data", "exclude", "exclude_users", "exclude_rooms", "key", "keep"],
	join: ["conn", "room", "max", "users_max", "first", "replace", "last", "since", "epoch", "else"], leave_all: ["conn"], info: ["conn", "info", "user"],
	close_room: ["room", "rooms", "code", "reason", "exclude", "exclude_users", "exclude_rooms"],
	leave: ["conn", "room"], close: ["conn", "code", "reason"], set: ["conn", "state", "if_state"], set_room: ["room", "state", "version"],
};

function listed(item, at) {
	const known = MEMBERS[item?.c];
	if (known === undefined)
		throw new TypeError(`command ${at} of the list is ${JSON.stringify(item)}; expected an object whose "c" is one of ${Object.keys(MEMBERS).join(", ")}`);
	const other = Object.keys(item).find((member) => member !== "c" && !known.includes(member));
	if (other !== undefined) throw new TypeError(`command ${at} of the list, ${item.c}, has "${other}"; expected ${known.join(", ")}`);
	LISTED[item.c](item);
}
