/** Pushes and queries on their way to the host, and back: they outlive the connection on which they were sent. */

export const LIMIT = 64 * 2 ** 20; // bytes of pushes that may wait for the host
export const MESSAGE_MAX = 64 * 2 ** 20 - 65536; // the host takes 64 MiB per message; some of it is around the commands

/** The host refused something, or can not be reached any more. */
export class TovaError extends Error {
	name = "TovaError";
}

export const sizeOf = (text, binaries) => binaries.reduce((sum, binary) => sum + binary.length, Buffer.byteLength(text));

/** A promise that says so when it is used as the value that it is for: a question that nobody waited for is smaller, larger and equal
 * to nothing, all of it in silence. */
class Answer extends Promise {
	static get [Symbol.species]() {
		return Promise;
	}

	[Symbol.toPrimitive]() {
		throw new TypeError("this is an answer that has yet to come: await it");
	}
}

class Call {
	constructor() {
		this.answer = new Answer((resolve, reject) => {
			this.resolve = resolve;
			this.reject = reject;
		});
		// Who does not wait for the answer finds it in the log; the process goes on.
		this.answer.catch(() => {});
		this.key = undefined; // once it was sent: what the host's answer names
		this.text = "";
		this.binaries = [];
		this.size = 0;
	}

	settle(item) {
		if (item.error !== undefined) this.reject(new TovaError(item.error));
		else this.resolve(this.value(item));
	}
}

export class Push extends Call {
	constructor(scope) {
		super();
		this.commands = scope.commands.join(",");
		this.binaries = scope.binaries;
		this.size = sizeOf(this.commands, this.binaries);
		if (this.size > MESSAGE_MAX) throw new RangeError(`a push of ${this.size} bytes: the host takes no more than ${MESSAGE_MAX}`);
	}

	number(source, n) {
		this.key = `${source} ${n}`;
		this.text = `{"t":"push","source":"${source}","n":${n},"commands":[${this.commands}]}`;
	}

	/** Where its last message is in its room's memory. */
	value({ offset, epoch }) {
		return offset === undefined ? undefined : { offset, epoch };
	}
}

export class Query extends Call {
	#first;
	#found = [];

	/** pages: what the answer lists, if that comes in pages of which all are wanted. */
	constructor(asked, value, pages) {
		super();
		this.asked = this.#first = asked;
		this.value = value;
		this.pages = pages;
	}

	/** Whether there is another page to be asked for. The last answer gets what the others had. */
	goesOn(item) {
		if (this.pages === undefined || item.error !== undefined) return false;
		this.#found.push(...(item[this.pages] ?? []));
		item[this.pages] = this.#found;
		if (item.next !== undefined) this.asked = `${this.#first},"after":${JSON.stringify(item.next)}`;
		return item.next !== undefined;
	}

	number(q) {
		this.key = q;
		this.text = `{"t":"query","q":${q}${this.asked}}`;
	}
}

/** The worker takes calls out of here. One per process, so that commands need no worker to name. */
class Outbox {
	wake = undefined; // the worker's: something waits
	#waiting = [];
	#bytes = 0; // of pushes, until they are answered

	get waiting() {
		return this.#waiting.length > 0;
	}

	submit(call) {
		if (call.size > 0 && this.#bytes > 0 && this.#bytes + call.size > LIMIT)
			throw new TovaError(`${this.#bytes} bytes of pushes wait for the host already: wait for the answers of earlier ones`);
		this.#bytes += call.size;
		this.#waiting.push(call);
		this.wake?.();
		return call.answer;
	}

	take() {
		const calls = this.#waiting;
		if (calls.length > 0) this.#waiting = [];
		return calls;
	}

	answered(call) {
		this.#bytes -= call.size;
	}
}

export const outbox = new Outbox();
