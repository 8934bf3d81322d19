/** The host's side of the protocol, in the hands of a test. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PATIENCE = Number(process.env.TOVA_PATIENCE ?? 30) * 1000;
export const HANDSHAKE = Buffer.from("\0SP\0\0\x10\0\0", "latin1");
export const SDK = new URL("../index.mjs", import.meta.url).href;

export function patient(promise, what) {
	let timer;
	const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`in vain: ${what}`)), PATIENCE)));
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Bytes of a batch; Buffers as bin and state_bin go behind it. */
export function batch(...objects) {
	const binaries = [];
	const plain = objects.map((object) => {
		const item = { ...object };
		for (const member of ["state_bin", "bin"])
			if (Buffer.isBuffer(item[member])) {
				binaries.push(item[member]);
				item[member] = item[member].length;
			}
		return item;
	});
	const text = Buffer.from(JSON.stringify(plain));
	return binaries.length > 0 ? Buffer.concat([text, Buffer.from("\n"), ...binaries]) : text;
}

function unbatch(body) {
	const lf = body.indexOf(10);
	let binary = lf < 0 ? Buffer.alloc(0) : body.subarray(lf + 1);
	const objects = JSON.parse(body.toString("utf8", 0, lf < 0 ? body.length : lf));
	const fill = (item) => {
		for (const member of ["state_bin", "bin"])
			if (item[member] !== undefined) {
				const n = item[member];
				assert.ok(binary.length >= n);
				item[member] = Buffer.from(binary.subarray(0, n));
				binary = binary.subarray(n);
			}
		for (const answer of ["accept", "refuse"]) if (item[answer]) fill(item[answer]);
		for (const command of item.commands ?? []) fill(command);
	};
	for (const item of objects) fill(item);
	assert.equal(binary.length, 0);
	return objects;
}

/** One accepted connection. */
class Peer {
	#data = Buffer.alloc(0);
	#ended = false;
	#changed = () => {};
	#pending = [];
	link;

	constructor(socket, ipc) {
		this.socket = socket;
		this.ipc = ipc;
		socket.on("data", (data) => {
			this.#data = Buffer.concat([this.#data, data]);
			this.#changed();
		});
		const ended = () => {
			this.#ended = true;
			this.#changed();
		};
		socket.on("end", ended).on("close", ended).on("error", ended);
	}

	frame(body) {
		const head = Buffer.alloc(8);
		head.writeBigUInt64BE(BigInt(body.length));
		return Buffer.concat([this.ipc ? Buffer.from([1]) : Buffer.alloc(0), head, body]);
	}

	send(...objects) {
		this.socket.write(this.frame(batch(...objects)));
	}

	async sendCut(step, ...objects) {
		const data = this.frame(batch(...objects));
		for (let at = 0; at < data.length; at += step) {
			this.socket.write(data.subarray(at, at + step));
			await new Promise(setImmediate);
		}
	}

