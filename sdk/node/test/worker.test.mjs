/** Workers in processes of their own, against a host played by the test. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FakeHost, HANDSHAKE } from "./fake_host.mjs";

const A = "A".repeat(22);
const B = "B".repeat(22);
const REQUEST = {
	method: "GET", path: "/chat/ä", query: "a=1", mount: "/chat", host: "localhost", headers: [["Cookie", "a=b; c=d"], ["X-One", "1"]],
	remote: ["127.0.0.1", 4711], local: ["127.0.0.1", 80], tls: null, secure: true, subprotocols: ["v1", "v2"], claims: { sub: "ada" },
};
const ECHO = "serve({ on_message(ws, message) { ws.send(message); } });";

const event = (s, t = "message", members = {}) => ({ t, s, conn: A, seq: s, attempt: 1, ...members });
const ofMount = (s, t, members) => ({ t, s, seq: 0, attempt: 1, ...members });
const opening = (s) => event(s, "open", { request: REQUEST });
const ack = (s, ...commands) => (commands.length > 0 ? { t: "ack", s, commands } : { t: "ack", s });

async function drain(worker, peer) {
	peer.send({ t: "drain" });
	await peer.expect({ t: "bye" });
	peer.close();
	assert.equal(await worker.finish(), 0, worker.err);
}

for (const transport of ["ipc", "tcp"])
	describe(transport, () => {
		let host;
		beforeEach(async () => {
			host = new FakeHost(transport === "ipc");
			await host.listen();
		});
		afterEach(() => host.end());

		// --- hello and handlers

		test("hello", async () => {
			const [worker, peer] = await host.serve(ECHO);
			const { name, ...hello } = peer.hello;
			assert.match(name, / \d+$/);
			assert.deepEqual(hello, { t: "hello", v: 1, token: "secret", events: ["message"], mount: "/chat", runs: 64, claims: true });
			await drain(worker, peer);
		});

		test("events are those that have handlers", async () => {
			const [, peer] = await host.serve("serve({ onOpen() {}, on_close() {}, onTimer() {}, on_upgrade() {}, other: 7 });");
			assert.deepEqual(peer.hello.events.sort(), ["close", "open", "timer", "upgrade"]);
		});

		for (const how of [
			"serve({ onMessage(ws, m) { ws.send(m); } });",
			"class Chat { on_message(ws, m) { this.answer(ws, m); } answer(ws, m) { ws.send(m); } } serve(new Chat());",
			"class Chat { onMessage(ws, m) { this.answer(ws, m); } answer(ws, m) { ws.send(m); } } serve(Chat);",
			"serve({ async on_message(ws, m) { ws.send(m); } });",
			"await serve({ on_message(ws, m) { ws.send(m); } }, { exit: false });",
		])
			test(`a way to give handlers: ${how}`, async () => {
				const [worker, peer] = await host.serve(how);
				peer.send(event(1, "message", { data: "a" }));
				await peer.expect(ack(1, { c: "send", data: "a" }));
				await drain(worker, peer);
			});

		for (const [code, text] of [
			["serve({});", "there are no handlers"],
			["serve();", "serve() takes an object"],
			["serve({ on_mesage() {} });", "knows no handler on_mesage"],
			["serve({ onMesage() {} });", "knows no handler onMesage"],
			["serve(class { on_message() {} on_mesage() {} });", "knows no handler on_mesage"],
			["serve({ on_open: 7 });", "on_open is no function but number"],
			["serve({ *on_message() { yield; } });", "on_message is a generator (*)"],
			["serve({ async *onMessage() {} });", "on_message is a generator (*)"],
			["serve({ on_start: function* () {} });", "on_start is a generator (*)"],
			["serve(class { on_message() {} *on_close() {} });", "on_close is a generator (*)"],
			["serve(new (class { async *onTimer() {} })());", "on_timer is a generator (*)"],
		])
			test(`handlers that are wrong: ${code}`, async () => {
				const worker = host.start(code);
				assert.equal(await worker.finish(), 1);
				assert.ok(worker.err.includes(text), worker.err);
				assert.equal(worker.err.trim().split("\n").length, 1, worker.err);
			});

		for (const [url, text] of [["", "TOVA_URL is not set"], ["http://127.0.0.1:1", "is no URL of a host"], ["tcp://nothing", "is no URL"]])
			test(`a URL that is none: "${url}"`, async () => {
				const worker = host.start(ECHO, { env: { TOVA_URL: url } });
				assert.equal(await worker.finish(), 1);
				assert.ok(worker.err.includes(text), worker.err);
			});

		// --- events and commands

		test("the specification", async () => {
			const [worker, peer] = await host.serve(`serve({
				on_open(ws) {
					join(ws, "general");
					broadcast_to("general", { type: "system" }, ws);
					ws.send(["a", 1, null, true, "ä"]);
				},
				on_message(ws, message) {
					leave(ws, "general");
					broadcast(message);
					broadcast(message, ws);
					broadcastTo("general", message, ws);
					ws.join("tea"); ws.leave("tea"); ws.close(); ws.close(3000, "ü"); close(ws, 1000);
				},
				on_close(ws, code, reason) { broadcast_to("general", [code, reason, ws.rooms]); },
				on_error(ws, error) { ws.send([\`\${error}\`, error.message, error.kind, error instanceof Error]); },
			});`);
			peer.send(opening(1));
			await peer.expect(ack(1, { c: "join", room: "general" }, { c: "broadcast_to", room: "general", data: '{"type":"system"}', exclude: true },
				{ c: "send", data: '["a",1,null,true,"ä"]' }));
			const data = '"\\\n\x01🎉\\ud800';
			peer.send(event(2, "message", { data }));
			await peer.expect(ack(2, { c: "leave", room: "general" }, { c: "broadcast", data }, { c: "broadcast", data, exclude: true },
				{ c: "broadcast_to", room: "general", data, exclude: true }, { c: "join", room: "tea" }, { c: "leave", room: "tea" }, { c: "close" },
				{ c: "close", code: 3000, reason: "ü" }, { c: "close", code: 1000 }));
			peer.send(event(3, "error", { kind: "handler", error: "oh" }), event(4, "close", { code: 1001, reason: "bye", rooms: ["a"] }));
			await peer.expect(ack(3, { c: "send", data: '["oh","oh","handler",true]' }));
			await peer.expect(ack(4, { c: "broadcast_to", room: "general", data: '[1001,"bye",["a"]]' }));
			await drain(worker, peer);
		});

		test("conflation keys", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws, message) {
				send(ws, 1, { key: "ä" });
				ws.send("x", { key: message });
				broadcast(Buffer.from("xyz"), ws, { key: "k" });
				broadcast_to("r", "x", null, { key: "k" });
				broadcast("x", null, { key: null });
				try { broadcast("never", null, { key: 1 }); } catch (error) { ws.send(error.message); }
			} });`);
			peer.send(event(1, "message", { data: '"' }));
			await peer.expect(ack(1, { c: "send", key: "ä", data: "1" }, { c: "send", key: '"', data: "x" },
				{ c: "broadcast", key: "k", bin: Buffer.from("xyz"), exclude: true }, { c: "broadcast_to", room: "r", key: "k", data: "x" },
				{ c: "broadcast", data: "x" }, { c: "send", data: "a key is text, not number" }));
			await drain(worker, peer);
		});

		test("binary", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws, message) {
				if (message === "kinds") {
					ws.send(new Uint8Array([1, 2]).subarray(1)); ws.send(new Uint8Array([3]).buffer); ws.send(new Uint16Array([4]));
				} else {
					ws.send(message);
					if (message.length > 0 && typeof message !== "string") message.fill(0); // what was sent is a copy
				}
			} });`);
			const every = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.from("\n]\n")]);
			peer.send(event(1, "message", { bin: every }), event(2, "message", { bin: Buffer.alloc(0) }), event(3, "message", { data: "" }),
				event(4, "message", { state_bin: Buffer.from("\n\n"), bin: Buffer.from("xyz") }), event(5, "message", { data: "kinds" }));
			await peer.expect(ack(1, { c: "send", bin: every }));
			await peer.expect(ack(2, { c: "send", bin: Buffer.alloc(0) }));
			await peer.expect(ack(3, { c: "send", data: "" }));
			await peer.expect(ack(4, { c: "send", bin: Buffer.from("xyz") }));
			await peer.expect(ack(5, { c: "send", bin: Buffer.from([2]) }, { c: "send", bin: Buffer.from([3]) }, { c: "send", bin: Buffer.from([4, 0]) }));
			await drain(worker, peer);
		});

		for (const kind of ["", "async "])
			test(`one read, one answer: ${kind}`, async () => {
				const [worker, peer] = await host.serve(`serve({ ${kind}on_message(ws, message) { ws.send(message); } });`);
				const conn = (i) => `${String(i).padStart(21, "0")}Q`;
				peer.send(...Array.from({ length: 64 }, (_, i) => event(i + 1, "message", { conn: conn(i), data: "a" })));
				const settled = [];
				let batches = 0;
				for (; settled.length < 64; batches++) settled.push(...(await peer.receive()).map((item) => item.s));
				assert.deepEqual(settled, Array.from({ length: 64 }, (_, i) => i + 1));
				assert.ok(batches < 32, `${batches} batches`); // one, where nothing else has the processor meanwhile
				await drain(worker, peer);
			});

		// --- runs ---------------------------------------------------------------------------------------------------------------

		const RUN = (kind) => `
			let opened;
			const gate = new Promise((resolve) => (opened = resolve));
			serve({ ${kind} on_message(ws, message) {
				if (message === "open") opened();
				if (message === "wait") ${kind === "" ? ";" : "await gate;"}
				{
					const before = ws.state;
					if (message === "by id") set_state(ws.id, "by id");
					else if (Array.isArray(before)) before.push(message);
					else if (message === "list") ws.state = ["list"];
					else if (message !== "nothing") ws.state = (before ?? "") + message;
					if (message === "fail") throw new Error("no");
					if (message === "retry") throw new Retry(5);
					if (message === "push") push(() => set_state(ws, "pushed"));
					ws.send([before, current_event().sequence, current_event().attempt, ws.id]);
				}
			} });`;
		const following = (s, run, data) => ({ t: "message", s, run, ...(typeof data === "string" ? { data } : { bin: data }) });
		const runAck = (s, before, seq, state, conn = A) => {
			const sent = { c: "send", data: JSON.stringify([before, seq, 1, conn]) };
			if (state === undefined) return ack(s, sent);
			const set = { c: "set", state: JSON.stringify(state) };
			// A list is stored behind what the handler has commanded.
			return Array.isArray(state) && state.length > 1 ? ack(s, sent, set) : ack(s, set, sent);
		};

		for (const kind of ["", "async"]) {
			test(`the state goes from event to event of a run: ${kind}`, async () => {
				const [worker, peer] = await host.serve(RUN(kind));
				peer.send(event(1, "message", { seq: 4, data: "a", state: '"s"' }), following(2, 2, "b"), following(3, 3, "nothing"),
					following(4, 4, "c"), following(5, 5, "by id"), following(6, 6, "d"));
				const states = [[1, "s", "sa"], [2, "sa", "sab"], [3, "sab", undefined], [4, "sab", "sabc"], [5, "sabc", "by id"], [6, "by id", "by idd"]];
				for (const [s, before, state] of states) await peer.expect(runAck(s, before, s + 3, state));
				peer.send(event(7, "message", { data: "list", conn: B }), following(8, 2, "x"), following(9, 3, "y"));
				await peer.expect(runAck(7, null, 7, ["list"], B));
				await peer.expect(runAck(8, ["list", "x"], 8, ["list", "x"], B));
				await peer.expect(runAck(9, ["list", "x", "y"], 9, ["list", "x", "y"], B));
				await drain(worker, peer);
			});

			for (const how of ["fail", "retry"])
				test(`what follows a failure in a run is not handled: ${how} ${kind}`, async () => {
					const [worker, peer] = await host.serve(RUN(kind));
					peer.send(event(1, "message", { data: "a" }), following(2, 2, how), following(3, 3, "never"), following(4, 4, "never"),
						event(5, "message", { conn: B, data: "b" }));
					const got = [await peer.next(), await peer.next(), await peer.next()].sort((a, b) => a.s - b.s);
					assert.deepEqual([got[0], got[2]], [runAck(1, null, 1, "a"), runAck(5, null, 5, "b", B)]);
					assert.deepEqual([got[1].t, got[1].s, got[1].retry_ms !== undefined], ["nack", 2, how === "retry"]);
					peer.send(event(6, "message", { data: "c" }));
					await peer.expect(runAck(6, null, 6, "c"));
					await drain(worker, peer);
				});
		}

		test("a run waits for promises, and answers are not held back", async () => {
			const [worker, peer] = await host.serve(RUN("async"));
			peer.send(event(1, "message", { data: "a" }), following(2, 2, "wait"), following(3, 3, "c"), event(4, "message", { conn: B, data: "b" }));
			assert.deepEqual([(await peer.next()).s, (await peer.next()).s].sort(), [1, 4]);
			peer.send(event(5, "message", { conn: B, data: "open" }));
			await peer.expect(runAck(5, null, 5, "open", B));
			await peer.expect(runAck(2, "a", 2, "await"));
			await peer.expect(runAck(3, "await", 3, "awaitc"));
			await drain(worker, peer);
		});

		// The host has ended the run: its rest is not handled, and what comes instead is, in its turn.
		test("what the host gives again waits for what is under way", async () => {
			const [worker, peer] = await host.serve(RUN("async"));
			peer.send(event(1, "message", { data: "wait" }), following(2, 2, "stale"));
			peer.send(event(3, "message", { seq: 2, data: "fresh", state: '"theirs"' }), following(4, 2, "next"));
			peer.send(event(5, "message", { conn: B, data: "open" }));
			await peer.expect(runAck(5, null, 5, "open", B));
			await peer.expect(runAck(1, null, 1, "wait"));
			await peer.expect(runAck(3, "theirs", 2, "theirsfresh"));
			await peer.expect(runAck(4, "theirsfresh", 3, "theirsfreshnext"));
			await drain(worker, peer);
		});

		test("what is pushed is no state of a run", async () => {
			const [worker, peer] = await host.serve(RUN(""));
			peer.send(event(1, "message", { data: "push" }), following(2, 2, "b"));
			await peer.expect(runAck(1, null, 1, "push"));
			await peer.expect(runAck(2, "push", 2, "pushb"));
			assert.deepEqual((await peer.next()).commands, [{ c: "set", conn: A, state: '"pushed"' }]);
			await drain(worker, peer);
		});

		test("an event that follows none", async () => {
			const [, peer] = await host.serve(ECHO);
			peer.send(following(1, 2, "a"));
			await peer.expectEnd();
		});

		test("cuts anywhere", async () => {
			const [worker, peer] = await host.serve(ECHO);
			for (const step of [1, 2, 7, 8, 9, 10, 100]) {
				const bin = Buffer.alloc(20, "\n");
				await peer.sendCut(step, event(step, "message", { data: "ä".repeat(20) }), event(1000 + step, "message", { bin }));
				await peer.expect(ack(step, { c: "send", data: "ä".repeat(20) }));
				await peer.expect(ack(1000 + step, { c: "send", bin }));
			}
			const ping = peer.frame(Buffer.from('[{"t":"ping"}]'));
			const several = Buffer.concat([ping, ping, ping]);
			peer.socket.write(several.subarray(0, -5));
			await peer.expect({ t: "pong" });
			await peer.expect({ t: "pong" });
			peer.socket.write(several.subarray(-5));
			await peer.expect({ t: "pong" });
			await drain(worker, peer);
		});

		test("large messages", async () => {
			const [worker, peer] = await host.serve(ECHO);
			const data = "x".repeat(5_000_000);
			const bin = Buffer.alloc(5_000_000, "y");
			peer.send(event(1, "message", { data }), event(2, "message", { bin }));
			assert.equal((await peer.next()).commands[0].data, data);
			assert.ok((await peer.next()).commands[0].bin.equals(bin));
			await drain(worker, peer);
		});

		test("white space in a batch", async () => {
			const [worker, peer] = await host.serve(ECHO);
			const text = JSON.stringify([event(1, "message", { data: "a" }), event(2, "message", { bin: 3 })], null, 1);
			peer.socket.write(peer.frame(Buffer.from(`${text}\n]\n[`)));
			await peer.expect(ack(1, { c: "send", data: "a" }));
			await peer.expect(ack(2, { c: "send", bin: Buffer.from("]\n[") }));
			await drain(worker, peer);
		});

		test("slow handlers show signs of life", async () => {
			const [, peer] = await host.serve(`serve({ on_message() { const end = performance.now() + 50; while (performance.now() < end); } });`);
			peer.send(...[1, 2, 3, 4, 5].map((s) => event(s, "message", { data: "" })));
			assert.ok((await peer.receive()).length < 5);
		});

		test("other connections", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws) {
				send("${B}", "x"); join("${B}", "r"); broadcast("y", "${B}"); close(new Connection("${B}"), 1000); set_state("${B}", 1);
			} });`);
			peer.send(event(1, "message", { data: "" }));
			await peer.expect(ack(1, { c: "send", conn: B, data: "x" }, { c: "join", conn: B, room: "r" }, { c: "broadcast", data: "y", exclude: B },
				{ c: "close", conn: B, code: 1000 }, { c: "set", conn: B, state: "1" }));
			await drain(worker, peer);
		});

		test("what is not known is not made up", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws, what) {
				const other = new Connection("${B}");
				const ask = { request: () => ws.request, rooms: () => ws.rooms, state: () => other.state }[what];
				try { ws.send(ask()); } catch (error) { ws.send(error.message); }
				other.state = 1;
				ws.send(other.state);
			} });`);
			const set = [{ c: "set", conn: B, state: "1" }, { c: "send", data: "1" }];
			peer.send(...["request", "rooms", "state"].map((data, i) => event(1 + i, "message", { data })));
			await peer.expect(ack(1, { c: "send", data: "ws.request is known in on_open and on_back only; keep in ws.state what is needed later" }, ...set));
			await peer.expect(ack(2, { c: "send", data: "ws.rooms is known in on_close only; elsewhere the host can be asked: await rooms(ws)" }, ...set));
			await peer.expect(ack(3, { c: "send", data: "the state of a connection is known in events of its own, not for one that was asked for" }, ...set));
			await drain(worker, peer);
		});

		test("anything can be thrown", async () => {
			const [worker, peer] = await host.serve(`const odd = [
				Object.create(null), { toString() { throw 1; } }, Proxy.revocable({}, {}), undefined, Symbol("s"), null, { get message() { throw 2; } },
			];
			odd[2].revoke(); odd[2] = odd[2].proxy;
			serve({
				on_message(ws, m) { throw odd[m]; },
				async on_open(ws) { throw odd[0]; },
			});`);
			peer.send(...[0, 1, 2, 3, 4, 5, 6].map((n) => event(1 + n, "message", { data: String(n) })), opening(8));
			const text = "something was thrown that is no text";
			for (const [i, error] of [text, text, text, "undefined", "Symbol(s)", "null", "[object Object]", text].entries())
				await peer.expect({ t: "nack", s: 1 + i, error });
			await drain(worker, peer);
		});

		test("an await that was forgotten", async () => {
			const [, peer] = await host.serve(`serve({ on_message(ws, m) {
				if (m === "a") ws.close(count("a") >= 100 ? 1000 : 1001);
				if (m === "b") ws.send(\`\${count("b")}\`);
				if (m === "c") ws.send(count("c") + 1);
			} });`);
			peer.send(...["a", "b", "c"].map((data, i) => event(1 + i, "message", { data })));
			for (let s = 1; s <= 3; ) {
				const item = await peer.next();
				if (item.t === "query") continue;
				assert.equal(item.t, "nack");
				assert.equal(item.s, s++);
				assert.match(item.error, /await it/);
			}
		});

		test("request and event", async () => {
			const [worker, peer] = await host.serve(`serve({ on_open(ws) {
				const { method, path, query, mount, host, remote, local, tls, secure, subprotocols, cookies, claims } = ws.request;
				const { key, attempt, sequence, type } = current_event();
				ws.send([method, path, query, mount, host, remote, local, tls, secure, subprotocols, cookies, claims, ws.request.header("x-ONE"),
					ws.request.header("none") ?? "none", key === ws.id + ":1", attempt, sequence, type]);
			} });`);
			peer.send({ ...opening(1), attempt: 3 });
			const { remote, local } = REQUEST;
			await peer.expect(ack(1, { c: "send", data: JSON.stringify(["GET", "/chat/ä", "a=1", "/chat", "localhost", remote, local, null, true,
				["v1", "v2"], { a: "b", c: "d" }, { sub: "ada" }, "1", "none", true, 3, 1, "open"]) }));
			await drain(worker, peer);
		});

		test("members and types that nobody knows", async () => {
			const [worker, peer] = await host.serve(ECHO);
			peer.send({ t: "later" }, { t: "later", s: 1 }, event(2, "close", { code: 1000, reason: "", rooms: [] }), event(3, "message", { data: "a", more: [{}] }));
			await peer.expect(ack(1));
			await peer.expect(ack(2));
			await peer.expect(ack(3, { c: "send", data: "a" }));
			await drain(worker, peer);
		});

		// --- state

		test("state", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws, message) {
				if (message === "show") ws.send(ws.state);
				else ws.state = eval(message);
			} });`);
			peer.send(event(1, "message", { data: "show" }));
			await peer.expect(ack(1, { c: "send", data: "null" }));
			let s = 1;
			for (const [code, text] of [["'1'", "1"], ["1", "1"], ["({ a: [1, 'ä'] })", '{"a":[1,"ä"]}'], ["true", "true"], ["''", ""]]) {
				peer.send(event(++s, "message", { data: code }));
				const { c, ...command } = (await peer.next()).commands[0];
				assert.equal(c, "set");
				peer.send(event(++s, "message", { data: "show", ...command }));
				await peer.expect(ack(s, { c: "send", data: text }));
			}
			const bytes = Buffer.from([0, 255]);
			peer.send(event(50, "message", { data: "Buffer.from([0, 255])" }));
			await peer.expect(ack(50, { c: "set", state_bin: bytes }));
			peer.send(event(51, "message", { data: "show", state_bin: bytes }), event(52, "message", { data: "show", state: "no JSON" }));
			await peer.expect(ack(51, { c: "send", bin: bytes }));
			await peer.expect(ack(52, { c: "send", data: "no JSON" }));
			peer.send(event(53, "message", { data: "'x'.repeat(4094)" }), event(54, "message", { data: "'x'.repeat(4095)" }));
			assert.equal((await peer.next()).t, "ack");
			assert.match((await peer.next()).error, /4097 bytes/);
			await drain(worker, peer);
		});

		test("changes within the state", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws, message) { if (message) ws.state.n++; void ws.state.n; } });`);
			peer.send(event(1, "message", { data: "x", state: '{ "n" : 1 }' }), event(2, "message", { data: "", state: '{ "n" : 1 }' }));
			await peer.expect(ack(1, { c: "set", state: '{"n":2}' }));
			await peer.expect(ack(2));
			await drain(worker, peer);
		});

		// --- failures

		test("a handler that throws", async () => {
			const [worker, peer] = await host.serve(`serve({
				on_message(ws, message) { ws.send("never"); throw new RangeError("wrong: " + message); },
				async on_open(ws) { ws.send("never"); await null; throw "a string"; },
				async on_close(ws) { ws.state = 1; await null; ws.state = "x".repeat(5000); },
			});`);
			peer.send(event(1, "message", { data: "ä" }), opening(2), event(3, "close", { code: 1000, reason: "", rooms: [] }));
			await peer.expect({ t: "nack", s: 1, error: "RangeError: wrong: ä" });
			await peer.expect({ t: "nack", s: 2, error: "a string" });
			assert.match((await peer.next()).error, /RangeError: a state of 5002 bytes/);
			await drain(worker, peer);
			assert.match(worker.err, /on_message failed for event A{22}:1: RangeError: wrong: ä\n {4}at /);
		});

		for (const [command, text] of [
			["join(ws, 7)", "TypeError: the name of a room is text, not number"],
			["join(ws, '')", "RangeError: the name of a room has 1 to 255 bytes"],
			["leave(ws, 'ä'.repeat(128))", "RangeError: the name of a room has 1 to 255 bytes"],
			["broadcast_to('a\\0b', 'x')", "RangeError: the name of a room has 1 to 255 bytes"],
			["set_timer('x'.repeat(256), 1)", "RangeError: the name of a timer has 1 to 255 bytes"],
			["ws.close(1005)", "RangeError: a close code is 1000"],
			["ws.close(4000, 'ä'.repeat(62))", "RangeError: a reason has at most 123 bytes"],
			["join(null, 'a')", "TypeError: a connection is expected, not null"],
			["ws.send(undefined)", "TypeError: undefined can not be sent"],
			["ws.send(() => 1)", "TypeError: function can not be sent"],
			["ws.send(1n)", "TypeError"],
			["ws.send('\\ud800')", "TypeError: text with half a surrogate pair"],
			["join(ws, '\\udfff')", "TypeError: text with half"],
			["ws.send({ a: '\\ud800' }); throw 1", "1"], // within JSON it is an escape, and the text whole
			["ws.send(Buffer.alloc(65 << 20))", "RangeError"],
			["ws.close(undefined, 'why')", "TypeError: a reason needs a close code"],
			["ws.close('1000')", "TypeError: a close code"],
			["set_timer('a', -1)", "TypeError: delay_ms"],
			["set_timer('a', 0.5)", "TypeError: delay_ms"],
			["broadcast('a', 7)", "TypeError: a connection"],
			["throw new Error('\\ud800' + 'x'.repeat(5000))", "Error: ?xxx"],
		])
			test(`a command that can not be: ${command}`, async () => {
				const [worker, peer] = await host.serve(`serve({
					on_message(ws, message) { join(ws, "before"); ${command}; },
					on_open(ws) {
						ws.send(Buffer.from("1"));
						try { broadcast(Buffer.from("22"), 7); } catch { ws.send(Buffer.from("333")); }
					},
				});`);
				peer.send(event(1, "message", { data: "" }), opening(2));
				const got = await peer.next();
				assert.equal(got.t, "nack");
				assert.ok(got.error.startsWith(text) && got.error.length <= 1000, got.error);
				// A command that was refused leaves no bytes behind either.
				await peer.expect(ack(2, { c: "send", bin: Buffer.from("1") }, { c: "send", bin: Buffer.from("333") }));
				await drain(worker, peer);
			});

		test("retry", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws) { ws.send("never"); throw new Retry(500, "busy"); } });`);
			peer.send(event(1, "message", { data: "" }));
			await peer.expect({ t: "nack", s: 1, error: "busy", retry_ms: 500 });
			await drain(worker, peer);
		});

		test("a retry after a time that is none", async () => {
			const [worker, peer] = await host.serve(`const after = [-5, 1e300, NaN, Infinity, 0.5, "500", null, 3_600_001];
				serve({ on_message(ws, i) { throw new Retry(after[i]); } });`);
			for (let i = 0; i < 8; i++) {
				peer.send(event(i + 1, "message", { data: String(i) }));
				const got = await peer.next();
				assert.ok(got.t === "nack" && got.retry_ms === undefined && got.error.includes("after_ms"), JSON.stringify(got));
			}
			await drain(worker, peer);
		});

		test("a handler that ends the process", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws, message) { if (message === "exit") process.exit(3); ws.send(message); } });`);
			peer.send(event(1, "message", { data: "a" }), event(2, "message", { data: "exit" }), event(3, "message", { data: "b" }));
			await peer.expect(ack(1, { c: "send", data: "a" }));
			await peer.expectEnd();
			assert.equal(await worker.finish(), 3);
		});

		for (const body of ["{}", "[1]", "[", '[{"t":"ping"}]\nx', '[{"t":"message","s":1,"conn":"a","bin":2}]\nx', '[{"t":"message","s":1,"conn":"a","bin":-1}]'])
			test(`a batch that is none cuts the link: ${body}`, async () => {
				const [worker, peer] = await host.serve(ECHO);
				peer.socket.write(peer.frame(Buffer.from(body)));
				await peer.expectEnd();
				peer.close();
				assert.equal(await worker.finish(), 1);
				assert.match(worker.err, /batch/);
			});

		test("a peer that speaks something else", async () => {
			const accepted = host.accept();
			const worker = host.start(ECHO);
			const peer = await accepted;
			peer.socket.write("HTTP/1.1 400 Bad Request\r\n\r\n");
			assert.equal(await worker.finish(), 1);
			assert.match(worker.err, /PAIR0/);
		});

		test("a lie about length", async () => {
			const [worker, peer] = await host.serve(ECHO);
			peer.socket.write(Buffer.concat([Buffer.from(host.ipc ? [1] : []), Buffer.alloc(8, 255)]));
			await peer.expectEnd();
			assert.equal(await worker.finish(), 1);
			assert.match(worker.err, /too long/);
		});

		// --- async

		test("async handlers run at the same time", async () => {
			const [worker, peer] = await host.serve(`
				let open; const gate = new Promise((resolve) => (open = resolve));
				serve({ async on_message(ws, message) {
					ws.send("first " + message);
					if (message === "open") open();
					await gate;
					join(ws, message);
					await new Promise((resolve) => setTimeout(resolve, 5));
					broadcast(message, ws);
				} });`);
			peer.send(event(1, "message", { data: "a" }), event(2, "message", { conn: B, data: "b" }), { t: "ping" });
			await peer.expect({ t: "pong" });
			peer.send(event(3, "message", { conn: "C", data: "open" }));
			const got = [await peer.next(), await peer.next(), await peer.next()].sort((a, b) => a.s - b.s);
			assert.deepEqual(got, ["a", "b", "open"].map((data, i) =>
				ack(i + 1, { c: "send", data: `first ${data}` }, { c: "join", room: data }, { c: "broadcast", data, exclude: true })));
			await drain(worker, peer);
		});

		test("what outlives its handler pushes", async () => {
			const [worker, peer] = await host.serve(`serve({ on_message(ws) {
				setTimeout(() => { if (currentEvent() === undefined) ws.send("later"); }, 10);
				ws.send("now");
			} });`);
			peer.send(event(1, "message", { data: "" }));
			await peer.expect(ack(1, { c: "send", data: "now" }));
			const { source, n, ...got } = await peer.next();
			assert.deepEqual(got, { t: "push", commands: [{ c: "send", conn: A, data: "later" }] });
			peer.send({ t: "done", source, n });
			await drain(worker, peer);
		});

		// --- upgrades and timers

		for (const [result, answer] of [
			["undefined", {}],
			["true", {}],
			["accept()", { accept: {} }],
			["accept({ subprotocol: 'v1', headers: [['X-A', 'b']], state: { user: 1 } })", { accept: { subprotocol: "v1", headers: [["X-A", "b"]], state: '{"user":1}' } }],
			["accept({ headers: { 'X-A': 1 } })", { accept: { headers: [["X-A", "1"]] } }],
			["accept({ state: Buffer.from('\\0\\n') })", { accept: { state_bin: Buffer.from("\0\n") } }],
			["refuse(404, new Uint8Array([255]))", { refuse: { status: 404, type: "text/plain; charset=utf-8", bin: Buffer.from([255]), headers: [] } }],
			["false", { refuse: { status: 403, type: "text/plain; charset=utf-8", body: "", headers: [] } }],
			["refuse(401, 'no', { headers: { 'WWW-Authenticate': 'Basic' } })",
				{ refuse: { status: 401, type: "text/plain; charset=utf-8", body: "no", headers: [["WWW-Authenticate", "Basic"]] } }],
		])
			for (const kind of ["", "async "])
				test(`upgrade: ${kind}${result}`, async () => {
					const [worker, peer] = await host.serve(`serve({ ${kind}on_upgrade(request) { broadcast(Buffer.from(request.path)); return ${result}; } });`);
					peer.send(ofMount(1, "upgrade", { request: REQUEST }));
					await peer.expect({ t: "ack", s: 1, ...answer, commands: [{ c: "broadcast", bin: Buffer.from("/chat/ä") }] });
					await drain(worker, peer);
				});

		test("an upgrade that returns nonsense", async () => {
			const [worker, peer] = await host.serve("serve({ on_upgrade() { return 403; } });");
			peer.send(ofMount(1, "upgrade", { request: REQUEST }));
			assert.match((await peer.next()).error, /on_upgrade returns/);
			await drain(worker, peer);
		});

		test("timers", async () => {
			const [worker, peer] = await host.serve(`serve({
				on_open(ws) {
					set_timer("one", 1000, { ws });
					setTimer("all", 500, { periodMs: 250, id: 7 });
					set_timer("all", 500, { period_ms: 250, id: 7 });
					cancel_timer("one", ws);
					cancel_timer("all");
				},
				on_timer(name, id, ws) { if (ws) ws.send([name, id]); else broadcast([name, id]); },
			});`);
			peer.send(opening(1));
			const all = { c: "timer", name: "all", id: 7, delay: 500, period: 250 };
			await peer.expect(ack(1, { c: "timer", name: "one", id: 0, delay: 1000, period: 0, conn: A }, all, all,
				{ c: "cancel", name: "one", conn: A }, { c: "cancel", name: "all" }));
			peer.send(event(2, "timer", { name: "one", id: 1, delay: 1, period: 0 }), ofMount(3, "timer", { name: "all", id: 7, delay: 1, period: 1 }));
			await peer.expect(ack(2, { c: "send", data: '["one",1]' }));
			await peer.expect(ack(3, { c: "broadcast", data: '["all",7]' }));
			await drain(worker, peer);
		});

		// --- on_start

		for (const [handler, text] of [
			["on_start() { broadcast('never'); throw new Error('no database'); }", "Error: no database"],
			["async on_start() { broadcast('never'); await null; throw new Error('two\\nlines'); }", "Error: two lines"],
			["on_start() { broadcast(Buffer.alloc(60 << 20)); broadcast(Buffer.alloc(60 << 20)); }", "RangeError: "],
			["async on_start() { broadcast(Buffer.alloc(60 << 20)); broadcast(Buffer.alloc(60 << 20)); }", "RangeError: "],
			["onStart() { throw undefined; }", "undefined"],
			["on_start() { throw Object.create(null); }", "something was thrown that is no text"],
		])
			for (const supervised of [true, false])
				test(`a worker whose start fails is never ready: ${handler}, supervised: ${supervised}`, async () => {
					const accepted = host.accept();
					const worker = host.start(`serve({ on_message() {}, ${handler} });`, { supervised });
					const peer = await accepted;
					assert.equal((await peer.welcome("L1", { starting: true })).starting, true);
					await peer.expectEnd();
					assert.equal(await worker.finish(), 1, worker.err);
					assert.ok(worker.err.split("\n").some((line) => line.startsWith("tova: this worker ends, as its on_start failed: ") && line.includes(text)), worker.err);
				});

		test("a start that fails for a link that is lost comes again", async () => {
			const accepted = host.accept();
			const worker = host.start(`let n = 0; serve({
				async on_start() {
					if (++n > 1) return;
					await new Promise((resolve) => setTimeout(resolve, 500));
					throw new Error("too late");
				},
				on_message(ws, message) { ws.send(message); } });`, { supervised: false });
			const first = await accepted;
			await first.welcome("L1", { starting: true });
			const again = host.accept();
			first.close();
			const peer = await again;
			await peer.welcome("L2", { starting: true });
			await peer.expect({ t: "ready" });
			await worker.printed("too late");
			peer.send(event(1, "message", { data: "x" }));
			await peer.expect(ack(1, { c: "send", data: "x" }));
			await drain(worker, peer);
		});

		// --- pushes and queries

		test("pushes", async () => {
			const [worker, peer] = await host.serve(`
				broadcast("before serve");
				serve({ on_start() { work(); } });
				async function work() {
					await push(() => { broadcast_to("a", Buffer.from("bytes")); send("X", 1); });
					try { push(() => { broadcast("never"); throw new Error("so"); }); } catch {}
					await push(async () => { broadcast("never"); await null; throw new Error("so"); }).catch(() => {});
					push(async () => { broadcast("never"); await null; throw new Error("nobody cares"); });
					await push(() => {});
					await push(async () => { await null; join("X", "refused"); }).catch((error) => { if (error instanceof TovaError) broadcast(error.message); });
					push(() => join("X", "refused"));
				}`);
			const first = await peer.next();
			const source = first.source;
			assert.ok(source.length >= 1 && source.length <= 64);
			const next = (n, ...commands) => ({ t: "push", source, n, commands });
			const all = [first, await peer.next()].sort((a, b) => a.n - b.n);
			assert.deepEqual(all, [next(1, { c: "broadcast", data: "before serve" }),
				next(2, { c: "broadcast_to", room: "a", bin: Buffer.from("bytes") }, { c: "send", conn: "X", data: "1" })]);
			peer.send({ t: "done", source, n: 1 }, { t: "done", source, n: 2, repeated: true });
			await peer.expect(next(3, { c: "join", conn: "X", room: "refused" }));
			peer.send({ t: "done", source, n: 3, error: "a bad name" });
			await peer.expect(next(4, { c: "broadcast", data: "a bad name" }));
			await peer.expect(next(5, { c: "join", conn: "X", room: "refused" }));
			peer.send({ t: "done", source, n: 4 }, { t: "done", source, n: 5, error: "a bad name" });
			await drain(worker, peer);
			assert.match(worker.err, /nobody cares/);
			assert.match(worker.err, /refused a push: a bad name/);
		});

		test("a push in a handler stands alone", async () => {
			const [, peer] = await host.serve(`serve({ on_message(ws) {
				ws.send("mine");
				push(() => { ws.send("pushed"); broadcast("x", ws); });
				throw new Error("undone");
			} });`);
			peer.send(event(1, "message", { data: "" }));
			const got = [await peer.next(), await peer.next()].sort((a, b) => (a.t < b.t ? -1 : 1));
			assert.equal(got[0].t, "nack");
			assert.deepEqual(got[1].commands, [{ c: "send", conn: A, data: "pushed" }, { c: "broadcast", data: "x", exclude: A }]);
		});

		test("what the connection loses is pushed again", async () => {
			const [worker, first] = await host.serve(`
				let started = false;
				serve({ async on_start() {
					if (started) return;
					started = true;
					work();
				} });
				async function work() {
					await Promise.all([0, 1, 2].map((i) => push(() => broadcast(String(i)))));
					broadcast("all done");
				}`, { supervised: false });
			const sent = [await first.next(), await first.next(), await first.next()];
			const source = sent[0].source;
			assert.deepEqual(sent.map((item) => item.n), [1, 2, 3]);
			first.send({ t: "done", source, n: 1 }, { t: "ping" });
			await first.expect({ t: "pong" });
			const accepted = host.accept();
			first.close();
			const peer = await accepted;
			await peer.welcome("L2");
			await peer.expect(sent[1]);
			await peer.expect(sent[2]);
			peer.send({ t: "done", source, n: 2, repeated: true }, { t: "done", source, n: 3 });
			const last = await peer.next();
			assert.notEqual(last.source, source);
			assert.equal(last.n, 1);
			assert.deepEqual(last.commands, [{ c: "broadcast", data: "all done" }]);
			peer.send({ t: "done", source: last.source, n: 1 });
			await drain(worker, peer);
		});

		test("too much that waits", async () => {
			const [, peer] = await host.serve(`serve({ on_message(ws) {
				push(() => broadcast(Buffer.alloc(40 << 20)));
				try { push(() => broadcast(Buffer.alloc(40 << 20))); } catch (error) { ws.send(error.name); }
			} });`);
			peer.send(event(1, "message", { data: "" }));
			await peer.expect(ack(1, { c: "send", data: "TovaError" }));
		});

		test("queries", async () => {
			const [worker, peer] = await host.serve(`serve({ async on_message(ws) {
				const found = [(await members("r")).map((c) => c.id), await count("r"), await rooms(ws), (await connections()).length, await stats()];
				ws.send(found);
				try { await count("r"); } catch (error) { ws.send(error.message); }
				count("nobody waits");
			} });`);
			peer.send(event(1, "message", { data: "" }));
			for (const [asked, answer] of [
				[{ what: "members", room: "r", limit: 1000 }, { count: 2, members: [{ conn: B, user: "ann" }], next: B }],
				[{ what: "members", room: "r", limit: 1000, after: B }, { count: 2, members: [{ conn: A, info: "x" }] }],
				[{ what: "count", room: "r" }, { count: 3 }],
				[{ what: "rooms", conn: A }, { count: 1, rooms: ["r"] }],
				[{ what: "connections" }, { count: 0, connections: [] }],
				[{ what: "stats" }, { stats: { connections: 5 } }],
				[{ what: "count", room: "r" }, { error: "no" }],
			]) {
				const { q, ...got } = await peer.next();
				assert.deepEqual(got, { t: "query", ...asked });
				peer.send({ t: "reply", q, ...answer });
			}
			const got = [await peer.next(), await peer.next()].sort((a, b) => (a.t < b.t ? -1 : 1));
			assert.deepEqual(got[0], ack(1, { c: "send", data: `[["${B}","${A}"],3,["r"],0,{"connections":5}]` }, { c: "send", data: "no" }));
			peer.send({ t: "reply", q: got[1].q, error: "no" });
			await drain(worker, peer);
		});

		// --- the end of a link

		test("drain settles what is under way", async () => {
			const [worker, peer] = await host.serve(`
				let open; const gate = new Promise((resolve) => (open = resolve));
				setInterval(() => {}, 1000); // would keep the process alive
				serve({
					async on_message(ws) { await gate; ws.send("done"); },
					on_timer() { setTimeout(open, 200); },
					on_stop() { broadcast("worker leaves"); },
				});`);
			peer.send(event(1, "message", { data: "" }), ofMount(2, "timer", { name: "a", id: 1, delay: 1, period: 0 }), { t: "drain" });
			await peer.expect(ack(2));
			await peer.expect(ack(1, { c: "send", data: "done" }));
			const { source, n, commands } = await peer.next();
			assert.deepEqual(commands, [{ c: "broadcast", data: "worker leaves" }]);
			peer.send({ t: "done", source, n });
			await peer.expect({ t: "bye" });
			peer.close();
			assert.equal(await worker.finish(), 0);
		});

		for (const supervised of [true, false])
			test(`TERM does the same, supervised: ${supervised}`, async () => {
				const [worker, peer] = await host.serve(`serve({ async on_message(ws) {
					console.log("started");
					await new Promise((resolve) => setTimeout(resolve, 200));
					ws.send("finished");
				} });`, { supervised });
				peer.send(event(1, "message", { data: "" }));
				await worker.printed("started", "out");
				worker.process.kill("SIGTERM");
				await peer.expect(ack(1, { c: "send", data: "finished" }));
				await peer.expect({ t: "bye" });
				peer.send(event(2, "message", { data: "too late" }));
				await peer.expectEnd(); // it says no more
				peer.close();
				assert.equal(await worker.finish(), 0);
			});

		test("INT of a terminal", async () => {
			const [worker, peer] = await host.serve(ECHO);
			worker.process.kill("SIGINT");
			peer.send(event(1, "message", { data: "a" }));
			await peer.expect(ack(1, { c: "send", data: "a" }));
			await drain(worker, peer);
			const [attached, other] = await host.serve(ECHO, { supervised: false });
			attached.process.kill("SIGINT");
			await other.expect({ t: "bye" });
			other.close();
			assert.equal(await attached.finish(), 0);
		});

		test("a supervised worker ends with its host", async () => {
			const [worker, peer] = await host.serve(ECHO);
			peer.close();
			assert.equal(await worker.finish(), 1);
			assert.match(worker.err, /the host is gone/);
			assert.doesNotMatch(worker.err, /\n\s+at /);
		});

		test("an attached worker comes back", async () => {
			const [worker, first] = await host.serve(`serve({ async on_message(ws, message) {
				if (message === "wait") {
					const { signal } = currentEvent();
					await new Promise((resolve) => signal.addEventListener("abort", resolve));
					console.log("given up");
				}
				ws.send(message);
			} });`, { supervised: false });
			first.send(event(1, "message", { data: "wait" }), event(2, "message", { conn: B, data: "b" }));
			await first.expect(ack(2, { c: "send", data: "b" }));
			await host.stopListening();
			await worker.printed("given up", "out");
			await worker.printed("the connection to the host ended");
			await worker.printed("can not reach the host");
			const accepted = host.accept();
			await host.listen();
			const peer = await accepted;
			assert.deepEqual((await peer.welcome("L2")).events, ["message"]);
			peer.send(event(1, "message", { data: "a", attempt: 2 }));
			await peer.expect(ack(1, { c: "send", data: "a" }));
			await drain(worker, peer);
		});

		test("TERM while there is no host", async () => {
			await host.stopListening();
			const worker = host.start(ECHO, { supervised: false });
			await worker.printed("can not reach the host");
			worker.process.kill("SIGTERM");
			assert.equal(await worker.finish(), 0);
			await host.listen();
		});

		for (const supervised of [true, false])
			test(`a refused hello ends the worker, supervised: ${supervised}`, async () => {
				const accepted = host.accept();
				const worker = host.start(ECHO, { supervised });
				const peer = await accepted;
				peer.socket.write(HANDSHAKE);
				await peer.read(8);
				assert.equal((await peer.next()).t, "hello");
				peer.send({ t: "bye", error: "wrong token" });
				assert.equal(await worker.finish(), 1);
				assert.match(worker.err, /wrong token/);
			});

		test("a later bye of the host is no refusal", async () => {
			const [worker, peer] = await host.serve(ECHO, { supervised: false });
			const accepted = host.accept();
			peer.send({ t: "bye", error: "a reason" });
			await worker.printed("a reason");
			await (await accepted).welcome("L2");
		});

		test("a host that does not read", async () => {
			const [worker, peer] = await host.serve(ECHO);
			peer.socket.pause();
			for (let s = 1; s <= 200; s++) peer.send(event(s, "message", { data: "x".repeat(100_000) }));
			peer.socket.resume();
			for (let s = 1; s <= 200; s++) assert.equal((await peer.next()).s, s);
			await drain(worker, peer);
		});
	});
