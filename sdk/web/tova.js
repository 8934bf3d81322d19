// A WebSocket whose session outlives its sockets: tova.v1. See README.md.
const OFFER = "tova.v1", MARK = "\u0001";

const problem = (name, text, more) => Object.assign(new DOMException(text, name), more);

function keep(data) {
	let size = data?.byteLength ?? data?.size;
	if (data?.byteLength >= 0)
		data = new Uint8Array(data.buffer ?? data, data.byteOffset, size).slice().buffer;
	else if (!(data instanceof Blob))
		size = new TextEncoder().encode((data = String(data))).length;
	return { data, size };
}

export class TovaSocket extends EventTarget {
	#url; #protocols; #options; #binaryType = "blob"; #page = new AbortController();
	#state = 0; #ws; #old; #attempt = 0; #timers = {}; #failures = 0; #due; #refused; #jwt; #expires;
	#offer = true; #known; #live; #plain; #alive; #saved; #session; #protocol = "";
	#received = 0; #told = 0; #bytes = 0;
	#out = []; #size = 0; #done = 0; #got = 0; #sent = 0; #waiters = []; // out[0] is message number done + 1

	constructor(url, protocols = [], options) {
		super();
		this.#url = new URL(url, globalThis.location?.href).href.replace("http", "ws");
		this.#protocols = [].concat(protocols);
		this.#options = { WebSocket: globalThis.WebSocket, queue: 16 << 20, ping: 25000, timeout: 10000, ...options };
		for (const type of ["open", "message", "close", "error", "away", "resume", "lost", "failed", "history"]) {
			this["on" + type] = null;
			this.addEventListener(type, (event) => this["on" + type]?.(event));
		}
		this.#restore();
		this.#connect();
		for (const type of ["online", "visibilitychange", "pageshow", "pagehide"])
			globalThis.addEventListener?.(type, (event) => this.#turn(event), { signal: this.#page.signal });
	}

	get url() { return this.#url; }
	get readyState() { return this.#state; }
	get protocol() { return this.#protocol; }
	get extensions() { return this.#ws?.extensions ?? ""; }
	get bufferedAmount() { return this.#size + ((this.#plain && this.#ws?.bufferedAmount) || 0); }
	get binaryType() { return this.#binaryType; }
	set binaryType(type) {
		this.#binaryType = type;
		if (this.#ws)
			this.#ws.binaryType = type;
	}

	send(data) {
		const kept = keep(data), { queue } = this.#options;
		if (!this.#state)
			throw problem("InvalidStateError", "Not open yet.");
		if (this.#state > 1)
			return;
		if (this.bufferedAmount + kept.size + 64 * this.#out.length > queue)
			throw problem("QuotaExceededError", `More than ${queue} bytes would wait.`);
		this.#size += kept.size;
		this.#out.push(kept);
		this.#flush();
	}

	sent() {
		return new Promise((resolve, reject) => {
			const last = this.#out.at(-1);
			if (this.#state > 1 || this.#plain)
				reject(problem("InvalidStateError", "Nobody confirms."));
			else if (last)
				this.#waiters.push({ last, resolve, reject });
			else
				resolve();
		});
	}

	close(...how) {
		if (this.#state > 1)
			return;
		this.#ws?.close(...how);
		this.#state = 2;
		if (!this.#ws)
			this.#set("wait", () => this.#late(), 0);
	}

	reconnect() {
		if (this.#live && !this.#plain)
			this.#watch(true);
		else if (Date.now() >= this.#due)
			this.#connect();
	}

	#fire(type, fields, Kind) {
		this.dispatchEvent(Kind ? new Kind(type, fields) : Object.assign(new Event(type), fields));
	}

	#set(name, f, ms) {
		clearTimeout(this.#timers[name]);
		this.#timers[name] = setTimeout(f, Math.min(ms, 2e9));
	}

	#connect() {
		this.#drop();
		this.#set("wait", () => this.#late("no answer"), this.#options.timeout);
		if (this.#options.token)
			this.#fetch((jwt) => this.#dial(jwt), () => this.#late("no token"));
		else
			this.#dial();
	}

	#fetch(use, fail) {
		const attempt = this.#attempt, mine = (f) => (value) => attempt === this.#attempt && f(value);
		Promise.resolve().then(this.#options.token).then(mine(use)).catch(mine((error) => {
			this.#fire("error", { error });
			fail();
		}));
	}

	#dial(jwt) {
		const offer = [...this.#protocols];
		if ((this.#jwt = jwt))
			offer.unshift("tova.jwt", "tova.jwt." + jwt);
		if (this.#session)
			offer.unshift(`tova.resume.${this.#session}.${this.#received}`);
		if (this.#offer)
			offer.unshift(OFFER);
		const ws = (this.#ws = new this.#options.WebSocket(this.#url, offer));
		const mine = (f) => (event) => ws === this.#ws && f(event);
		ws.binaryType = this.#binaryType;
		ws.onopen = mine(() => {
			if (ws.protocol !== OFFER)
				this.#welcome();
			else if (!this.#known)
				this.#set("wait", () => this.#other(), this.#options.timeout / 2);
		});
		ws.onmessage = mine((event) => this.#take(event));
		ws.onclose = ws.onerror = mine((event) => this.#closed(event, ws.protocol === OFFER));
	}

	// A server that agrees to any offer.
	#other(sure) {
		this.#offer = false;
		this.#known = sure;
		this.#connect();
	}

	#drop() {
		const ws = this.#ws;
		Object.values(this.#timers).map(clearTimeout);
		this.#timers = {};
		this.#attempt++;
		this.#ws = this.#live = null;
		this.#due = NaN;
		if (this.#session && ws?.readyState === 1) { // a close frame would end the session
			this.#old?.close();
			this.#old = ws;
		} else
			ws?.close();
	}

	#late(reason) {
		this.#closed({ reason }, true);
	}

	#closed(event, offered) {
		const { code = 1006, reason = "" } = event, live = this.#live, now = Date.now();
		const least = this.#refused || (code === 1013 ? 5000 : 0), expired = code === 1008 && now > this.#expires - 2000;
		const stop = code === 1000 || (code === 1005 && !this.#plain) || code === 1008 || (code >= 4000 && code !== 4409);
		this.#refused = 0;
		this.#drop();
		if (this.#state === 2 || (stop && !least && !expired))
			return this.#end(event);
		if (![1001, 1006, 1012, 1013, 1015].includes(code))
			this.#session = null; // the host ended it, or it is with somebody else
		if (live && now - live >= 1000)
			this.#failures = 0;
		let again = false;
		if (!this.#known && !offered) { // perhaps for the offer
			again = this.#offer && !live && !this.#failures;
			this.#offer = !this.#offer;
		}
		const spread = Math.min(30000, Math.max(500 * 2 ** this.#failures++, code === 1012 ? 2000 : 0));
		const delay = again ? 0 : least + Math.random() * spread;
		this.#due = now + least;
		this.#set("wait", () => this.#connect(), delay);
		if (!again)
			this.#fire("away", { code, reason, delay });
	}

	#end({ code = 1006, reason = "", wasClean = false }) {
		this.#state = 3;
		this.#old?.close();
		this.#page.abort();
		const lost = this.#lose(this.#out.length);
		if (lost.messages.length)
			this.#fire("lost", lost);
		if (!wasClean)
			this.#fire("error");
		this.#fire("close", { code, reason, wasClean }, globalThis.CloseEvent);
	}

	// c: what the host says, if it is one
	#welcome(c) {
		const opening = !this.#state;
		clearTimeout(this.#timers.wait);
		this.#old?.close();
		this.#state = 1;
		this.#live = Date.now();
		this.#plain = !c;
		this.#session = c?.session;
		this.#protocol = (c ?? this.#ws).protocol ?? "";
		if (c)
			this.#watch();
		if (this.#jwt)
			this.#say({ token: this.#jwt }); // its answer tells for how long
		if (c?.resumed) {
			this.#settle(c.done);
			this.#done = Math.max(this.#done, c.got - this.#out.length);
			this.#got = this.#sent = Math.max(this.#done, c.got);
			this.#tell(); // a frame ends the token before
			this.#fire(opening ? "open" : "resume", { resumed: true });
		} else {
			const lost = this.#lose(this.#sent - this.#done), unsent = this.#out.splice(0);
			this.#fire("open", { resumed: false });
			if (!opening || lost.messages.length)
				this.#fire("lost", lost);
			this.#out = this.#out.concat(unsent);
		}
		this.#flush();
	}

	#take({ data, origin }) {
		this.#alive = true;
		if (!this.#plain || !this.#live) {
			const marked = data[0] === MARK;
			if (marked && data[1] !== MARK)
				return this.#control(JSON.parse(data.slice(1)));
			if (!this.#live)
				return this.#known || this.#other(true);
			if (marked)
				data = data.slice(1);
			this.#bytes += data.length ?? data.byteLength ?? data.size;
			if (++this.#received - this.#told >= 32 || this.#bytes >= 65536)
				this.#tell();
			else
				this.#timers.got ??= setTimeout(() => this.#tell(), 1000);
		}
		this.#fire("message", { data, origin }, globalThis.MessageEvent);
	}

	#control(c) {
		this.#known = true;
		if ("session" in c)
			return this.#welcome(c);
		if (c.done)
			this.#settle(c.done, c.failed);
		if (c.refused)
			this.#refused = c.retry_ms;
		if (c.token)
			this.#renew(c.expires_ms);
		if (c.history)
			this.#fire("history", c.history);
		if (c.lost) {
			this.#received = c.next - 1;
			this.#fire("lost", { missed: c.lost, messages: [] });
		}
	}

	#say(c) {
		if (this.#live && !this.#plain)
			this.#ws.send(MARK + JSON.stringify(c));
	}

	#tell() {
		clearTimeout(this.#timers.got);
		this.#timers.got = null;
		this.#told = this.#received;
		this.#bytes = 0;
		if (this.#session)
			this.#say({ got: this.#told });
	}

	#watch(asked) {
		const { ping, timeout } = this.#options;
		this.#alive = false;
		if (asked)
			this.#say({ ping: 1 });
		this.#set("ping", () => (asked && !this.#alive ? this.#late("no answer") : this.#watch(!this.#alive)), asked ? timeout : ping);
	}

	#renew(ms) {
		if (!ms)
			return;
		const lead = Math.min(60000, ms / 2);
		this.#expires = Date.now() + ms;
		this.#set("token", () => this.#fetch((token) => this.#say({ token }), () => this.#renew(lead)), Math.max(1000, ms - lead));
	}

	#flush() {
		while (this.#live && this.#sent < this.#done + this.#out.length) {
			const { data } = this.#out[this.#sent++ - this.#done];
			this.#ws.send(data[0] === MARK && !this.#plain ? MARK + data : data);
			if (this.#plain)
				this.#settle(this.#sent);
		}
	}

	#settle(done, failed = []) {
		while (this.#done < Math.min(done, this.#sent)) {
			const kept = this.#out.shift();
			this.#size -= kept.size;
			if (failed.includes(++this.#done)) {
				this.#refuse("OperationError", "The handler failed.", kept);
				this.#fire("failed", kept);
			}
			while (this.#waiters[0]?.last === kept)
				this.#waiters.shift().resolve();
		}
	}

	#refuse(...why) {
		for (const { reject } of this.#waiters.splice(0))
			reject(problem(...why));
	}

	#lose(count) {
		const messages = this.#out.splice(0, count).map(({ data, size }) => ((this.#size -= size), data));
		const report = { missed: null, messages, done: this.#done, got: Math.max(this.#got, this.#done), sent: this.#sent };
		if (count || this.#plain)
			this.#refuse("AbortError", "The session is over.", report);
		this.#received = this.#told = this.#bytes = this.#done = this.#got = this.#sent = 0;
		return report;
	}

	#turn({ type, persisted }) {
		if (this.#state > 1)
			return;
		if (type === "pagehide") {
			if (!this.#save()) {
				this.#say({ bye: 1 });
				this.#session = null;
			}
			this.#drop();
		} else if (persisted) {
			if (this.#session && this.#storage("getItem") !== this.#saved)
				this.#session = null; // a later page took it
			else
				this.#storage("removeItem");
			this.#connect();
		} else
			this.reconnect();
	}

	#storage(method, value) {
		try {
			return sessionStorage[method]("tova." + this.#options.store, value);
		} catch {}
	}

	#save() {
		const out = this.#out.map(({ data }) => (data instanceof ArrayBuffer ? [...new Uint8Array(data)] : data));
		if (!this.#options.store || !this.#session || out.some((data) => data instanceof Blob))
			return false;
		this.#saved = JSON.stringify([this.#session, this.#received, this.#size, this.#done, this.#got, this.#sent, out]);
		this.#storage("setItem", this.#saved);
		return this.#storage("getItem") === this.#saved;
	}

	#restore() {
		const kept = this.#storage("getItem");
		this.#storage("removeItem");
		if (!kept)
			return;
		[this.#session, this.#received, this.#size, this.#done, this.#got, this.#sent, this.#out] = JSON.parse(kept);
		this.#out = this.#out.map((data) => keep(Array.isArray(data) ? new Uint8Array(data) : data));
		this.#known = true;
	}

	static {
		for (const where of [this, this.prototype])
			Object.assign(where, { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 });
	}
}
