/** Many random lives of a connection: cuts at any moment, late timers, silent networks, a host that is started again, pages that are
 * loaded anew. Whatever happens, each message takes effect once and in order, or its sender is told. SEEDS=from-to runs others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { TovaSocket } from "../tova.js";
import { dice, World } from "./fake_world.mjs";

const [FIRST, LAST] = (process.env.SEEDS ?? "1-150").split("-").map(Number);

/** The host's handler: keeps what it was given, answers some of it, fails at some, and takes its time. */
class Handler {
	given = []; // numbers of the client's messages, as they took effect
	failed = new Set();
	said = 0;

	constructor(random) {
		this.random = random;
	}

	async message(session, data) {
		const number = Number(data.replace(/^\u0001*/, ""));
		this.given.push(number);
		session.mine.push(number);
		if (this.random() < 0.3)
			await new Promise((resolve) => setTimeout(resolve, this.random() * 3000));
		if (this.random() < 0.5)
			this.say(session);
		if (this.random() < 0.1) {
			this.failed.add(number);
			throw new Error("as the dice fell");
		}
	}

	open(session) {
		session.mine = [];
		session.said = [];
	}

	say(session) {
		const number = ++this.said;
		session.said.push(number);
		session.send(this.random() < 0.1 ? `\u0001${number}` : `${number}`);
	}
}

/** The page: knows what it sent, got, and was told. */
class Page {
	heard = []; // numbers, and { missed }
	failed = new Set();
	lost = new Set();
	pending = new Set(); // promises of sent()

	constructor(handler) {
		this.handler = handler;
		this.count = 0;
	}

	load() {
		this.pending.clear(); // those of the page before
		const socket = (this.socket = new TovaSocket("ws://fake/", [], { store: "page", ping: 5000, timeout: 3000 }));
		socket.onmessage = ({ data }) => this.socket === socket && this.heard.push(Number(data.replace(/^\u0001/, "")));
		socket.onfailed = ({ data }) => this.failed.add(this.number(data));
		socket.onlost = ({ missed, messages, done, sent }) => {
			assert.ok(missed || messages.length <= sent - done);
			for (const data of messages)
				this.lost.add(this.number(data));
			this.heard.push({ missed });
		};
	}

	number(data) {
		return Number(data.replace(/^\u0001*/, ""));
	}

	send(marked) {
		if (this.socket.readyState !== 1)
			return;
		const number = ++this.count;
		this.socket.send(`${marked ? "\u0001" : ""}${number}`);
	}

	/** sent() keeps its word. */
	ask() {
		const waiting = [...this.unsettled()];
		const asked = this.socket.sent().then(() => {
			for (const number of waiting)
				assert.ok(this.handler.given.includes(number) && !this.handler.failed.has(number), `sent() says that ${number} is done`);
		}, (error) => {
			assert.match(error.message, /handler failed|session is over/);
		}).then(() => this.pending.delete(asked));
		asked.catch((error) => (this.broken ??= error));
		this.pending.add(asked);
	}

	/** Numbers that sent() speaks of. */
	*unsettled() {
		for (let number = this.count; number > 0 && !this.handler.given.includes(number); number--)
			if (!this.lost.has(number))
				yield number;
	}
}

async function live(seed) {
	const random = dice(seed), handler = new Handler(random);
	const world = new World(handler, { keep_ms: 20000, queue: random() < 0.3 ? 4 : 1000 }, seed + 1e6);
	const page = new Page(handler);
	const chance = (p) => random() < p;
	world.latency = () => random() * (chance(0.1) ? 500 : 20);
	world.late = () => (chance(0.2) ? random() * 1500 : 0);
	world.server = "tova only";
	world.enter();
	try {
		page.load();
		for (let step = 0; step < 60; step++) {
			await world.pass(random() * (chance(0.1) ? 4000 : 60));
			const session = world.host.all.at(-1), { link } = world;
			for (let n = random() * 4; chance(0.6) && n > 0; n--)
				page.send(chance(0.1));
			if (session && !session.over && chance(0.5))
				handler.say(session);
			if (chance(0.3) && page.socket.readyState === 1)
				page.ask();
			if (chance(0.15))
				link.cut({ lose_up: chance(0.7), lose_down: chance(0.7), noticed_up: random() * 3000, noticed_down: random() * 500 });
			if (chance(0.05))
				link.silent = true;
			if (chance(0.03)) {
				world.server = "down";
				await world.pass(random() * 6000);
				world.server = "tova only";
			}
			if (chance(0.02))
				world.host.restart();
			if (chance(0.03))
				await world.pass(random() * 40000);
			if (chance(0.05))
				world.turn("online");
			if (chance(0.03)) {
				world.turn("pagehide", true);
				await world.pass(random() * 500);
				world.turn("pageshow", true);
			} else if (chance(0.03) && page.socket.readyState === 1) {
				world.turn("pagehide");
				link.ws.unload();
				world.page = new EventTarget();
				await world.pass(random() * 500);
				page.load();
			}
		}
		world.latency = () => 1;
		world.late = () => 0;
		await world.pass(200000);
		judge(world, page, handler);
	} finally {
		world.leave();
	}
	return world.links.length;
}

function judge(world, page, handler) {
	assert.equal(page.socket.readyState, 1, "it is open");
	assert.equal(page.socket.bufferedAmount, 0, "nothing waits");
	assert.equal(page.pending.size, 0, "no sent() is left");
	assert.ifError(page.broken);
	assert.deepEqual(world.host.log, []);
	// What the client sent.
	assert.equal(new Set(handler.given).size, handler.given.length, "nothing takes effect twice");
	const given = new Set(handler.given);
	for (let number = 1; number <= page.count; number++)
		assert.ok(given.has(number) || page.lost.has(number), `${number} took no effect, and nobody was told`);
	for (const session of world.host.all)
		assert.deepEqual(session.mine, [...session.mine].sort((a, b) => a - b), "in order");
	for (const number of handler.failed)
		assert.ok(page.failed.has(number) || page.lost.has(number), `${number} failed, and nobody was told`);
	for (const number of page.failed)
		assert.ok(handler.failed.has(number), `${number} did not fail`);
	// What the host sent: each session's in order; what is missing was announced.
	const heard = page.heard.filter((number) => typeof number === "number");
	assert.deepEqual(heard, [...new Set(heard)].sort((a, b) => a - b), "in order, and nothing twice");
	const { session } = world.link.conn; // the end of others was announced by "lost", or the page never heard of them
	const missing = session.said.filter((number) => !heard.includes(number));
	const announced = page.heard.reduce((sum, { missed }) => sum + (missed ?? 0), 0);
	assert.ok(missing.length <= announced, `${missing} are missing, ${announced} announced`);
}

test(`random lives ${FIRST} to ${LAST}`, async () => {
	let links = 0;
	for (let seed = FIRST; seed <= LAST; seed++)
		try {
			links += await live(seed);
		} catch (error) {
			error.message = `seed ${seed}: ${error.message}`;
			throw error;
		}
	assert.ok(links > (LAST - FIRST) * 5, `only ${links} connections`);
});
