/** The harness: that what holds in a host holds in it, and that a wrong handler does not pass. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
	broadcast, broadcast_to, close_room, count, current_event, accept, history, info, join, leave_all, members, push, refuse, room_state, set_room,
	set_timer, unwatch, users, watch,
} from "../index.mjs";
import { Host, Refused } from "../testing.mjs";

const good = {
	on_upgrade(request) {
		if (request.path === "/closed") return refuse(403, "not here");
		return accept({ state: { name: request.claims?.sub ?? "nobody" } });
	},
	on_open(ws) {
		join(ws, "all");
		ws.send(`hello ${ws.state.name}`);
	},
	async on_message(ws, message) {
		ws.state = { ...ws.state, said: (ws.state.said ?? 0) + 1 };
		broadcast_to("all", `${ws.state.said} ${message}`, ws);
		if (message === "fail") throw new Error("no");
		if (message === "later") set_timer("t", 100, { ws });
		if (message === "count") ws.send(`${await count("all")} here`);
		if (message === "twice" && current_event().attempt > 1) ws.send("again");
		if (message === "close") {
			ws.close(4000, "bye");
			ws.send("too late");
		}
	},
	on_timer(name, id, ws) {
		ws.send("rang");
	},
	on_error(ws, error) {
		ws.send(`${error.kind}: ${error.message}`);
	},
	on_close(ws, code) {
		broadcast(`left ${code} ${ws.rooms}`);
	},
	on_away(ws, code) {
		broadcast_to("all", `away ${code}`, ws);
		ws.send("meanwhile");
	},
	on_back(ws) {
		ws.send(`back at ${ws.request.path}`);
	},
};

async function withHost(handlers, body) {
	const host = await Host.start(handlers);
	try {
		await body(host);
	} finally {
		await host.end();
	}
}

test("a conversation", () => withHost(good, async (host) => {
	const ann = await host.connect("/", { claims: { sub: "ann" } }), bob = await host.connect();
	assert.equal(ann.receive(), "hello ann");
	assert.equal(bob.receive(), "hello nobody");
	await ann.send("hi");
	assert.equal(bob.receive(), "1 hi");
	assert.deepEqual(ann.state, { name: "ann", said: 1 });
	assert.ok(host.quiet());
	assert.deepEqual(host.members("all"), [ann, bob]);
	await assert.rejects(host.connect("/closed"), (error) => error instanceof Refused && error.status === 403);
}));

test("away and back", () => withHost(good, async (host) => {
	const ann = await host.connect(), bob = await host.connect();
	ann.receive(), bob.receive();
	await ann.away();
	assert.equal(bob.receive(), "away 1006");
	assert.deepEqual(host.members("all"), [ann, bob]);
	await ann.back("/again");
	assert.equal(ann.receive(), "meanwhile");
	assert.equal(ann.receive(), "back at /again");
}));

test("a failure undoes all of it", () => withHost(good, async (host) => {
	const ann = await host.connect(), bob = await host.connect();
	ann.receive(), bob.receive();
	await ann.send("fail");
	assert.match(ann.raised, /no/);
	assert.deepEqual(ann.state, { name: "nobody" });
	assert.match(ann.receive(), /^handler: .*no/);
	assert.ok(host.quiet());
}));

test("timers, queries, an event once more, the end", () => withHost(good, async (host) => {
	const ann = await host.connect(), bob = await host.connect();
	ann.receive(), bob.receive();
	await ann.send("later");
	assert.equal(bob.receive(), "1 later");
	assert.deepEqual(host.timers(ann), ["t"]);
	assert.equal(await host.passTime(99), 0);
	assert.equal(await host.passTime(1), 1);
	assert.equal(ann.receive(), "rang");
	await ann.send("count");
	assert.equal(ann.receive(), "2 here");
	await ann.send("twice");
	await ann.send("twice", { attempt: 2 });
	assert.equal(ann.receive(), "again");
	bob.received.length = 0;
	await ann.send("close");
	assert.equal(ann.closed, 4000);
	assert.ok(ann.gone && ann.received.length === 0);
	assert.deepEqual(bob.received, ["5 close", "left 4000 all"]);
	await assert.rejects(ann.send("x"), /has gone/);
}));

test("a wrong handler does not pass", () => withHost({
	on_message(ws) {
		ws.send("told");
		throw new Error("after all");
	},
}, async (host) => {
	const ann = await host.connect();
	await ann.send("x");
	assert.throws(() => ann.receive(), /nothing more/);
}));

const present = {
	on_open(ws) {
		info(ws, { at: ws.request.path }, { user: ws.request.query || undefined });
		if (ws.request.path === "/full") join(ws, "all", { max: 2 });
		join(ws, "all", { users_max: 3 });
	},
	async on_message(ws, message) {
		if (message === "who") ws.send([(await members("all")).map(({ user, info }) => [user, info]), await users("all")]);
		if (message === "first") join(ws, "first", { first: true });
		if (message === "replace") join(ws, "all", { replace: true });
		if (message === "clear") close_room("all", 4001, "cleared", { exclude: ws });
		if (message === "others") broadcast_to(["all", "first"], `${ws.user} ${ws.claims}`, null, { exclude_users: ["bob"], exclude_rooms: ["first"] });
		if (message === "leave") leave_all(ws);
	},
};

test("who is there", () => withHost(present, async (host) => {
	const come = (path, query) => host.connect(path, { query });
	const ann = await come("/x", "ann"), bob = await come("/x", "bob"), again = await come("/x", "ann");
	assert.equal(ann.user, "ann");
	await ann.send("who");
	assert.deepEqual(JSON.parse(ann.receive()), [[["ann", '{"at":"/x"}'], ["bob", '{"at":"/x"}'], ["ann", '{"at":"/x"}']], ["ann", "bob"]]);
	const full = await come("/full", "");
	assert.match(full.raised, /max/);
	assert.equal(full.info, undefined);
	const eve = await come("/x", "eve"), late = await come("/x", "late");
	assert.match(late.raised, /users_max/);
	assert.deepEqual(host.members("all"), [ann, bob, again, eve]);
	await ann.send("first");
	await bob.send("first");
	assert.match(bob.raised, /first/);
	await bob.send("others");
	assert.deepEqual([ann, bob, again, eve].map((ws) => ws.received.length), [0, 0, 1, 1]);
	await eve.send("leave");
	assert.equal(eve.rooms.size, 0);
	await again.send("clear");
	assert.deepEqual([ann.closed, bob.closed, host.members("all").length], [4001, 4001, 1]);
	const back = await come("/x", "ann");
	await back.send("replace");
	assert.equal(again.closed, 4409);
}));

test("claims at each event", () => withHost({
	on_open: (ws) => ws.send([ws.user, ws.claims.role]),
	on_message: (ws) => ws.send([ws.user, ws.claims.role]),
}, async (host) => {
	const ann = await host.connect("/", { claims: { sub: "ann", role: "admin" } });
	await ann.send("x");
	assert.equal(ann.receive(), '["ann","admin"]');
	assert.equal(ann.receive(), '["ann","admin"]');
}));

test("rooms remember", async () => {
	let pushed;
	const handlers = {
		async on_message(ws, message) {
			const [verb, n] = message.split(" ");
			if (verb === "last") ws.join("r", { last: +n });
			else if (verb === "since") join(ws, "r", { since: +n, epoch: 1 });
			else if (verb === "fail") join(ws, "r", { since: +n, epoch: 1, else: "fail" });
			else if (verb === "tell") {
				const { last, complete, messages } = await history("r", { limit: 2 });
				ws.send(`${last} ${complete} ${messages.map((m) => m.data)}`);
			} else if (verb === "push") pushed = push(() => broadcast_to("r", Buffer.from("pushed")));
			else broadcast_to("r", message, ws, { keep: verb !== "hint" });
		},
	};
	await withHost(handlers, async (host) => {
		const a = await host.connect(), b = await host.connect();
		for (const text of ["one", "two", "hint", "three"]) await a.send(text);
		await a.send("last 2");
		assert.deepEqual([a.receive(), a.receive()], ["two", "three"]);
		await b.send("since 1");
		assert.deepEqual([b.receive(), b.receive()], ["two", "three"]);
		await b.send("since 9");
		assert.deepEqual([b.receive(), b.receive(), b.receive()], ["one", "two", "three"]);
		await b.send("fail 9");
		assert.match(b.raised, /remember/);
		await a.send("tell");
		assert.equal(a.receive(), "3 true two,three");
		await a.send("push");
		assert.equal(a.receive().toString(), "pushed");
		assert.deepEqual(await pushed, { offset: 4, epoch: 1 });
	});
	for (const wrong of [{ since: 3 }, { epoch: 3 }, { last: -1 }, { since: 0, else: "x" }, { else: "fail" }])
		assert.throws(() => join("x", "r", wrong));
});

test("what is kept with a room", async () => {
	let host;
	const handlers = {
		on_open(ws) {
			assert.equal(ws.room, null);
			join(ws, "doc");
		},
		async on_message(ws, message) {
			const { attempt } = current_event();
			if (message === "race") host.setRoom("doc", ["theirs", attempt]);
			if (message === "again" && attempt === 1) host.setRoom("doc", ["theirs"]);
			if (message === "ask") {
				const { state, version } = await room_state("doc");
				ws.send([state, version > 0]);
			} else if (message === "bytes") set_room(ws.room, Buffer.from([255]));
			else if (message === "nothing") set_room(ws.room, null);
			else {
				set_room(ws.room, [...(ws.room.state ?? []), message]);
				broadcast_to(ws.room.name, message);
			}
		},
	};
	host = await Host.start(handlers, { room_state: true });
	const ann = await host.connect(), bob = await host.connect();
	await ann.send("one");
	await bob.send("two");
	assert.deepEqual(host.roomState("doc"), ["one", "two"]);
	assert.deepEqual([ann.receive(), ann.receive()], ["one", "two"]);
	await bob.send("again");
	assert.deepEqual([bob.raised, host.roomState("doc"), ann.receive()], [undefined, ["theirs", "again"], "again"]);
	await bob.send("race");
	assert.match(bob.raised, /another version/);
	assert.deepEqual([host.roomState("doc"), ann.received], [["theirs", 11], []]);
	await ann.send("ask");
	assert.equal(ann.receive(), '[["theirs",11],true]');
	await ann.send("bytes");
	assert.deepEqual(host.roomState("doc"), Buffer.from([255]));
	await ann.send("nothing");
	assert.equal(host.roomState("doc"), null);
	await bob.send("fresh");
	assert.deepEqual(host.roomState("doc"), ["fresh"]);
	host.setRoom("doc", new Uint8Array([1, 255]));
	assert.deepEqual(host.roomState("doc"), Buffer.from([1, 255]));
	assert.throws(() => host.setRoom("doc", "x".repeat(65536)), /at most 65536 with a room/);
	await host.end();
	await withHost({ on_message: (ws) => ws.send(ws.room.name) }, async (host) => {
		const ann = await host.connect();
		await ann.send("x");
		assert.match(ann.raised, /room_state: true/);
	});
	for (const wrong of [["r", 1], ["r", 1, -1], ["", 1, 0], ["r", "x".repeat(65536), 0], ["r", 1, "x"]]) assert.throws(() => set_room(...wrong));
});

test("an upgrade says who it is", async () => {
	const handlers = {
		on_upgrade: ({ path, query }) => accept({ user: query || undefined, info: { at: path } }),
		on_open: (ws) => ws.send([ws.user, ws.info]),
	};
	await withHost(handlers, async (host) => {
		const ann = await host.connect("/", { query: "ann" });
		assert.deepEqual([ann.user, ann.receive()], ["ann", '["ann","{\\"at\\":\\"/\\"}"]']);
		await assert.rejects(host.connect("/", { query: "x".repeat(256) }), Refused);
	});
});

const watched = {
	on_open: (ws) => join(ws, "all"),
	async on_message(ws, message) {
		const [word, first, second] = message.split(" ");
		if (word === "user") info(ws, `of ${first}`, { user: first });
		if (word === "watch") watch(first, { graceMs: Number(second) });
		if (word === "join") ws.join(first);
		if (word === "leave") ws.leave(first);
		if (word === "who") ws.send(await users(first));
	},
	on_join: (who) => broadcast_to("all", `in ${who.room} ${who.user} ${who.info} ${who.users} ${who.ws.user}`),
	async on_leave(who) {
		broadcast_to("all", `out ${who.room} ${who.user} ${who.info} ${who.users}`);
		if (who.users === 0) unwatch(who.room, { if_empty: true });
	},
};

test("who comes and goes", () => withHost(watched, async (host) => {
	const [ann, tab, bob, guest] = [await host.connect(), await host.connect(), await host.connect(), await host.connect()];
	const heard = () => bob.received.splice(0);
	for (const [ws, name] of [[ann, "ann"], [tab, "ann"], [bob, "bob"]]) await ws.send(`user ${name}`);
	await ann.send("join r");
	await ann.send("watch r 5000");
	assert.deepEqual(heard(), ["in r ann of ann 1 ann"]);
	for (const ws of [tab, guest, bob]) await ws.send("join r");
	assert.deepEqual(heard(), ["in r null null 2 null", "in r bob of bob 3 bob"]);
	await ann.send("leave r");
	await guest.close(1006); // nobody in particular is not waited for
	await tab.close(1001);
	assert.deepEqual(heard(), ["out r null null 2"]);
	await bob.send("who r");
	assert.deepEqual(heard(), ['["ann","bob"]']);
	await host.passTime(4999);
	await ann.send("join r");
	await host.passTime(5000);
	assert.deepEqual(heard(), []);
	await ann.close(1001);
	await host.passTime(4999);
	assert.deepEqual(heard(), []);
	await host.passTime(1);
	assert.deepEqual(heard(), ["out r ann of ann 1"]);
	await bob.send("leave r");
	assert.deepEqual(heard(), ["out r bob of bob 0"]);
	await bob.send("join r"); // nobody watches any more
	assert.deepEqual(heard(), []);
	await bob.send("watch r 5000");
	assert.deepEqual(heard(), ["in r bob of bob 1 bob"]);
	for (const wrong of [() => watch(""), () => watch("r", { grace_ms: 3_600_001 }), () => watch("r", { grace_ms: -1 }), () => unwatch("a\0b")])
		assert.throws(wrong);
}));
