/** A server for real browsers: fake_host.mjs behind real sockets, with a page that uses ../tova.js.
 *
 *     node serve.mjs            prints {"port":N} and serves until its standard input ends
 *
 * GET / is the page (page.html). WebSockets: / and /chat speak tova.v1, /plain no subprotocol at all, /any agrees to whatever comes first; all
 * of them send back what they get, but for what a message says that begins with "!". POST /do steers: a JSON object, see ORDERS. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { FakeHost } from "./fake_host.mjs";

const here = (name) => readFileSync(new URL(name, import.meta.url));
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455 1.3
const TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;

// --- frames

function frame(opcode, payload) {
	const { length } = payload, head = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10);
	head[0] = 0x80 | opcode;
	head[1] = length < 126 ? length : length < 65536 ? 126 : 127;
	if (head[1] === 126)
		head.writeUInt16BE(length, 2);
	else if (head[1] === 127)
		head.writeBigUInt64BE(BigInt(length), 2);
	return Buffer.concat([head, payload]);
}

/** Takes one frame from the front: { fin, opcode, payload, rest }, or null if it is not whole yet. */
function unframe(bytes) {
	if (bytes.length < 2)
		return null;
	let at = 2, length = bytes[1] & 127;
	if (length > 125) {
		at = length === 126 ? 4 : 10;
		if (bytes.length < at)
			return null;
		length = length === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
	}
	if (bytes.length < at + 4 + length)
		return null;
	const mask = bytes.subarray(at, at + 4), payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length));
	for (let i = 0; i < length; i++)
		payload[i] ^= mask[i & 3];
	return { fin: bytes[0] & 0x80, opcode: bytes[0] & 15, payload, rest: bytes.subarray(at + 4 + length) };
}

/** One WebSocket: give(opcode, payload) is called for each message and close frame, gone() once when its socket has ended. */
class Peer {
	bytes = Buffer.alloc(0);
	parts = [];
	silent = false;

	constructor(socket) {
		this.socket = socket;
		socket.setNoDelay(true);
		socket.on("data", (data) => this.read(data));
		socket.on("error", () => {});
		socket.on("close", () => this.gone());
	}

	read(data) {
		this.bytes = Buffer.concat([this.bytes, data]);
		for (let got; !this.silent && (got = unframe(this.bytes)) !== null; ) {
			this.bytes = got.rest;
			if (got.opcode === PING)
				this.write(frame(PONG, got.payload));
			else if (got.opcode === CLOSE)
				this.give(CLOSE, got.payload);
			else if (got.opcode !== PONG) {
				this.parts.push(got);
				if (got.fin)
					this.give(this.parts[0].opcode, Buffer.concat(this.parts.splice(0).map(({ payload }) => payload)));
			}
		}
	}

	write(bytes) {
		if (!this.silent)
			this.socket.write(bytes);
	}

	send(data) {
		this.write(typeof data === "string" ? frame(TEXT, Buffer.from(data)) : frame(BINARY, Buffer.from(data)));
	}

	close(code, reason = "") {
		this.echo(Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));
	}

	/** A close frame that says this, and the end. */
	echo(payload) {
		this.write(frame(CLOSE, payload));
		if (!this.silent)
			this.socket.end();
	}
}

// --- what the paths do

const peers = new Set();
let count = 0; // upgrades so far
let listening = true;
let page = here("page.html");
let host;

function begin(options) {
	host = new FakeHost({
		message: async (session, data) => {
			if (data === "!fail")
				throw new Error(data);
			if (data === "!hang")
				await new Promise(() => {});
			(session.texts ??= []).push(typeof data === "string" ? data : [...new Uint8Array(data)]);
			session.send(data);
		},
		close: (session, code) => (session.code = code),
	}, options);
}

const PATHS = {
	"/": (...how) => PATHS["/chat"](...how),
	"/chat": (peer, offered) => {
		if (offered.includes("tova.v1"))
			return ["tova.v1", () => host.connect(offered, peer)];
		return PATHS["/plain"](peer, offered);
	},
	"/plain": (peer) => [null, () => ({ receive: (data) => peer.send(data), ended() {} })],
	"/any": (peer, offered) => [offered[0], () => ({ receive: (data) => peer.send(data), ended() {} })],
};

const ORDERS = {
	begin: (options) => begin(options), // a new host, with these options
	listen: (on) => (listening = on), // or not: connections are reset
	cut: () => [...peers].map(({ socket }) => socket.resetAndDestroy()),
	silence: () => [...peers].map((peer) => (peer.silent = true)), // nothing is read or sent any more, and nobody is told
	say: (data) => host.all.filter(({ over }) => !over).map((session) => session.send(data)),
	close: (code) => host.all.filter(({ over }) => !over).map((session) => session.close(code)),
	restart: () => host.restart(),
	set: (members) => Object.assign(host, members),
	page: (html) => (page = html), // another one
};

function state() {
	const sessions = host.all.map(({ id, token, over, code, conn, received, texts }) => ({
		id, token, over, code, received, texts: texts ?? [], away: !over && conn === null }));
	return { sessions, upgrades: count, renewed: host.renewed };
}

const server = createServer(async (request, response) => {
	if (request.method === "POST") {
		let text = "";
		for await (const part of request)
			text += part;
		for (const [order, value] of Object.entries(JSON.parse(text)))
			ORDERS[order](value);
		response.end(JSON.stringify(state()));
	} else if (request.url === "/.tova/tova.js")
		response.writeHead(200, { "Content-Type": "text/javascript" }).end(here("../tova.js"));
	else
		response.writeHead(200, { "Content-Type": "text/html" }).end(page);
});

server.on("upgrade", (request, socket) => {
	count++;
	const path = PATHS[request.url];
	if (!listening || path === undefined)
		return socket.resetAndDestroy();
	const peer = new Peer(socket), offered = (request.headers["sec-websocket-protocol"] ?? "").split(/ *, */).filter(Boolean);
	const [protocol, connect] = path(peer, offered);
	const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + GUID).digest("base64");
	const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Accept: ${accept}`];
	if (protocol)
		lines.push(`Sec-WebSocket-Protocol: ${protocol}`);
	socket.write(`${lines.join("\r\n")}\r\n\r\n`);
	peers.add(peer);
	const conn = connect();
	peer.give = (opcode, payload) => {
		if (opcode !== CLOSE)
			return conn.receive(opcode === TEXT ? payload.toString() : new Uint8Array(payload).buffer);
		conn.ended(payload.length < 2 ? 1005 : payload.readUInt16BE(0));
		peer.echo(payload);
	};
	peer.gone = () => {
		peers.delete(peer);
		conn.ended(1006);
	};
});

begin({});
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.resume().on("end", () => process.exit(0));
