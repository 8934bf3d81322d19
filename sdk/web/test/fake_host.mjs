/** The host's side of tova.v1, without sockets, TLS or limits: for tests of tova.js, and to be
 * read beside the real one. It is given what arrives and answers through a wire:
 *
 *     const host = new FakeHost({ open(session) {}, message(session, data, number) {}, close(session, code) {} });
 *     const conn = host.connect(["tova.v1"], { send(data) {}, close(code, reason) {} });
 *     conn.receive("hello");  // text, or bytes as an ArrayBuffer
 *     conn.ended(1006);       // the socket broke, or the code of the client's close frame
 */
import { randomBytes } from "node:crypto";

const MARK = "\u0001";
const say = (members) => MARK + JSON.stringify(members);

/** What handlers know: who it is, what it has sent, and a way to answer. */
class Session {
	conn = null; // none: away
	token = null;
	before = null; // the token that brought it back, good until the first frame arrives on the new socket
	received = 0; // data messages of the client: its "got"
	settled = 0; // of these, what the handler is done with: "done"
	failed = []; // and the last that failed
	numbered = 0; // data messages to the client
	confirmed = 0; // of these, what it says it has
	kept = []; // { number, data } of those it may ask for again
	turn = Promise.resolve(); // one message is handled after the other
	over = false;

	constructor(host, id) {
		this.host = host;
		this.id = id;
	}

	send(data) {
		if (this.over)
			return;
		this.kept.push({ number: ++this.numbered, data });
		if (this.host.keep_ms === 0 || this.kept.length > this.host.queue)
			this.kept.shift();
		this.conn?.data(data);
	}

	/** The handler ends the connection. */
	close(code, reason = "") {
		const { conn } = this;
		this.host.end(this, code);
		conn?.close(code, reason);
	}

	confirm(number) {
		this.confirmed = Math.max(this.confirmed, number);
		while (this.kept.length > 0 && this.kept[0].number <= this.confirmed)
			this.kept.shift();
	}

	/** What lies behind `number` once more; where some of it was forgotten that is said in its place. */
	resend(number) {
		const first = this.kept[0]?.number ?? this.numbered + 1;
		if (first > number + 1)
			this.conn.control({ lost: first - number - 1, next: first });
		for (const { data } of this.kept)
			this.conn.data(data);
	}

	/** A data message has arrived: it counts now, and is handled when those before it are. */
	take(data) {
		const number = ++this.received;
		this.turn = this.turn.then(() => this.host.handler.message?.(this, data, number)).then(
			() => this.settle(number), () => this.settle(number, true));
	}

	settle(number, failed = false) {
		this.settled = number;
		if (failed && this.failed.push(number) > 32)
			this.failed.shift();
		this.conn?.control(failed ? { done: number, failed: [number] } : { done: number });
	}
}

/** One socket. */
class Conn {
	session = null;
	closed = false;

	constructor(host, wire) {
		this.host = host;
		this.wire = wire;
	}

	control(members) {
		if (!this.closed)
			this.wire.send(say(members));
	}

	data(data) {
		if (!this.closed)
			this.wire.send(data[0] === MARK ? MARK + data : data);
	}

	close(code, reason = "") {
		if (!this.closed)
			this.wire.close(code, reason);
		this.closed = true;
	}

	receive(data) {
		const { session } = this;
		if (this.closed || session === null)
			return;
		if (session.before !== null) {
			this.host.sessions.delete(session.before);
			session.before = null;
		}
		if (data[0] !== MARK)
			session.take(data);
		else if (data[1] === MARK)
			session.take(data.slice(1));
		else
			this.told(JSON.parse(data.slice(1)));
	}

	told({ got, ping, bye, token }) {
		if (got > this.session.numbered)
			this.host.end(this.session, 1002), this.close(1002, "got more than was sent");
		else if (got !== undefined)
			this.session.confirm(got);
		if (ping)
			this.control({ pong: 1 });
		if (bye) {
			this.host.end(this.session, 1000);
			this.close(1000);
		}
		if (token)
			this.host.renew(this, token);
	}

	/** A close frame of the client came, or its socket is gone (1006). */
	ended(code) {
		const { session } = this;
		if (this.closed)
			return;
		this.closed = true;
		clearTimeout(this.expiry);
		if (session === null)
			return;
		if (this.host.keep_ms > 0 && (code === 1001 || code === 1006))
			this.host.leave(session);
		else
			this.host.end(session, code);
	}
}

export class FakeHost {
	sessions = new Map(); // by token
	all = []; // every session there ever was
	log = [];
	refusing = null; // { refused: status, retry_ms } for whoever comes
	tokens = null; // { token: ms that it is good for }, where they are asked for
	renewed = []; // tokens that were taken on open connections
	protocol = null; // what the handler chooses