	async read(n) {
		while (this.#data.length < n) {
			if (this.#ended) throw new Error("EOF");
			await patient(new Promise((resolve) => (this.#changed = resolve)), `${n} bytes`);
		}
		const data = this.#data.subarray(0, n);
		this.#data = this.#data.subarray(n);
		return data;
	}

	/** The next batch, its link checked and taken out. */
	async receive() {
		const head = await this.read(this.ipc ? 9 : 8);
		if (this.ipc) assert.equal(head[0], 1);
		const objects = unbatch(await this.read(Number(head.readBigUInt64BE(head.length - 8))));
		if (this.link !== undefined) {
			assert.equal(objects[0].link, this.link);
			delete objects[0].link;
		}
		assert.ok(objects.every((item) => item.link === undefined));
		return objects;
	}

	async next() {
		if (this.#pending.length === 0) this.#pending = await this.receive();
		return this.#pending.shift();
	}

	async expect(expected) {
		assert.deepEqual(await this.next(), expected);
	}

	/** Takes hello, gives welcome; returns hello. */
	async welcome(link = "L1", more = {}) {
		this.socket.write(HANDSHAKE);
		assert.deepEqual(await this.read(8), HANDSHAKE);
		const hello = await this.next();
		assert.equal(hello.t, "hello");
		this.link = link;
		this.send({ t: "welcome", v: 1, link, mount: "/chat", host: "0.1.0", window: 256, batch: 1048576, ...more });
		return hello;
	}

	async expectEnd() {
		await assert.rejects(this.read(1), /EOF/);
	}

	close() {
		this.socket.destroy();
	}
}

/** A worker's process. */
class Child {
	constructor(process) {
		this.process = process;
		this.out = "";
		this.err = "";
		this.ended = false;
		this.changed = () => {};
		process.stdout.setEncoding("utf8").on("data", (text) => {
			this.out += text;
			this.changed();
		});
		process.stderr.setEncoding("utf8").on("data", (text) => {
			this.err += text;
			this.changed();
		});
		this.closed = once(process, "close").then(([code]) => {
			this.ended = true;
			this.changed();
			return code;
		});
	}

	/** Waits until it has printed this. */
	async printed(text, where = "err") {
		while (!this[where].includes(text)) {
			assert.ok(!this.ended, `it ended without "${text}": ${this.err}`);
			await patient(new Promise((resolve) => (this.changed = resolve)), `"${text}" in ${this[where]}`);
		}
	}

	finish() {
		return patient(this.closed, "the end of the worker");
	}
}

export class FakeHost {
	#server;
	#accepted = [];
	#waiting = [];
	#children = [];
	#folder = mkdtempSync(join(tmpdir(), "tova-sdk-"));
	#address;

	constructor(ipc) {
		this.ipc = ipc;
		this.#address = ipc ? { path: join(this.#folder, "workers") } : { host: "127.0.0.1", port: 0 };
	}

	async listen() {
		this.#server = net.createServer({ allowHalfOpen: true }, (socket) => {
			const peer = new Peer(socket, this.ipc);
			this.#accepted.push(peer);
			if (this.#waiting.length > 0) this.#waiting.shift()(peer);
		});
		this.#server.listen(this.#address);
		await once(this.#server, "listening");
		if (!this.ipc) this.#address.port = this.#server.address().port;
		this.url = this.ipc ? `ipc://${this.#address.path}` : `tcp://127.0.0.1:${this.#address.port}`;
	}

	async stopListening() {
		this.#server.close();
		for (const peer of this.#accepted.splice(0)) peer.close();
		await once(this.#server, "close");
	}

	/** The next connection: call it before something dials. */
	accept() {
		return patient(new Promise((resolve) => this.#waiting.push(resolve)), "a worker that dials");
	}

	/** A process that runs this code, after an import of the whole SDK, as a worker. */
	start(code, { supervised = true, env = {} } = {}) {
		const names = "* as tova";
		const text = `import ${names} from "${SDK}"; const { ${EXPORTS} } = tova;\n${code}`;
		const environment = { ...process.env, TOVA_URL: this.url, TOVA_TOKEN: "secret", TOVA_MOUNT: "/chat", ...env };
		delete environment.TOVA_SUPERVISED;
		if (supervised) environment.TOVA_SUPERVISED = "1";
		const child = new Child(spawn(process.execPath, ["--input-type=module", "-e", text], { env: environment, stdio: ["ignore", "pipe", "pipe"] }));
		this.#children.push(child);
		return child;
	}

	/** Starts a worker and welcomes it. */
	async serve(code, how) {
		const accepted = this.accept();
		const worker = this.start(code, how);
		const died = worker.closed.then(() => Promise.reject(new Error(`the worker has ended: ${worker.err}`)));
		died.catch(() => {});
		const peer = await Promise.race([accepted, died]);
		peer.hello = await Promise.race([peer.welcome(), died]);
		return [worker, peer];
	}

	async end() {
		for (const child of this.#children) {
			child.process.kill("SIGKILL");
			await child.closed;
		}
		for (const peer of this.#accepted) peer.close();
		this.#server.close();
		rmSync(this.#folder, { recursive: true });
	}
}

const EXPORTS = `serve, send, join, leave, broadcast, broadcast_to, broadcastTo, close, push, Retry, TovaError, Connection, accept, refuse,
	set_timer, setTimer, cancel_timer, set_state, members, count, rooms, connections, stats, current_event, currentEvent`;
