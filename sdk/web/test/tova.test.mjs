/** tova.js in a world played by the test, against a host that speaks tova.v1. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { afterEach, describe, test } from "node:test";
import { TovaSocket } from "../tova.js";
import { World } from "./fake_world.mjs";

const TYPES = ["open", "message", "close", "error", "away", "resume", "lost", "failed", "history"];

let world;
afterEach(() => world.leave());

function begin(handler, options) {
	world = new World(handler, options);
	world.enter();
	return world;
}

test("it is one module of at most 4 KB", () => {
	begin();
	const text = readFileSync(new URL("../tova.js", import.meta.url));
	const { length } = gzipSync(text, { level: 9 });
	assert.ok(length <= 4096, `${length} bytes, gzipped`);
	assert.doesNotMatch(text.toString(), /\bimport\b|\brequire\b/);
});

/** A socket and all that happens to it, in order. */
function connect(options, protocols = []) {
	const socket = new TovaSocket("ws://fake/chat", protocols, options);
	const seen = [];
	for (const type of TYPES)
		socket.addEventListener(type, (event) => seen.push(event));
	socket.seen = () => seen.map(({ type }) => type);
	socket.heard = () => seen.filter(({ type }) => type === "message").map(({ data }) => data);
	socket.all = (wanted) => seen.filter(({ type }) => type === wanted);
	socket.last = (type) => seen.filter((event) => event.type === type).at(-1);
	return socket;
}

/** A handler that answers each message, and remembers what happened to it. */
function echo() {
	const calls = [];
	return {
		calls,
		open: (session) => calls.push(`open ${session.id}`),
		message: (session, data) => {
			calls.push(data);
			session.send(typeof data === "string" ? `re: ${data}` : data);
		},
		close: (session, code) => calls.push(`close ${session.id} ${code}`),
	};
}

async function opened(options, protocols, handler = echo(), host_options) {
	begin(handler, host_options);
	const socket = connect(options, protocols);
	await world.pass(10);
	assert.equal(socket.readyState, 1);
	return [socket, handler];
}

/** What a client has told the host, apart from messages. */
const controls = (link) => link.sent.filter((data) => /^\x01[^\x01]/.test(data)).map((text) => JSON.parse(text.slice(1)));
/** What a promise is rejected with, within so many ms. */
async function rejected(promise, ms = 0) {
	let error;
	promise.catch((why) => (error = why));
	await world.pass(ms);
	assert.ok(error, "it was not rejected");
	return error;
}

describe("a WebSocket", () => {
	test("its members", async () => {
		begin(echo());
		world.host.protocol = "chat.v1";
		const socket = connect({}, ["chat.v1", "chat.v0"]);
		assert.deepEqual(world.link.ws.offered, ["tova.v1", "chat.v1", "chat.v0"]);
		assert.deepEqual([socket.readyState, socket.url, socket.protocol, socket.extensions, socket.bufferedAmount, socket.binaryType],
			[0, "ws://fake/chat", "", "", 0, "blob"]);
		assert.throws(() => socket.send("too early"), { name: "InvalidStateError" });
		await world.pass(10);
		assert.deepEqual([socket.readyState, socket.protocol], [1, "chat.v1"]);
		for (const where of [TovaSocket, socket])
			assert.deepEqual([where.CONNECTING, where.OPEN, where.CLOSING, where.CLOSED], [0, 1, 2, 3]);
		assert.ok(socket instanceof EventTarget);
		socket.close(3000, "enough");
		assert.equal(socket.readyState, 2);
		socket.send("nobody hears it");
		await world.pass(10);
		assert.equal(socket.readyState, 3);
		assert.deepEqual(socket.seen(), ["open", "close"]);
		const { code, reason, wasClean } = socket.last("close");
		assert.deepEqual([code, reason, wasClean], [3000, "enough", true]);
		assert.deepEqual(world.host.handler.calls, ["open 1", "close 1 3000"]);
		await world.pass(1e6);
		assert.equal(world.links.length, 1, "it stays closed");
	});

	test("handlers as properties", async () => {
		begin(echo());
		const socket = connect();
		const calls = [];
		assert.equal(socket.onopen, null);
		socket.onopen = function (event) { calls.push([this === socket, event.type]); };
		socket.onmessage = () => calls.push("first");
		socket.onmessage = ({ data }) => calls.push(data);
		await world.pass(10);
		socket.send("a");
		await world.pass(10);
		socket.onmessage = null;
		socket.send("b");
		await world.pass(10);
		assert.deepEqual(calls, [[true, "open"], "re: a"]);
	});

	test("a URL may be relative to the page, and http", () => {
		begin(echo());
		world.server = "mute";
		globalThis.location = { href: "https://example.com/page/index.html" };
		try {
			assert.equal(new TovaSocket("/chat").url, "wss://example.com/chat");
			assert.equal(new TovaSocket("http://here/x?a=http").url, "ws://here/x?a=http");
			assert.deepEqual(world.link.ws.offered, ["tova.v1"]);
		} finally {
			delete globalThis.location;
		}
		assert.throws(() => new TovaSocket("/chat"), /URL/);
	});

	test("what is wrong throws at once", () => {
		begin(echo());
		assert.throws(() => new TovaSocket("ws://fake/", ["a", "a"]), { name: "SyntaxError" });
		delete globalThis.WebSocket;
		assert.throws(() => new TovaSocket("ws://fake/"), /WebSocket is not a constructor/);
		assert.equal(new TovaSocket("ws://fake/", "a", { WebSocket: world.WebSocket }).readyState, 0);
	});

	test("closing before it is open", async () => {
		begin(echo());
		const socket = connect();
		socket.close();
		await world.pass(1e6);
		assert.deepEqual(socket.seen(), ["error", "close"]);
		assert.deepEqual([socket.last("close").code, socket.last("close").wasClean, world.links.length], [1006, false, 1]);
	});

	test("kinds of data", async () => {
		const [socket, { calls }] = await opened();
		socket.binaryType = "arraybuffer";
		assert.equal(world.link.ws.binaryType, "arraybuffer");
		const bytes = new Uint8Array([1, 2, 3, 4]);
		socket.send(bytes.subarray(1, 3));
		socket.send(new DataView(bytes.buffer, 2));
		socket.send(bytes.buffer);
		const blob = new Blob(["x"]);
		socket.send(blob);
		socket.send(7);
		socket.send("ä");
		socket.send("");
		bytes.fill(0); // what was sent is a copy
		await world.pass(10);
		const plain = (data) => (data instanceof ArrayBuffer ? [...new Uint8Array(data)] : data);
		assert.deepEqual(calls.slice(1).map(plain), [[2, 3], [3, 4], [1, 2, 3, 4], blob, "7", "ä", ""]);
		world.link.cut();
		await world.pass(1000);
		assert.equal(world.link.ws.binaryType, "arraybuffer", "the next socket has it, too");
	});

	test("text that begins with U+0001", async () => {
		const [socket, { calls }] = await opened();
		const texts = ["\u0001", "\u0001{\"ping\":1}", "\u0001\u0001", "a\u0001"];
		texts.map((text) => socket.send(text));
		await world.pass(10);
		assert.deepEqual(calls.slice(1), texts);
		world.host.all[0].send("\u0001\u0001{\"session\":null}");
		world.host.all[0].send("\u0001");
		await world.pass(10);
		assert.deepEqual(socket.heard().slice(4), ["\u0001\u0001{\"session\":null}", "\u0001"]);
	});

	test("bufferedAmount is what is not confirmed, and has a bound", async () => {
		const [socket] = await opened({ queue: 1000 });
		socket.send("äöü");
		socket.send(new Uint8Array(4));
		assert.equal(socket.bufferedAmount, 10);
		await world.pass(10);
		assert.equal(socket.bufferedAmount, 0);
		socket.send("x".repeat(1000));
		assert.throws(() => socket.send("x"), { name: "QuotaExceededError", message: /1000/ });
		await world.pass(10);
		assert.throws(() => socket.send("x".repeat(1001)), { name: "QuotaExceededError" });
		world.link.cut();
		let small = 0;
		assert.throws(() => { for (;; small++) socket.send(""); }, { name: "QuotaExceededError" });
		assert.ok(small > 10 && small < 20, `${small} empty messages count, too`);
		await world.pass(5000);
		assert.equal(socket.heard().length, 3 + small);
	});
});

