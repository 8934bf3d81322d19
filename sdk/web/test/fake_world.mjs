/** What tova.js finds around it - clock, chance, WebSocket, window, sessionStorage - played by the test. Time passes only in
 * `world.pass(ms)`, everything that is random comes from a seed, and sockets can be cut or go silent at any moment. */
import { FakeHost } from "./fake_host.mjs";

/** mulberry32: the same numbers for the same seed. */
export function dice(seed) {
	return () => {
		seed = (seed + 0x6d2b79f5) | 0;
		let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}

class Clock {
	now = 1e12;
	timers = new Map();
	last = 0;

	set(f, ms = 0) {
		this.timers.set(++this.last, { due: this.now + Math.max(0, ms), id: this.last, f });
		return this.last;
	}

	clear(id) {
		this.timers.delete(id);
	}

	/** All that is due within ms, in its order; promises are settled after each. */
	async pass(ms) {
		const end = this.now + ms;
		await settled();
		for (;;) {
			let next = { due: Infinity };
			for (const timer of this.timers.values())
				if (timer.due < next.due || (timer.due === next.due && timer.id < next.id))
					next = timer;
			if (!(next.due <= end))
				break;
			this.timers.delete(next.id);
			this.now = Math.max(this.now, next.due);
			next.f();
			await settled();
		}
		this.now = end;
	}
}

const immediate = globalThis.setImmediate;
const settled = () => new Promise((resolve) => immediate(resolve));

/** One TCP connection: two directions, each in order, each with its latency. */
class Link {
	sent = []; // by the client

	constructor(world, ws) {
		this.world = world;
		this.ws = ws;
		this.up = { due: 0, open: true };
		this.down = { due: 0, open: true };
	}

	push(direction, deliver) {
		const way = this[direction], { clock } = this.world;
		if (!way.open || this.silent)
			return;
		way.due = Math.max(way.due, clock.now + this.world.latency());
		clock.set(() => !way.lost && !this.silent && deliver(), way.due - clock.now);
	}

	/** A reset. What is under way may arrive or not; each side notices later. */
	cut({ lose_up = true, lose_down = true, noticed_up = 0, noticed_down = 0 } = {}) {
		if (this.gone)
			return;
		this.gone = true;
		Object.assign(this.up, { open: false, lost: lose_up });
		Object.assign(this.down, { open: false, lost: lose_down });
		const { clock } = this.world, behind = (way, ms) => Math.max(way.due - clock.now, 0) + ms;
		clock.set(() => this.conn?.ended(1006), behind(this.up, noticed_up));
		clock.set(() => this.ws.over(1006), behind(this.down, noticed_down));
	}
}

export class World {
	clock = new Clock();
	page = new EventTarget();
	stored = new Map();
	links = [];
	latency = () => 1;
	late = () => 0; // how much later than asked for a timer fires: browsers do that, and so the order of timers changes
	server = "tova"; // for all, or "tova only" for those who offer it; or others: "own" takes the subprotocol this.own or none, "any" the first; "down" refuses, "mute" never answers
	own = undefined;
	terse = false; // what does not end well is an error event and no close event: Node.js 20, of handshakes
	other = (wire) => ({ receive: (data) => wire.send(data), ended() {} }); // what they do with messages

	constructor(handler, options, seed = 1) {
		const world = this, random = dice(seed);
		this.random = random;
		this.WebSocket = class extends FakeWebSocket {
			constructor(...how) {
				super(world, ...how);
			}
		};
		this.sessionStorage = {
			getItem: (key) => this.stored.get(key) ?? null,
			setItem: (key, value) => this.stored.set(key, value),
			removeItem: (key) => this.stored.delete(key),
		};
		this.instead = {
			setTimeout: (f, ms = 0) => this.clock.set(f, (ms < 2 ** 31 ? ms : 1) + this.late()), clearTimeout: (id) => this.clock.clear(id), WebSocket: this.WebSocket,
			addEventListener: (...how) => this.page.addEventListener(...how), sessionStorage: this.sessionStorage,
		};
		this.host = new FakeHost(handler, options);
	}

	/** From here to leave(), globals are this world's. */
	enter() {
		this.before = Object.entries(this.instead).map(([name, value]) => {
			const was = Object.getOwnPropertyDescriptor(globalThis, name);
			Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
			return [name, was];
		});
		this.real = { now: Date.now, random: Math.random };
		Date.now = () => this.clock.now;
		Math.random = this.random;
	}

	leave() {
		for (const [name, was] of this.before)
			if (was)
				Object.defineProperty(globalThis, name, was);
			else
				delete globalThis[name];
		Date.now = this.real.now;
		Math.random = this.real.random;
	}

	pass(ms) {
		return this.clock.pass(ms);
	}

	/** The newest connection. */
	get link() {
		return this.links.at(-1);
	}

	/** An event of the window, as when it goes into the back/forward cache and returns. */
	turn(type, persisted = false) {
		this.page.dispatchEvent(Object.assign(new Event(type), { persisted }));
	}
}

class FakeWebSocket {
	readyState = 0;
	protocol = "";
	extensions = "";
	binaryType = "blob";
	bufferedAmount = 0;
	onopen = this.onmessage = this.onerror = this.onclose = null;

	constructor(world, url, protocols) {
		if (new Set(protocols).size < protocols.length || protocols.some((name) => !/^[\w.!#$%&'*+^`|~-]+$/.test(name)))
			throw new DOMException(`subprotocols: ${protocols}`, "SyntaxError");
		Object.assign(this, { world, url, offered: protocols, link: new Link(world, this) });
		world.links.push(this.link);
		if (world.server === "down")
			world.clock.set(() => this.over(1006), 1);
		else if (world.server !== "mute")
			this.link.push("up", () => this.asked());
	}

	/** The request has arrived. */
	asked() {
		const { world, link, offered } = this, { server } = world;
		const speaks = server.startsWith("tova") && offered.includes("tova.v1");
		const chosen = speaks ? "tova.v1" : server === "any" || server === "tova" ? offered[0] : world.own;
		if (offered.length > 0 && !offered.includes(chosen)) // browsers do that
			return link.push("down", () => this.over(1006));
		if (server === "down" || (server === "tova only" && !speaks))
			return link.push("down", () => this.over(1006));
		link.push("down", () => this.opened(chosen ?? ""));
		const wire = {
			send: (data) => link.push("down", () => this.arrived(data)),
			close: (code, reason) => link.push("down", () => this.over(code, reason, true)),
		};
		link.conn = speaks ? world.host.connect(offered, wire) : world.other(wire);
	}

	opened(protocol) {
		if (this.readyState !== 0)
			return;
		this.readyState = 1;
		this.protocol = protocol;
		this.onopen?.(new Event("open"));
	}

	arrived(data) {
		if (this.readyState === 1)
			this.onmessage?.({ data, origin: "ws://fake" });
	}

	send(data) {
		if (this.readyState === 0)
			throw new DOMException("still connecting", "InvalidStateError");
		if (this.readyState !== 1)
			return;
		this.link.sent.push(data);
		this.link.push("up", () => this.link.conn.receive(data));
	}

	close(code = 1005, reason = "") {
		if (code !== 1005 && code !== 1000 && !(code >= 3000 && code <= 4999))
			throw new DOMException(`code ${code}`, "InvalidAccessError");
		if (this.readyState === 0) {
			this.link.cut();
			this.world.clock.set(() => this.over(1006));
		} else if (this.readyState === 1) {
			this.readyState = 2;
			this.link.push("up", () => {
				this.link.conn.ended(code);
				this.link.push("down", () => this.over(code, reason, true));
			});
		}
	}

	/** The page is gone: browsers close with 1001 then, and nobody listens any more. */
	unload() {
		this.onopen = this.onmessage = this.onclose = null;
		if (this.readyState === 1)
			this.link.push("up", () => this.link.conn.ended(1001));
		this.readyState = 3;
	}

	over(code, reason = "", wasClean = false) {
		if (this.readyState === 3)
			return;
		this.readyState = 3;
		if (!wasClean)
			this.onerror?.(new Event("error"));
		if (!wasClean && this.world.terse)
			return;
		this.onclose?.({ code, reason, wasClean });
	}
}
