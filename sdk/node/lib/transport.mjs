/** How pushes of a client without handlers travel: over HTTP, or over nng's wire protocol.
 *
 * What is thrown says whether the host can have done what it was given. */
import { randomBytes } from "node:crypto";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import tls from "node:tls";
import { decode, encode, quote } from "./codec.mjs";
import { HANDSHAKE, Reader } from "./frame.mjs";

const ANSWER_MAX = 2 ** 20; // bytes: what a host answers to a push is short
const SCHEMES = "http://, https://, unix:/path, http+unix://, ipc:///path, tcp:// or tls+tcp://";
const LF = Buffer.from("\n");

/** It can not have reached the host. final: trying again is of no use. */
export class NotDone extends Error {
	constructor(why, final = false) {
		super(why);
		this.final = final;
	}
}
/** It may have reached the host, whose answer did not come. */
export class Lost extends Error {}
/** What the host said. */
export class Refusal extends Error {
	constructor(text, status, index) {
		super(text);
		this.status = status ?? null;
		this.index = index ?? null;
	}
}
/** The host was started again since, and can not know what the one before it has done. */
export class AnotherRun extends Error {}

/** What is to be committed, with what makes it known when it is repeated. */
export class Call {
	run = undefined; // of the host that was given it
	sent = undefined; // over nng: its source and number

	constructor(scope, key, mount, expires) {
		this.key = key;
		this.commands = scope.commands.join(",");
		this.binaries = scope.binaries;
		this.members = (mount === undefined ? "" : `"mount":${quote(mount)},`) + (expires === undefined ? "" : `"expires":${expires},`);
		this.size = Buffer.byteLength(this.commands) + this.binaries.reduce((sum, binary) => sum + binary.length, 0);
	}
}

const why = (error) => error.message || error.code || String(error);
const isCertificate = (error) => /CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/.test(error.code ?? "");

/** A promise that is given up after so many milliseconds: cancel is called then. */
function within(deadline, cancel, promise) {
	const timer = setTimeout(() => cancel(new Error("it did not answer in time")), Math.max(1, deadline - performance.now()));
	return promise.finally(() => clearTimeout(timer));
}

/** Where a host is, and how it is spoken to. */
export class Address {
	run = undefined; // of the host, once it is known (HTTP)
	#agent;
	#idle = []; // transports (nng)

	constructor(url, { token, mount, name, tls: tlsOptions, connections }) {
		Object.assign(this, { url, token, mount, name, connections, base: "" });
		const [, scheme, rest] = /^([a-z+]+):(.*)$/is.exec(url) ?? [];
		this.scheme = scheme?.toLowerCase();
		if (this.scheme === "ipc" || this.scheme === "unix") this.path = rest.startsWith("//") ? rest.slice(2) : rest;
		else if (this.scheme === "http+unix") {
			const [, place, base] = /^\/\/([^/]*)\/?(.*)$/s.exec(rest) ?? [, "", ""];
			this.path = decodeURIComponent(place);
			this.base = base;
		} else if (["http", "https", "tcp", "tls+tcp"].includes(this.scheme)) this.#split(rest);
		else throw new TypeError(`"${url}" is no URL of a host; expected ${SCHEMES}`);
		if (this.path !== undefined && !this.path.startsWith("/"))
			throw new TypeError(`"${url}" names no socket; expected the whole path of one, as in unix:/run/tova/api.sock`);
		this.base = this.base.replace(/^\/+|\/+$/g, "");
		this.base = this.base === "" ? "" : `/${this.base}`;
		this.sp = ["ipc", "tcp", "tls+tcp"].includes(this.scheme);
		this.secure = this.scheme === "https" || this.scheme === "tls+tcp";
		this.tls = { minVersion: "TLSv1.2", ...tlsOptions };
	}

	#split(rest) {
		const [, host, port, base] = /^\/\/(\[[^\]]+\]|[^:/?#@[\]]+)(?::(\d{1,5}))?(\/[^?#]*)?$/.exec(rest) ?? [];
		const web = this.scheme.startsWith("http");
		if (host === undefined || Number(port) > 65535 || (port === undefined && !web))
			throw new TypeError(`"${this.url}" lacks an address or a port, or has more than those and a path; the token is an option of its own`);
		this.host = host.replace(/^\[|\]$/g, "");
		this.port = Number(port ?? (this.scheme === "http" ? 80 : 443));
		this.base = base ?? "";
	}