describe("coming back", () => {
	test("nothing is lost and nothing twice, whatever arrived before the cut", async () => {
		for (const lose_up of [true, false])
			for (const lose_down of [true, false])
				for (let at = 0; at < 4; at++) {
					const [socket, { calls }] = await opened();
					socket.send("a");
					await world.pass(at);
					socket.send("b");
					world.link.cut({ lose_up, lose_down, noticed_down: 1 });
					socket.send("c"); // nobody has noticed yet
					await world.pass(10);
					assert.equal(socket.readyState, 1);
					socket.send("d"); // away
					assert.deepEqual(socket.seen().filter((type) => type !== "message"), ["open", "away"]);
					await world.pass(2000);
					assert.deepEqual(calls, ["open 1", "a", "b", "c", "d"], `${[lose_up, lose_down, at]}`);
					assert.deepEqual(socket.heard(), ["re: a", "re: b", "re: c", "re: d"]);
					assert.deepEqual(socket.seen().filter((type) => type !== "message"), ["open", "away", "resume"]);
					assert.equal(socket.bufferedAmount, 0);
					world.leave();
				}
		world.enter();
	});

	test("a cut behind the 101, and before and behind the welcome", async () => {
		for (const arrived of [1, 2, 3]) { // ms: the request; the 101; the welcome
			const [socket, { calls }] = await opened();
			world.link.cut();
			await world.pass(0);
			for (let i = 0; i < 3; i++) {
				world.latency = () => 1;
				socket.reconnect();
				const { link } = world;
				const { opened } = link.ws;
				link.ws.opened = function (protocol) { // the welcome comes a moment later
					opened.call(this, protocol);
					link.down.due = world.clock.now + 1;
				};
				await world.pass(arrived);
				link.cut();
				await world.pass(0);
			}
			socket.send("x");
			await world.pass(10000);
			assert.deepEqual(calls, ["open 1", "x"], `cut after ${arrived} ms`);
			world.leave();
		}
		world.enter();
	});

	test("the offer names the session and what was received", async () => {
		const [socket] = await opened({}, ["chat.v1"]);
		for (let i = 0; i < 5; i++)
			socket.send("a");
		await world.pass(10);
		const [token] = world.host.sessions.keys();
		world.link.cut();
		await world.pass(1000);
		assert.deepEqual(world.link.ws.offered, ["tova.v1", `tova.resume.${token}.5`, "chat.v1"]);
		assert.deepEqual(world.host.log, []);
	});

	test("a connection that says nothing any more is noticed and left", async () => {
		const [socket, { calls }] = await opened();
		const first = world.link;
		first.silent = true;
		socket.send("into the void");
		await world.pass(25000);
		assert.deepEqual(controls(first), [{ ping: 1 }]);
		assert.deepEqual(socket.seen(), ["open"]);
		await world.pass(9990);
		assert.deepEqual(socket.seen(), ["open"]);
		await world.pass(1000);
		assert.deepEqual(socket.seen(), ["open", "away", "resume", "message"]);
		assert.deepEqual([socket.last("away").code, socket.last("away").reason], [1006, "no answer"]);
		assert.deepEqual(calls, ["open 1", "into the void"]);
		assert.ok(first.ws.readyState > 1, "the old one is closed once the new one has taken over");
	});

	test("a dead connection that was only slow does not end the session by its close frame", async () => {
		const [socket, { calls }] = await opened({ ping: 1000, timeout: 1000 });
		const first = world.link;
		first.up.due = world.clock.now + 8000; // all that it sends arrives late
		first.down.due = world.clock.now + 9000;
		world.server = "down";
		await world.pass(2500);
		assert.deepEqual(socket.seen()[1], "away");
		assert.equal(first.ws.readyState, 1);
		await world.pass(7000);
		world.server = "tova";
		await world.pass(60000);
		assert.deepEqual(calls, ["open 1"]);
		assert.equal(socket.seen().at(-1), "resume");
	});

	test("no ping while there is something to hear", async () => {
		const [, ] = await opened();
		for (let i = 0; i < 20; i++) {
			world.host.all[0].send("tick");
			await world.pass(10000);
		}
		assert.deepEqual(controls(world.link).filter(({ ping }) => ping), []);
	});

	test("a host that does not answer is left after ten seconds", async () => {
		begin(echo());
		world.server = "mute";
		const socket = connect();
		await world.pass(9999);
		assert.equal(world.links.length, 1);
		await world.pass(501);
		assert.equal(world.links.length, 2);
		assert.deepEqual(socket.seen(), ["away"]);
		world.server = "tova";
		await world.pass(20000);
		assert.deepEqual(socket.seen(), ["away", "away", "open"]);
		assert.equal(world.link.ws.offered[0], "tova.v1");
	});

	test("tries wait at random, up to twice as long each time and half a minute", async () => {
		const [socket] = await opened();
		world.server = "down";
		Math.random = () => 1;
		world.link.cut();
		await world.pass(200000);
		assert.deepEqual(socket.all("away").map(({ delay }) => delay).slice(0, 9), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
		Math.random = () => 0;
		world.server = "tova";
		await world.pass(30000);
		await world.pass(900);
		world.link.cut();
		await world.pass(1);
		assert.equal(socket.last("away").delay, 0);
		Math.random = () => 1;
		await world.pass(999);
		world.link.cut();
		await world.pass(1);
		assert.ok(socket.last("away").delay > 500, "a connection that does not last a second does not count as one");
		await world.pass(socket.last("away").delay + 2000);
		world.link.cut();
		await world.pass(1);
		assert.equal(socket.last("away").delay, 500, "one that does begins anew");
	});

	for (const type of ["online", "pageshow", "visibilitychange", null])
		test(`at once on ${type ?? "reconnect()"}`, async () => {
			const [socket] = await opened();
			world.server = "down";
			Math.random = () => 1;
			world.link.cut();
			await world.pass(30000);
			world.server = "tova";
			const { length } = world.links;
			for (let i = 0; i < 2; i++)
				if (type === null)
					socket.reconnect();
				else
					world.turn(type);
			await world.pass(5);
			assert.equal(world.links.length, length + 1);
			assert.equal(socket.seen().at(-1), "resume");
		});

	test("an open connection is looked after when the network has changed", async () => {
		const [socket] = await opened();
		world.turn("online");
		await world.pass(30000);
		assert.equal(world.links.length, 1);
		assert.deepEqual(controls(world.link)[0], { ping: 1 });
		world.link.silent = true;
		world.turn("online");
		await world.pass(10600);
		assert.deepEqual(socket.seen(), ["open", "away", "resume"]);
	});

	test("the host forgot some: lost, and the count goes on", async () => {
		const [socket] = await opened({}, [], echo(), { queue: 3 });
		const [session] = world.host.all;
		session.send("first");
		await world.pass(10);
		world.link.cut();
		for (let i = 0; i < 10; i++)
			session.send(`${i}`);
		await world.pass(1000);
		assert.deepEqual(socket.seen(), ["open", "message", "away", "resume", "lost", "message", "message", "message"]);
		assert.deepEqual(socket.heard(), ["first", "7", "8", "9"]);
		const { missed, messages } = socket.last("lost");
		assert.deepEqual([missed, messages], [7, []]);
		world.link.cut();
		session.send("10");
		await world.pass(2000);
		assert.equal(socket.heard().at(-1), "10");
		assert.deepEqual(world.host.log, []);
	});

	test("the session is over: open, then lost with what was sent, then what was not", async () => {
		const handler = echo();
		const [socket, { calls }] = await opened({}, [], handler, { keep_ms: 5000 });
		socket.onopen = () => socket.send("who I am");
		socket.onlost = ({ messages, done, sent }) => {
			assert.equal(sent - done, messages.length);
			messages.map((data) => socket.send(`again: ${data}`));
		};
		socket.send("a");
		await world.pass(10);
		handler.message = () => new Promise(() => {}); // arrives, and is not done
		socket.send("b");
		await world.pass(10);
		world.server = "down";
		world.link.cut();
		socket.send("c"); // on the dead socket
		await world.pass(1);
		socket.send("d"); // away: never sent
		const sent = socket.sent();
		await world.pass(10000);
		assert.deepEqual(calls, ["open 1", "a"], "the handler hangs in b");
		handler.message = (session, data) => calls.push(data);
		world.server = "tova";
		socket.reconnect();
		assert.equal((await rejected(sent, 10)).message, "The session is over.");
		const { missed, messages, done, got } = socket.last("lost");
		assert.deepEqual([missed, messages, done, got], [null, ["b", "c"], 1, 1]);
		assert.deepEqual(socket.seen().filter((type) => type !== "away"), ["open", "message", "open", "lost"]);
		assert.deepEqual(calls.slice(2), ["open 2", "who I am", "again: b", "again: c", "d"]);
		assert.equal(socket.bufferedAmount, 0);
	});

	test("a host that is slow after the 101", async () => {
		const [socket] = await opened();
		world.link.cut();
		world.late = () => 0;
		const { connect } = world.host;
		world.host.connect = (offered, wire) => {
			world.link.down.due = world.clock.now + 8000;
			return connect.call(world.host, offered, wire);
		};
		await world.pass(9000);
		assert.deepEqual(socket.seen(), ["open", "away", "resume"]);
		assert.equal(world.links.length, 2);
	});

	test("sockets that were given up are closed in the end", async () => {
		const [socket, { calls }] = await opened({ ping: 1000, timeout: 1000 });
		const { connect } = world.host;
		world.host.connect = (offered, wire) => ({ receive() {}, ended() {} }); // a proxy that says 101, and nothing behind it
		world.link.silent = true;
		await world.pass(20000);
		assert.ok(world.links.length > 4);
		assert.ok(world.links.filter(({ ws }) => ws.readyState < 2).length <= 2, "one at most, and a new one");
		world.host.connect = connect;
		await world.pass(30000);
		assert.equal(socket.seen().at(-1), "resume");
		assert.deepEqual(calls, ["open 1"]);
		assert.equal(world.links.filter(({ ws }) => ws.readyState < 2).length, 1);
		world.link.silent = true;
		world.server = "down";
		await world.pass(5000);
		socket.close();
		await world.pass(10);
		assert.equal(socket.readyState, 3);
		assert.equal(world.links.filter(({ ws }) => ws.readyState < 2).length, 0);
	});

	test("the token before is good until something arrives, which is at once", async () => {
		await opened();
		world.link.cut();
		await world.pass(1000);
		assert.deepEqual(controls(world.link), [{ got: 0 }]);
		assert.equal(world.host.sessions.size, 1);
	});

	test("sent() waits on for what could not be sent yet, whatever session it is", async () => {
		const [socket, { calls }] = await opened({}, [], echo(), { keep_ms: 1000 });
		world.server = "down";
		world.link.cut();
		await world.pass(10);
		socket.send("a");
		let done = false;
		socket.sent().then(() => (done = true));
		await world.pass(5000);
		world.server = "tova";
		socket.reconnect();
		await world.pass(10);
		assert.deepEqual([done, calls.slice(1), socket.last("lost").messages], [true, ["close 1 1006", "open 2", "a"], []]);
	});

	test("what arrived and was not done is told apart", async () => {
		const handler = { message: (session, data) => (data === "slow" ? new Promise(() => {}) : undefined) };
		const [socket] = await opened({}, [], handler, { keep_ms: 5000 });
		["a", "slow", "b", "c"].map((text) => socket.send(text));
		await world.pass(10);
		world.link.cut();
		await world.pass(1000);
		assert.equal(socket.seen().at(-1), "resume");
		world.host.restart();
		await world.pass(5000);
		const { messages, done, got, sent } = socket.last("lost");
		assert.deepEqual([messages, done, got, sent], [["slow", "b", "c"], 1, 4, 4]);
	});
});

describe("counting", () => {
	test("got after 32 messages, 64 KiB or a second", async () => {
		const [socket] = await opened();
		const [session] = world.host.all;
		for (let i = 0; i < 31; i++)
			session.send("x");
		await world.pass(990);
		assert.deepEqual(controls(world.link), []);
		await world.pass(20);
		assert.deepEqual(controls(world.link), [{ got: 31 }]);
		for (let i = 0; i < 64; i++)
			session.send("x");
		await world.pass(10);
		assert.deepEqual(controls(world.link).slice(1), [{ got: 63 }, { got: 95 }]);
		session.send("x".repeat(65535));
		await world.pass(10);
		assert.equal(controls(world.link).length, 3);
		session.send("x");
		await world.pass(10);
		assert.deepEqual(controls(world.link).slice(3), [{ got: 97 }]);
		await world.pass(5000);
		assert.equal(controls(world.link).length, 4, "nothing to say any more");
		session.send(new ArrayBuffer(70000));
		session.send(new Blob(["x".repeat(70000)]));
		await world.pass(10);
		assert.deepEqual(controls(world.link).slice(4), [{ got: 98 }, { got: 99 }]);
		assert.equal(session.kept.length, 0);
		assert.equal(socket.heard().length, 99);
	});

	test("sent(): until the handler is done", async () => {
		let settle;
		const handler = { message: () => new Promise((resolve) => (settle = resolve)) };
		const [socket] = await opened({}, [], handler);
		await socket.sent(); // nothing was sent
		const order = [];
		socket.send("a");
		socket.sent().then(() => order.push("a"));
		socket.send("b");
		socket.sent().then(() => order.push("b"));
		socket.sent().then(() => order.push("b again"));
		await world.pass(1000);
		assert.deepEqual(order, []);
		settle();
		await world.pass(10);
		assert.deepEqual(order, ["a"]);
		world.link.cut();
		settle();
		await world.pass(1);
		assert.deepEqual(order, ["a"], "the answer is lost");
		await world.pass(1000);
		assert.deepEqual(order, ["a", "b", "b again"]);
	});

	test("a handler that fails", async () => {
		const handler = { message(session, data) { if (data.startsWith("bad")) throw new Error(data); } };
		const [socket] = await opened({}, [], handler);
		["good", "bad 1", "good"].map((text) => socket.send(text));
		assert.equal((await rejected(socket.sent(), 10)).data, "bad 1");
		assert.deepEqual(socket.all("failed").map(({ data }) => data), ["bad 1"]);
		socket.send("bad 2");
		world.link.cut({ lose_up: false });
		const later = socket.sent();
		later.catch(() => {});
		await world.pass(1000);
		await assert.rejects(later, { name: "OperationError", data: "bad 2" });
		assert.deepEqual(socket.all("failed").map(({ data }) => data), ["bad 1", "bad 2"], "it was told again");
		socket.send("good");
		const good = socket.sent();
		await world.pass(10);
		await good;
	});

	test("history", async () => {
		const [socket] = await opened();
		world.host.all[0].conn.control({ history: { room: "r", epoch: "e", from: 1, to: 3, complete: true } });
		world.host.all[0].conn.control({ something: "new" });
		await world.pass(10);
		const { room, epoch, from, to, complete } = socket.last("history");
		assert.deepEqual([room, epoch, from, to, complete], ["r", "e", 1, 3, true]);
		assert.deepEqual(socket.seen(), ["open", "history"]);
	});
});

describe("how it ends", () => {
	for (const code of [1000, 1005, 1008, 4000, 4404, 4999])
		test(`the host closes with ${code}: the end`, async () => {
			const [socket] = await opened();
			socket.send("unconfirmed");
			const sent = socket.sent();
			world.host.all[0].close(code, "go");
			assert.equal((await rejected(sent, 10)).name, "AbortError");
			await world.pass(1e6);
			assert.deepEqual(socket.seen(), ["open", "lost", "close"]);
			assert.deepEqual(socket.last("lost").messages, ["unconfirmed"]);
			assert.deepEqual([socket.last("close").code, socket.last("close").reason, socket.readyState], [code, "go", 3]);
			assert.equal(world.links.length, 1);
			assert.equal((await rejected(socket.sent())).name, "InvalidStateError");
		});

	for (const [code, least, most] of [[1001, 0, 500], [1006, 0, 500], [1011, 0, 500], [1012, 0, 2000], [1013, 5000, 5500], [3000, 0, 500], [4409, 0, 500]])
		test(`the host closes with ${code}: a new session, after ${least} to ${most} ms`, async () => {
			for (const chance of [0, 1]) {
				const [socket, { calls }] = await opened();
				await world.pass(2000);
				Math.random = () => chance;
				world.host.all[0].close(code);
				await world.pass(10);
				assert.equal(socket.last("away").delay, chance ? most : least);
				await world.pass(6000);
				assert.deepEqual(socket.seen(), ["open", "away", "open", "lost"]);
				assert.deepEqual(calls.filter((call) => call.startsWith("open")), ["open 1", "open 2"]);
				world.leave();
			}
			world.enter();
		});

	test("1013 is obeyed when the network changes, too", async () => {
		const [] = await opened();
		world.host.all[0].close(1013);
		await world.pass(10);
		world.turn("online");
		await world.pass(4000);
		assert.equal(world.links.length, 1);
		world.turn("online");
		await world.pass(1000);
		world.turn("online");
		await world.pass(10);
		assert.equal(world.links.length, 2);
	});

	test("who was closed while away is told so, and does not come back", async () => {
		for (const code of [1000, 1008, 3001]) {
			const [socket] = await opened();
			Math.random = () => 1;
			world.server = "down";
			world.link.cut();
			await world.pass(100);
			world.host.all[0].close(code);
			world.server = "tova";
			socket.reconnect();
			await world.pass(100);
			if (code === 3001)
				assert.deepEqual([socket.seen().at(-1), socket.last("away").code], ["away", 3001]);
			else
				assert.deepEqual(socket.seen().slice(-1), ["close"]);
			await world.pass(10000);
			assert.deepEqual(socket.seen().slice(-2), code === 3001 ? ["open", "lost"] : ["away", "close"]);
			world.leave();
		}
		world.enter();
	});

	test("refused: the end, or later", async () => {
		for (const refused of [401, 403]) {
			begin(echo());
			world.host.refusing = { refused, retry_ms: 0 };
			const socket = connect();
			await world.pass(1e6);
			assert.deepEqual(socket.seen(), ["close"]);
			assert.equal(socket.last("close").code, 4000 + refused);
			assert.equal(world.links.length, 1, "the server speaks tova.v1: it is not tried without");
			world.leave();
		}
		for (const [refused, code] of [[429, 4429], [503, 1013]]) {
			begin(echo());
			world.host.refusing = { refused, retry_ms: 20000 };
			const socket = connect();
			await world.pass(10);
			assert.equal(socket.last("away").code, code);
			world.turn("online");
			await world.pass(19980);
			assert.equal(world.links.length, 1);
			world.host.refusing = null;
			await world.pass(1000);
			assert.deepEqual(socket.seen(), ["away", "open"]);
			world.host.all[0].close(1008);
			await world.pass(10);
			assert.equal(socket.readyState, 3, "that was then");
			world.leave();
		}
		world.enter();
	});

	test("closing while away", async () => {
		const [socket] = await opened();
		world.server = "down";
		world.link.cut();
		await world.pass(100);
		socket.send("a");
		socket.close();
		socket.close();
		assert.deepEqual([socket.readyState, socket.seen().at(-1)], [2, "away"]);
		await world.pass(1e6);
		assert.deepEqual(socket.seen().slice(-3), ["lost", "error", "close"]);
		assert.deepEqual([socket.last("lost").messages, socket.last("lost").sent], [["a"], 0]);
	});

	test("closing while the page is frozen", async () => {
		const [socket] = await opened();
		world.latency = () => 100;
		socket.close();
		world.turn("pagehide", true);
		world.turn("pageshow", true);
		await world.pass(10000);
		assert.deepEqual([socket.readyState, world.links.length], [3, 1]);
	});

	test("nothing of it is left in the window", async () => {
		const [socket] = await opened();
		assert.equal(getEventListeners(world.page, "online").length, 1);
		socket.close();
		await world.pass(100);
		for (const type of ["online", "visibilitychange", "pageshow", "pagehide"])
			assert.equal(getEventListeners(world.page, type).length, 0);
	});

	test("closing in any event", async () => {
		for (const type of ["open", "away", "message", "lost", "resume"]) {
			const [socket] = await opened({}, [], echo(), { keep_ms: 1500 });
			let calls = 0;
			socket[`on${type}`] = () => (calls++, socket.close());
			socket.send("a");
			await world.pass(100);
			world.link.cut();
			await world.pass(1000);
			if (socket.readyState === 1) {
				world.host.restart();
				await world.pass(5000);
			}
			assert.equal(calls, 1, type);
			assert.equal(socket.readyState, 3, type);
			assert.equal(socket.seen().at(-1), "close");
			const { length } = world.links;
			await world.pass(1e6);
			assert.equal(world.links.length, length);
			assert.equal(world.clock.timers.size, [...world.host.sessions.values()].length);
			world.leave();
		}
		world.enter();
	});
});

describe("tokens", () => {
	const tokens = () => {
		let n = 0;
		return { asked: () => n, token: async () => `t${++n}` };
	};

	test("one for each connection, and a fresh one before its end", async () => {
		begin(echo());
		world.host.tokens = { t1: 100000, t2: 100000, t3: 1000000, t4: 100000 };
		const { token, asked } = tokens();
		const socket = connect({ token }, ["chat.v1"]);
		await world.pass(10);
		assert.deepEqual(world.link.ws.offered, ["tova.v1", "tova.jwt", "tova.jwt.t1", "chat.v1"]);
		assert.deepEqual(controls(world.link), [{ token: "t1" }]);
		await world.pass(49000);
		assert.equal(asked(), 1);
		await world.pass(2000);
		assert.deepEqual(controls(world.link).filter(({ token }) => token), [{ token: "t1" }, { token: "t2" }]);
		await world.pass(60000);
		assert.equal(asked(), 3);
		await world.pass(900000);
		assert.equal(asked(), 3);
		await world.pass(60000);
		assert.equal(asked(), 4, "a minute before the end");
		assert.deepEqual(socket.seen(), ["open"]);
	});

	test("one that can not be had is asked for again", async () => {
		begin(echo());
		world.host.tokens = { good: 120000 };
		let fail = true;
		const socket = connect({ token: () => { if (fail) throw new Error("offline"); return "good"; } });
		await world.pass(10);
		assert.deepEqual(socket.seen(), ["error", "away"]);
		assert.equal(socket.last("error").error.message, "offline");
		fail = false;
		await world.pass(1000);
		assert.deepEqual(socket.seen(), ["error", "away", "open"]);
		fail = true;
		await world.pass(110000);
		assert.ok(socket.all("error").length > 2);
		fail = false;
		await world.pass(10000);
		assert.deepEqual(new Set(socket.seen()), new Set(["error", "away", "open"]));
		assert.equal(world.links.length, 1, "it came in time");
	});

	test("one that never comes is given up", async () => {
		begin(echo());
		let n = 0;
		const socket = connect({ token: () => (n++ ? undefined : new Promise(() => {})) });
		await world.pass(11000);
		assert.deepEqual(socket.seen(), ["away", "open"]);
		assert.deepEqual(world.link.ws.offered, ["tova.v1"], "none is needed, perhaps");
	});

	test("one that comes too late is not used", async () => {
		for (const closing of [true, false]) {
			begin(echo());
			const given = [];
			const socket = connect({ token: () => new Promise((resolve) => given.push(resolve)) });
			await world.pass(1);
			if (closing)
				socket.close();
			await world.pass(11000);
			given[0]("late");
			await world.pass(100);
			assert.equal(world.links.length, 0);
			assert.equal(socket.seen().at(-1), closing ? "close" : "away");
			given[1]?.("early");
			await world.pass(100);
			assert.deepEqual(world.links.map(({ ws }) => ws.offered[2]), closing ? [] : ["tova.jwt.early"]);
			world.leave();
		}
		world.enter();
	});

	test("a connection that slept past its token's end comes back with a new one", async () => {
		begin(echo());
		world.host.tokens = { t1: 100000, t2: 100000 };
		let awake = true;
		const { token } = tokens();
		const socket = connect({ token: () => (awake ? token() : new Promise(() => {})) });
		await world.pass(10);
		awake = false;
		await world.pass(99995);
		awake = true;
		await world.pass(3000);
		assert.deepEqual(socket.seen(), ["open", "away", "open", "lost"]);
		assert.equal(socket.last("away").code, 1008);
		world.host.all[1].close(1008);
		await world.pass(3000);
		assert.equal(socket.seen().at(-1), "close", "before the end 1008 is meant");
	});

	test("one that the host does not take", async () => {
		begin(echo());
		world.host.tokens = { t1: 10000 };
		const { token } = tokens();
		const socket = connect({ token });
		await world.pass(20000);
		assert.deepEqual(socket.seen(), ["open", "close"]);
		assert.equal(socket.last("close").code, 4401);
	});

	test("where none is needed 1008 is the end as ever", async () => {
		const { token } = tokens();
		const [socket] = await opened({ token });
		world.host.all[0].conn.control({ token: "ok", expires_ms: 0 });
		await world.pass(10000);
		world.host.all[0].close(1008);
		await world.pass(10);
		assert.deepEqual(socket.seen(), ["open", "close"]);
	});

	test("one that lasts longer than a timer can wait", async () => {
		begin(echo());
		world.host.tokens = { t1: 1e10, t2: 1e10 };
		const { token, asked } = tokens();
		const socket = connect({ token });
		await world.pass(1e6);
		assert.deepEqual([asked(), socket.seen()], [1, ["open"]]);
	});
});

describe("pages", () => {
	/** The page is left; the next one of this tab begins, where one does. */
	async function leave(persisted = false) {
		const { ws } = world.link;
		world.turn("pagehide", persisted);
		if (!persisted) {
			ws.unload();
			world.page = new EventTarget();
		}
		await world.pass(5);
	}

	test("a page that is left says bye", async () => {
		const [, { calls }] = await opened();
		await leave();
		assert.deepEqual(calls, ["open 1", "close 1 1000"]);
	});

	test("with store, the next page goes on", async () => {
		const [socket, { calls }] = await opened({ store: "chat" });
		world.host.all[0].send("1");
		await world.pass(10);
		assert.equal(world.stored.size, 0, "a copy of this tab would find nothing");
		world.link.down.lost = true; // no more answers to this page
		socket.send("a");
		socket.send(new Uint8Array([1, 2]));
		await world.pass(10);
		world.link.silent = true;
		socket.send("b");
		await leave();
		world.links[0].conn.ended(1001);
		assert.equal(world.stored.size, 1);
		const next = connect({ store: "chat" });
		assert.equal(world.stored.size, 0);
		assert.equal(next.bufferedAmount, 4);
		await world.pass(10);
		assert.deepEqual(next.seen().slice(0, 1), ["open"]);
		assert.equal(next.last("open").resumed, true);
		assert.deepEqual(calls.map((call) => (call instanceof ArrayBuffer ? [...new Uint8Array(call)] : call)), ["open 1", "a", [1, 2], "b"]);
		assert.equal(next.heard().length, 3);
		assert.equal(next.bufferedAmount, 0);
		await next.sent();
	});

	test("with store, a page that comes too late is handed what was not confirmed", async () => {
		const handler = { message: () => new Promise(() => {}) };
		const [socket] = await opened({ store: "chat" }, [], handler);
		socket.send("a");
		await world.pass(10);
		await leave();
		await world.pass(70000);
		const next = connect({ store: "chat" });
		await world.pass(10);
		assert.deepEqual(next.seen(), ["open", "lost"]);
		assert.equal(next.last("open").resumed, false);
		assert.deepEqual(next.last("lost").messages, ["a"]);
	});

	test("with store, what can not be stored ends the session", async () => {
		for (const how of ["blob", "full", "forbidden"]) {
			const handler = { calls: [], message: () => new Promise(() => {}), close: (session, code) => handler.calls.push(code) };
			const [socket] = await opened({ store: "chat" }, [], handler);
			if (how === "blob")
				socket.send(new Blob(["a"]));
			else if (how === "full")
				world.sessionStorage.setItem = () => { throw new Error("full"); };
			else
				Object.defineProperty(globalThis, "sessionStorage", { get() { throw new Error("forbidden"); }, configurable: true });
			await leave();
			assert.equal(world.host.all[0].over, true, how);
			world.leave();
		}
		world.enter();
	});

	test("the back/forward cache, without store", async () => {
		const [socket, { calls }] = await opened();
		world.turn("pagehide", true);
		assert.ok(world.link.ws.readyState > 1, "browsers keep no page with an open socket");
		await world.pass(5);
		assert.deepEqual(calls, ["open 1", "close 1 1000"]);
		await world.pass(600000);
		assert.equal(world.links.length, 1);
		world.turn("pageshow", true);
		await world.pass(10);
		assert.deepEqual(socket.seen(), ["open", "open", "lost"]);
		assert.equal(socket.readyState, 1);
		assert.deepEqual(world.link.ws.offered, ["tova.v1"]);
	});

	test("the next page does not try without the offer", async () => {
		await opened({ store: "chat" });
		await leave();
		world.server = "down";
		connect({ store: "chat" });
		await world.pass(20000);
		assert.deepEqual(world.links.filter(({ ws }) => ws.offered[0] !== "tova.v1"), []);
	});

	test("what else stands in the storage does no harm for long", () => {
		for (const text of ["{", "null", "[]", "7"]) {
			begin(echo());
			world.stored.set("tova.chat", text);
			try {
				connect({ store: "chat" });
			} catch {
				assert.equal(connect({ store: "chat" }).readyState, 0);
			}
			world.leave();
		}
		world.enter();
	});

	test("the back/forward cache, with store", async () => {
		const [socket, { calls }] = await opened({ store: "chat" });
		socket.send("a");
		await world.pass(10);
		await leave(true);
		socket.send("b"); // some script may still run
		world.host.all[0].send("2");
		await world.pass(10);
		world.turn("pageshow", true);
		await world.pass(10);
		assert.deepEqual(socket.seen(), ["open", "message", "resume", "message", "message"]);
		assert.deepEqual(calls, ["open 1", "a", "b"]);
		assert.equal(world.stored.size, 0);
	});

	test("the back/forward cache, with store, and a later page that has gone on", async () => {
		const [socket, { calls }] = await opened({ store: "chat" });
		await leave(true);
		const page = world.page;
		world.page = new EventTarget();
		const next = connect({ store: "chat" });
		await world.pass(10);
		assert.equal(next.last("open").resumed, true);
		world.turn("pagehide", true);
		await world.pass(10);
		world.page = page;
		world.turn("pageshow", true);
		await world.pass(10);
		assert.deepEqual(socket.seen(), ["open", "open", "lost"]);
		assert.deepEqual(calls.filter((call) => call.startsWith("open")), ["open 1", "open 2"]);
		assert.equal(world.stored.size, 1, "what the later page has stored is its own");
	});

	test("two tabs with one stored session do not fight", async () => {
		const [one, { calls }] = await opened({ store: "chat" });
		world.turn("pagehide", true);
		const copy = new Map(world.stored);
		world.turn("pageshow", true);
		await world.pass(10);
		assert.equal(one.seen().at(-1), "resume");
		copy.forEach((value, key) => world.stored.set(key, value.replace(/"[\w-]{22}"/, JSON.stringify([...world.host.sessions.keys()].at(-1)))));
		const two = connect({ store: "chat" });
		await world.pass(10);
		assert.equal(two.last("open").resumed, true);
		assert.equal(one.last("away").code, 4409);
		await world.pass(600000);
		assert.deepEqual([one.seen(), two.seen()], [["open", "resume", "away", "open", "lost"], ["open"]]);
		assert.equal(world.links.length, 4);
		assert.deepEqual(calls, ["open 1", "open 2"]);
		one.send("one");
		two.send("two");
		await world.pass(10);
		assert.deepEqual([one.heard(), two.heard()], [["re: one"], ["re: two"]]);
	});

	test("two tabs do not fight while the token before is still good", async () => {
		const [one] = await opened({ store: "chat" });
		const [token] = world.host.sessions.keys();
		world.stored.set("tova.chat", JSON.stringify([token, 0, 0, 0, 0, 0, []]));
		const two = connect({ store: "chat" });
		world.link.up.due = world.clock.now + 1;
		await world.pass(1.5);
		world.link.up.due = world.clock.now + 20000; // what it says now is slow
		await world.pass(10000);
		assert.ok(world.host.sessions.has(token));
		assert.deepEqual([one.seen(), two.seen()], [["open", "away", "open", "lost"], ["open"]]);
	});

	test("a copy that is behind counts as the host does", async () => {
		const [one] = await opened({ store: "chat" });
		one.send("a");
		await world.pass(10);
		world.turn("pagehide", true);
		const copy = new Map(world.stored);
		world.turn("pageshow", true);
		await world.pass(10);
		["b", "c", "d"].map((text) => one.send(text));
		await world.pass(10);
		copy.forEach((value, key) => world.stored.set(key, value.replace(/"[\w-]{22}"/, JSON.stringify([...world.host.sessions.keys()].at(-1)))));
		const two = connect({ store: "chat" });
		await world.pass(10);
		assert.deepEqual(two.heard(), ["re: b", "re: c", "re: d"]);
		two.send("e");
		const sent = two.sent();
		await world.pass(10);
		await sent;
		assert.equal(two.heard().at(-1), "re: e");
	});
});

describe("other servers", () => {
	for (const own of [undefined, "chat.v1"])
		test(`one that ${own ? "chooses what it knows" : "knows no subprotocols"}`, async () => {
			begin();
			Object.assign(world, { server: "own", own });
			const socket = connect({}, own ? ["chat.v1"] : []);
			await world.pass(10);
			assert.equal(world.links.length, own ? 1 : 2);
			assert.deepEqual([socket.readyState, socket.protocol], [1, own ?? ""]);
			assert.deepEqual(socket.seen(), ["open"]);
			socket.send("\u0001a");
			world.link.ws.bufferedAmount = 7;
			assert.equal(socket.bufferedAmount, 7);
			assert.equal((await rejected(socket.sent())).name, "InvalidStateError");
			await world.pass(10);
			assert.deepEqual(socket.heard(), ["\u0001a"]);
			assert.deepEqual(world.link.sent, ["\u0001a"], "nothing but that");
			world.turn("online");
			await world.pass(60000);
			world.link.cut();
			await world.pass(10);
			socket.send("while away");
			await world.pass(10000);
			assert.deepEqual(socket.seen().filter((type) => type !== "away"), ["open", "message", "open", "lost", "message"]);
			assert.deepEqual(socket.heard(), ["\u0001a", "while away"]);
			assert.deepEqual(socket.last("lost").messages, []);
			socket.close(1000);
			await world.pass(10);
			assert.equal(socket.readyState, 3);
		});

	for (const speaks of [true, false])
		test(`one that agrees to anything, and ${speaks ? "speaks at once" : "waits"}`, async () => {
			begin();
			world.server = "any";
			world.other = (wire) => {
				if (speaks)
					wire.send("hello");
				return { receive: (data) => wire.send(data), ended() {} };
			};
			const socket = connect({}, ["chat.v1"]);
			await world.pass(speaks ? 20 : 5020);
			assert.deepEqual([socket.readyState, socket.protocol], [1, "chat.v1"]);
			socket.send("a");
			await world.pass(10);
			assert.deepEqual(socket.heard(), speaks ? ["hello", "a"] : ["a"]);
			assert.equal(world.links.length, 2);
			world.link.cut();
			await world.pass(speaks ? 1000 : 7000);
			assert.equal(world.links.length, speaks ? 3 : 4, "what has spoken is known by now, what was silent may have been slow");
			assert.deepEqual(world.link.ws.offered, ["chat.v1"]);
		});

	test("a server that is down is tried with the offer and without, in turns", async () => {
		begin();
		world.server = "down";
		const socket = connect();
		await world.pass(100000);
		const offers = world.links.map(({ ws }) => ws.offered.length);
		assert.deepEqual(offers.slice(0, 6), [1, 0, 1, 0, 1, 0]);
		assert.equal(socket.all("away").length, world.links.length - 1, "only the first time at once, and without a word");
	});

	test("a WebSocket that says nothing but error", async () => {
		begin();
		Object.assign(world, { server: "own", terse: true });
		const socket = connect();
		await world.pass(10);
		assert.deepEqual([socket.seen(), world.links.length], [["open"], 2]);
		world.link.cut();
		await world.pass(1000);
		assert.deepEqual([socket.seen().slice(0, 2), socket.last("away").code], [["open", "away"], 1006]);
	});

	test("a cut behind the first 101 says nothing about the offer", async () => {
		begin(echo());
		const socket = connect();
		await world.pass(1);
		world.link.down.lost = true;
		world.link.ws.opened("tova.v1");
		world.link.cut();
		await world.pass(1000);
		assert.deepEqual(world.links.map(({ ws }) => ws.offered), [["tova.v1"], ["tova.v1"]]);
		assert.equal(socket.seen().at(-1), "open");
	});

	for (const messages of [["a"], []])
		test(`a host whose place another server takes, with ${messages.length} unconfirmed`, async () => {
			const [socket] = await opened({}, ["chat.v1"]);
			world.host.handler.message = () => new Promise(() => {});
			messages.map((text) => socket.send(text));
			Object.assign(world, { server: "own", own: "chat.v1" });
			world.link.cut();
			await world.pass(10);
			socket.send("b");
			const sent = socket.sent();
			assert.equal((await rejected(sent, 1000)).name, "AbortError");
			assert.deepEqual([socket.last("lost").messages, socket.heard(), socket.protocol], [messages, ["b"], "chat.v1"]);
		});

	test("a token for another server", async () => {
		begin();
		Object.assign(world, { server: "own", own: "tova.jwt" }); // a tova-host that does not know tova.v1
		const socket = connect({ token: () => "t" });
		await world.pass(10);
		socket.send("a");
		await world.pass(10);
		assert.deepEqual([socket.protocol, world.link.sent, world.links.length], ["tova.jwt", ["a"], 1]);
	});

	test("a host that was not there at first has its session soon", async () => {
		begin(echo());
		world.server = "down";
		const socket = connect();
		await world.pass(0.5);
		world.server = "tova"; // before the second try
		await world.pass(10);
		assert.deepEqual([world.links.length, world.host.all.length, socket.readyState], [2, 0, 1]);
		world.link.cut();
		await world.pass(1000);
		assert.equal(world.host.all.length, 1);
		socket.send("a");
		await world.pass(10);
		assert.deepEqual(socket.heard(), ["re: a"]);
	});

	test("a host that keeps no sessions", async () => {
		const [socket, { calls }] = await opened({}, [], echo(), { keep_ms: 0 });
		socket.send("a");
		const sent = socket.sent();
		for (let i = 0; i < 100; i++)
			world.host.all[0].send("x");
		await world.pass(2000);
		await sent;
		assert.deepEqual(controls(world.link), [], "it asks for no counts");
		socket.send("b");
		world.link.cut();
		await world.pass(10);
		socket.send("c");
		await world.pass(1000);
		assert.deepEqual(world.link.ws.offered, ["tova.v1"]);
		assert.deepEqual(socket.seen().filter((type) => type !== "message"), ["open", "away", "open", "lost"]);
		assert.deepEqual(socket.last("lost").messages, ["b"]);
		assert.deepEqual(calls.filter((call) => call !== "open 2"), ["open 1", "a", "close 1 1006", "c"]);
	});
});
