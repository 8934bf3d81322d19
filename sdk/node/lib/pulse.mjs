/** Tells the host that this process lives while a handler keeps its event loop busy: from a thread of its own, which writes past the socket. */
import { Worker } from "node:worker_threads";

const BEAT = 2000; // ms, in which the loop shows that it turns
const FREE = 0, OURS = 1, CLOSED = 3; // who may write: nobody does, this thread, nobody ever again; 2 is the other's

const CODE = `
const { workerData: { fd, shared, pong, period } } = require("node:worker_threads");
const { writeSync } = require("node:fs");
const words = new Int32Array(shared); // the lock, the beats of the loop
let seen = -1;
setInterval(() => {
	const beats = Atomics.load(words, 1);
	if (beats !== seen) { seen = beats; return; }
	if (Atomics.compareExchange(words, 0, 0, 2) !== 0) return; // half a message may wait, or all is over
	for (let at = 0, tries = 0; at < pong.length && tries < 500; tries++) {
		try {
			at += writeSync(fd, pong, at);
		} catch {
			if (at === 0) break; // the host does not read, or is gone
			Atomics.wait(words, 1, beats, 10); // nothing may follow half a message
		}
	}
	Atomics.compareExchange(words, 0, 2, 0);
	Atomics.notify(words, 0);
}, period);
`;

export class Pulse {
	#words = new Int32Array(new SharedArrayBuffer(8));
	#beats;
	#thread;

	/** fd: of the socket, which must not be closed before close(). pong: a whole message. */
	constructor(fd, pong) {
		this.#beats = setInterval(() => Atomics.add(this.#words, 1, 1), BEAT).unref();
		this.#thread = new Worker(CODE, { eval: true, workerData: { fd, shared: this.#words.buffer, pong, period: 1.25 * BEAT }, execArgv: [], env: {} });
		this.#thread.unref();
		this.#thread.on("error", () => {}); // the loop answers pings itself, when it turns
	}

	/** From here on only this thread writes, until free(). Taken already: nothing changes. */
	take() {
		for (;;) {
			const was = Atomics.compareExchange(this.#words, 0, FREE, OURS);
			if (was !== 2) return;
			Atomics.wait(this.#words, 0, 2, 100); // the other is done in no time
		}
	}

	/** All that was written has left. */
	free() {
		Atomics.compareExchange(this.#words, 0, OURS, FREE);
	}

	close() {
		this.take();
		Atomics.store(this.#words, 0, CLOSED);
		clearInterval(this.#beats);
		this.#thread.terminate();
	}
}