	constructor(handler = {}, { keep_ms = 60000, queue = 1000 } = {}) {
		this.handler = handler;
		this.keep_ms = keep_ms;
		this.queue = queue;
	}

	/** An upgrade request of somebody who offers tova.v1. */
	connect(offered, wire) {
		const conn = new Conn(this, wire);
		const [, token, count] = offered.map((name) => name.match(/^tova\.resume\.([\w-]{22,})\.(\d+)$/)).find(Boolean) ?? [];
		const jwt = offered.find((name) => name.startsWith("tova.jwt."))?.slice(9);
		const ms = this.tokens?.[jwt];
		const refusing = this.refusing ?? (this.tokens && !(ms > 0) ? { refused: 401, retry_ms: 0 } : null);
		if (refusing !== null) {
			conn.control(refusing);
			conn.close({ 401: 4401, 403: 4403, 429: 4429, 503: 1013 }[refusing.refused]);
			return conn;
		}
		const session = this.sessions.get(token);
		if (session === undefined || !this.comes_back(session, conn, token, Number(count)))
			if (!conn.closed)
				this.begin(conn);
		if (ms > 0)
			this.expire(conn, ms);
		return conn;
	}

	/** False: it is not that session that goes on. */
	comes_back(session, conn, token, count) {
		if (session.closed_with !== undefined) {
			conn.close(session.closed_with); // each time, until the memory of it is gone
			return false;
		}
		if (count > session.numbered) {
			this.end(session, 1002);
			conn.close(1002, "got more than was sent");
			return false;
		}
		if (count < session.confirmed) {
			this.log.push(`${session.id} had confirmed ${session.confirmed} and says ${count}`);
			this.end(session, 1006);
			return false;
		}
		clearTimeout(session.timer);
		session.conn?.close(4409, "came back on another socket");
		this.attach(session, conn, token);
		session.confirm(count);
		this.welcome(session, true);
		session.resend(count);
		return true;
	}

	begin(conn) {
		const session = new Session(this, this.all.push(null));
		this.all[session.id - 1] = session;
		this.attach(session, conn, null);
		this.welcome(session, false);
		this.handler.open?.(session);
	}

	/** Gives it a new token; the one that was used stays good for now, any other is not. */
	attach(session, conn, token) {
		session.conn = conn;
		conn.session = session;
		if (this.keep_ms === 0)
			return;
		for (const old of [session.token, session.before])
			if (old !== token)
				this.sessions.delete(old);
		session.before = token;
		session.token = randomBytes(16).toString("base64url");
		this.sessions.set(session.token, session);
	}

	welcome(session, resumed) {
		const { token, conn, received, settled, failed } = session;
		// The client may not have heard which failed: it is told before it takes them for done.
		const done = failed.length > 0 ? failed[0] - 1 : settled;
		conn.control({ session: token, resumed, got: received, done, keep_ms: this.keep_ms, protocol: this.protocol });
		if (failed.length > 0)
			conn.control({ done: settled, failed });
	}

	/** Away, for so long. */
	leave(session) {
		session.conn = null;
		session.timer = setTimeout(() => this.end(session, 1006), this.keep_ms);
	}

	/** Over. One that is away and is closed by somebody is told so when it comes back. */
	end(session, code) {
		if (session.over)
			return;
		session.over = true;
		clearTimeout(session.timer);
		if (session.conn === null && code !== 1006) {
			session.closed_with = code;
			session.timer = setTimeout(() => this.forget(session), this.keep_ms);
		} else
			this.forget(session);
		session.conn = null;
		session.turn = session.turn.then(() => this.handler.close?.(session, code));
	}

	forget(session) {
		clearTimeout(session.timer);
		this.sessions.delete(session.token);
		this.sessions.delete(session.before);
	}

	renew(conn, token) {
		const ms = this.tokens?.[token];
		if (this.tokens === null)
			return;
		if (!(ms > 0)) {
			conn.control({ refused: 401, retry_ms: 0 });
			this.end(conn.session, 4401);
			conn.close(4401);
			return;
		}
		this.renewed.push(token);
		this.expire(conn, ms);
		conn.control({ token: "ok", expires_ms: ms });
	}

	/** Whose token is over is no longer connected. */
	expire(conn, ms) {
		clearTimeout(conn.expiry);
		if (ms < 2 ** 31) // timers wait no longer
			conn.expiry = setTimeout(() => {
				if (conn.closed)
					return;
				this.end(conn.session, 1008);
				conn.close(1008, "the token has expired");
			}, ms);
	}

	/** All sockets are closed with 1012, and nobody is remembered: a host that is started again. */
	restart() {
		for (const session of this.all) {
			const { conn } = session;
			this.end(session, 1012);
			this.forget(session);
			conn?.close(1012, "restart");
		}
	}
}