	/** How many were reached. Throws NotDone, Lost, Refusal or AnotherRun. */
	commit(call, again, deadline) {
		return this.sp ? this.#commitSp(call, again, deadline) : this.#commitHttp(call, again, deadline);
	}

	close() {
		this.#agent?.destroy();
		for (const transport of this.#idle.splice(0)) transport.close();
	}

	// --- HTTP

	async #commitHttp(call, again, deadline) {
		this.run ??= (await this.#exchange("GET", "/healthz", undefined, {}, deadline).catch((error) => {
			throw new NotDone(why(error), error.final);
		})).run ?? "";
		const headers = { "Content-Type": "application/json", "Idempotency-Key": call.key };
		if (this.token !== undefined) headers.Authorization = `Bearer ${this.token}`;
		if (again) headers["Tova-Instance"] = call.run;
		else call.run = this.run;
		const text = Buffer.from(`{${call.members}"commands":[${call.commands}]}`);
		const body = call.binaries.length > 0 ? Buffer.concat([text, LF, ...call.binaries]) : text;
		const { status, said, run } = await this.#exchange("POST", "/api/v1/commands", body, headers, deadline);
		if (run) this.run = run;
		if (status === 200 && Number.isInteger(said.receivers)) return said.receivers;
		const error = said.error ?? `the host answered ${status}`;
		if (status === 412 && again) throw new AnotherRun(error);
		if (status === 503 && run) throw new NotDone(error); // it says so itself, and keeps no answer under the key
		if (status >= 500) throw new Lost(error); // of somebody between us
		throw new Refusal(error, status, said.index);
	}

	#exchange(method, path, body, headers, deadline) {
		const web = this.scheme === "https" ? https : http;
		this.#agent ??= new web.Agent({ keepAlive: true, maxSockets: this.connections });
		const target = this.path === undefined ? { host: this.host, port: this.port } : { socketPath: this.path, host: "localhost" };
		let request, sent = false;
		const answered = new Promise((resolve, reject) => {
			request = web.request({
				method, path: this.base + path, agent: this.#agent, ...target, ...(this.secure ? this.tls : {}),
				headers: body === undefined ? headers : { ...headers, "Content-Length": body.length },
			});
			request.on("socket", (socket) => {
				const begin = () => (sent = true);
				if (socket.connecting || (this.secure && !socket.authorized && socket.secureConnecting)) socket.once(this.secure ? "secureConnect" : "connect", begin);
				else begin();
			});
			request.on("error", (error) => reject(sent ? new Lost(why(error)) : new NotDone(why(error), isCertificate(error))));
			request.on("response", (response) => {
				const parts = [];
				let size = 0;
				response.on("data", (part) => (size += part.length) > ANSWER_MAX ? request.destroy(new Error("its answer is too long")) : parts.push(part));
				response.on("error", (error) => reject(new Lost(why(error))));
				response.on("aborted", () => reject(new Lost("its answer was cut off")));
				response.on("end", () => {
					let said;
					try {
						said = JSON.parse(Buffer.concat(parts).toString());
					} catch {
						said = { error: `the host answered ${response.statusCode} ${response.statusMessage}` };
					}
					resolve({ status: response.statusCode, said: said ?? {}, run: response.headers["tova-instance"] });
				});
			});
			request.end(body);
		});
		return within(deadline, (error) => request.destroy(error), answered);
	}

	// --- nng

	async #commitSp(call, again, deadline) {
		let transport = again ? undefined : this.#idle.pop();
		while (transport?.ended) transport = this.#idle.pop();
		transport ??= await SpTransport.open(this, deadline);
		try {
			const reached = await transport.commit(call, again, deadline);
			this.#keep(transport);
			return reached;
		} catch (error) {
			if (error instanceof Refusal) this.#keep(transport);
			else transport.close();
			throw error;
		}
	}

	#keep(transport) {
		if (this.#idle.length < this.connections) this.#idle.push(transport);
		else transport.close();
		transport.rest();
	}

	dial() {
		if (this.path !== undefined) return net.connect({ path: this.path });
		const target = { host: this.host, port: this.port, noDelay: true, keepAlive: true };
		return this.secure ? tls.connect({ servername: net.isIP(this.host) ? "" : this.host, ...this.tls, ...target }) : net.connect(target);
	}
}

