/** What on_upgrade returns. */
import { isBinary, toBuffer } from "./codec.mjs";
import { checkedInfo, checkedUser } from "./commands.mjs";
import { encodeState } from "./connection.mjs";

class Accept {
	constructor(answer, binaries) {
		this.answer = answer;
		this.binaries = binaries;
	}
}

class Refuse {
	constructor(answer, binaries) {
		this.answer = answer;
		this.binaries = binaries;
	}
}

export function accept({ subprotocol, headers, state, user, info } = {}) {
	const answer = {};
	const binaries = [];
	if (subprotocol !== undefined) answer.subprotocol = subprotocol;
	if (headers !== undefined) answer.headers = pairs(headers);
	if (user !== undefined && user !== null) answer.user = checkedUser(user);
	if (info !== undefined && info !== null) answer.info = checkedInfo(info);
	if (state !== undefined && state !== null) {
		const stored = encodeState(state);
		if (typeof stored === "string") answer.state = stored;
		else {
			answer.state_bin = stored.length;
			binaries.push(stored);
		}
	}
	return new Accept(answer, binaries);
}

export function refuse(status = 403, body = "", { type = "text/plain; charset=utf-8", headers = [] } = {}) {
	const answer = { status, type, headers: pairs(headers) };
	if (!isBinary(body)) return new Refuse({ ...answer, body: String(body) }, []);
	return new Refuse({ ...answer, bin: body.byteLength }, [toBuffer(body)]);
}

/** Members of the acknowledgement that say what on_upgrade returned, and the binary data that they name. */
export function upgradeAnswer(result) {
	if (result === undefined || result === null || result === true) return ["", []];
	if (result === false) result = refuse();
	if (result instanceof Accept) return [`,"accept":${JSON.stringify(result.answer)}`, result.binaries];
	if (result instanceof Refuse) return [`,"refuse":${JSON.stringify(result.answer)}`, result.binaries];
	throw new TypeError(`on_upgrade returns accept(), refuse(), true or false, not ${String(result)}`);
}

const pairs = (headers) =>
	(Array.isArray(headers) ? headers : Object.entries(headers)).map(([name, value]) => [String(name), String(value)]);
