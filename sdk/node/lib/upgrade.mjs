/** What on_upgrade returns. */
import { encodeState } from "./connection.mjs";

class Accept {
	constructor(answer) {
		this.answer = answer;
	}
}

class Refuse {
	constructor(answer) {
		this.answer = answer;
	}
}

export function accept({ subprotocol, headers, state } = {}) {
	const answer = {};
	if (subprotocol !== undefined) answer.subprotocol = subprotocol;
	if (headers !== undefined) answer.headers = pairs(headers);
	if (state !== undefined && state !== null) {
		answer.state = encodeState(state);
		if (typeof answer.state !== "string")
			throw new TypeError("the state of an accepted upgrade is text or a JSON value; set bytes in on_open");
	}
	return new Accept(answer);
}

export function refuse(status = 403, body = "", { type = "text/plain; charset=utf-8", headers = [] } = {}) {
	return new Refuse({ status, type, body, headers: pairs(headers) });
}

/** Members of the acknowledgement that say what on_upgrade returned. */
export function upgradeAnswer(result) {
	if (result === undefined || result === null || result === true) return "";
	if (result === false) result = refuse();
	if (result instanceof Accept) return `,"accept":${JSON.stringify(result.answer)}`;
	if (result instanceof Refuse) return `,"refuse":${JSON.stringify(result.answer)}`;
	throw new TypeError(`on_upgrade returns accept(), refuse(), true or false, not ${String(result)}`);
}

const pairs = (headers) =>
	(Array.isArray(headers) ? headers : Object.entries(headers)).map(([name, value]) => [String(name), String(value)]);