/** An attached pusher. Its source begins with a push of nothing, so that all that matters have numbers above 1: a host that was started
 * again knows that it does not know them. */
class SpTransport {
	source = randomBytes(12).toString("hex");
	n = 1;
	ended = undefined; // why
	#link;
	#address;
	#socket;
	#messages = [];
	#wanted; // who waits for the next

	static async open(address, deadline) {
		const transport = new SpTransport();
		try {
			await within(deadline, (error) => transport.#end(error), transport.#open(address));
		} catch (error) {
			transport.close();
			throw error instanceof Refusal ? error : new NotDone(why(error), isCertificate(error));
		}
		return transport;
	}

	async #open(address) {
		this.#address = address;
		const reader = new Reader(this.#ipc);
		this.#socket = address.dial();
		this.#socket.on("error", (error) => this.#end(error));
		this.#socket.on("close", () => this.#end(new Error("the host has closed the connection")));
		this.#socket.on("data", (data) => {
			try {
				for (const body of reader.feed(data)) this.#messages.push(...decode(body));
			} catch (error) {
				this.#end(error);
			}
			this.#wanted?.resolve();
		});
		this.#socket.once(address.secure ? "secureConnect" : "connect", () => this.#socket.write(HANDSHAKE));
		const hello = JSON.stringify({ t: "hello", v: 1, token: address.token ?? "", events: [], name: address.name, mount: address.mount });
		const where = address.mount === undefined ? "" : `"mount":${quote(address.mount)},`;
		const begin = `{"t":"push","source":"${this.source}","n":1,${where}"commands":[]}`;
		await new Promise((resolve, reject) => {
			this.#wanted = { resolve, reject };
			if (this.ended) reject(this.ended);
			this.#socket.once(address.secure ? "secureConnect" : "connect", resolve);
		});
		this.#socket.write(encode("", [hello, begin], [], this.#ipc));
		const welcome = await this.#next();
		if (welcome.t === "bye") throw new Refusal(welcome.error ?? "the host has no use for this client");
		if (welcome.t !== "welcome") throw new Error("no welcome came");
		this.#link = welcome.link;
		const begun = await this.#next();
		if (begun.error !== undefined) throw new Refusal(begun.error);
	}

	get #ipc() {
		return this.#address.scheme === "ipc";
	}

	async commit(call, again, deadline) {
		if (again) ({ source: this.source, n: this.n } = call.sent);
		else call.sent = { source: this.source, n: ++this.n };
		const push = `{"t":"push","source":"${this.source}","n":${this.n},${call.members}"commands":[${call.commands}]}`;
		this.#socket.ref();
		try {
			if (this.ended) throw this.ended;
			this.#socket.write(encode(this.#link, [push], call.binaries, this.#ipc));
			return this.#done(await within(deadline, (error) => this.#end(error), this.#answer()), again);
		} catch (error) {
			if (error instanceof Refusal || error instanceof AnotherRun) throw error;
			throw new Lost(why(error));
		}
	}

	async #answer() {
		for (;;) {
			const said = await this.#next();
			if (said.t === "bye") throw new Error(said.error ?? "the host said goodbye");
			if (said.t === "done" && said.source === this.source && said.n === this.n) return said;
		}
	}

	#done(said, again) {
		if (said.unknown && again) throw new AnotherRun("the host was started again");
		if (said.error !== undefined) throw new Refusal(said.error, null, said.index);
		if (said.receivers === undefined) throw new Refusal("this host does not tell how many were reached: it is older than this library");
		return said.receivers;
	}

	async #next() {
		while (this.#messages.length === 0) {
			if (this.ended) throw this.ended;
			await new Promise((resolve, reject) => (this.#wanted = { resolve, reject }));
		}
		return this.#messages.shift();
	}

	#end(error) {
		this.ended ??= error;
		this.#wanted?.reject(this.ended);
		this.#socket?.destroy();
	}

	/** Nobody waits for it: it does not keep the process. */
	rest() {
		if (this.#messages.length > 0) this.#end(new Error("the host said something unasked"));
		this.#wanted = undefined;
		this.#socket.unref();
	}

	close() {
		this.#wanted = undefined;
		this.#socket?.destroy();
	}
}
