/** One connection to the host: batches in, batches out. */
import { randomBytes } from "node:crypto";
import net from "node:net";
import tls from "node:tls";
import { decode, encode } from "./codec.mjs";
import { HANDSHAKE, Reader } from "./frame.mjs";
import { Pulse } from "./pulse.mjs";

const BATCH_SIZE = 2 ** 19; // characters and bytes: a batch of answers leaves when it has grown to this
const DIALLING = 10_000; // ms for a connection to come about and be welcomed

export class Link {
	id = ""; // the host's name for this connection, from its welcome
	source = randomBytes(12).toString("hex"); // pushes are numbered under this name
	pushes = 0;
	refusal = undefined; // the host's reason not to welcome us
	error = undefined; // why it ended, if anybody knows
	#worker;
	#ipc;
	#socket;
	#reader;
	#patience;
	#objects = []; // of the next batch
	#binaries = [];
	#size = 0;
	#pulse; // of a socket that is no TLS one
	#wrote; // called when a message has left

	/** Dials; throws for a URL that is none. closed is settled when it is over, however far it came. */
	constructor(worker, url, tlsOptions) {
		this.#worker = worker;
		const target = parse(url);
		this.#ipc = target.path !== undefined;
		this.#reader = new Reader(this.#ipc);
		this.#socket = target.tls
			? tls.connect({ minVersion: "TLSv1.2", servername: net.isIP(target.host) ? "" : target.host, ...tlsOptions, ...target.address })
			: net.connect(target.address);
		if (!this.#ipc) this.#socket.setNoDelay(true);
		this.#patience = setTimeout(() => this.abort("no answer"), DIALLING);
		this.closed = new Promise((resolve) => this.#socket.once("close", resolve)).then(() => {
			clearTimeout(this.#patience);
			worker.unlinked(this);
		});
		this.#socket.once(target.tls ? "secureConnect" : "connect", () => this.#socket.write(HANDSHAKE));
		this.#socket.on("error", (error) => (this.error ??= error.message || error.code));
		const destroy = this.#socket._destroy;
		this.#socket._destroy = (error, done) => {
			this.#pulse?.close(); // before the descriptor is another's
			destroy.call(this.#socket, error, done);
		};
		this.#socket.on("data", (data) => this.#read(data));
	}

	#read(data) {
		const ready = this.#reader.ready;
		try {
			const messages = this.#reader.feed(data);
			if (!ready && this.#reader.ready) this.#worker.linked(this);
			for (const body of messages) this.#worker.batch(this, decode(body));
		} catch (error) {
			this.abort(error.message);
		}
		this.flush();
	}

	welcomed(id) {
		this.id = id;
		clearTimeout(this.#patience);
		const fd = this.#socket._handle?.fd;
		if (this.#socket.encrypted || !(fd >= 0)) return;
		this.#pulse = new Pulse(fd, encode(id, ['{"t":"pong"}'], [], this.#ipc));
		this.#wrote = () => this.#socket.writableLength === 0 && this.#pulse.free();
	}

	/** Adds an object, which begins with {" , to the next batch. */
	put(text, binaries) {
		this.#objects.push(text);
		this.#size += text.length;
		if (binaries !== undefined)
			for (const binary of binaries) {
				this.#binaries.push(binary);
				this.#size += binary.length;
			}
		if (this.#size >= BATCH_SIZE) this.flush();
	}

	flush() {
		if (this.#objects.length === 0) return;
		const message = encode(this.id, this.#objects, this.#binaries, this.#ipc);
		this.#objects = [];
		this.#binaries = [];
		this.#size = 0;
		if (!this.#socket.writable) return;
		this.#pulse?.take();
		this.#socket.write(message, this.#wrote);
		if (this.#socket.writableLength === 0) this.#pulse?.free(); // most leave at once
	}

	/** Everything is said; the host closes when it has read it. */
	close() {
		this.flush();
		this.#socket.end();
	}

	abort(why) {
		this.error ??= why;
		this.#socket.destroy();
	}
}

function parse(url) {
	if (url.startsWith("ipc://")) return { path: url.slice(6), address: { path: url.slice(6) } };
	const [, secure, host, port] = /^(tls\+)?tcp:\/\/(\[[^\]]+\]|[^:/[\]]+):(\d{1,5})\/?$/.exec(url) ?? [];
	if (host === undefined || Number(port) > 65535)
		throw new TypeError(`"${url}" is no URL of a host: ipc:///path, tcp://address:port or tls+tcp://name:port`);
	const name = host.replace(/^\[|\]$/g, "");
	return { tls: secure !== undefined, host: name, address: { host: name, port: Number(port) } };
}
