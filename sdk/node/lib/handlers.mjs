/** Finds a worker's handlers, however they are given. */
import { types } from "node:util";

// Handler: the event it asks the host for.
const EVENTS = {
	on_upgrade: "upgrade",
	on_open: "open",
	on_message: "message",
	on_close: "close",
	on_error: "error",
	on_timer: "timer",
	on_away: "away",
	on_back: "back",
	on_join: "join",
	on_leave: "leave",
	on_start: undefined,
	on_stop: undefined,
};

/** These handlers can not be served; the text says which, and what was expected. */
export class HandlerError extends TypeError {}

const camel = (name) => name.replace(/_(.)/, (_, letter) => letter.toUpperCase());

/** Its own and those of its classes, whose methods no enumeration shows. */
function namesOf(source) {
	const names = new Set();
	for (let at = source; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at))
		for (const name of Object.getOwnPropertyNames(at)) names.add(name);
	return names;
}

/** Out of an object, a module or a class; returns functions by name, bound to where they came from. */
export function find(source) {
	if (typeof source === "function") source = new source();
	if (typeof source !== "object" || source === null)
		throw new HandlerError("serve() takes an object or a class with functions on_open(ws), on_message(ws, message), ...");
	const known = Object.keys(EVENTS);
	for (const key of namesOf(source))
		if (/^on(_|[A-Z])/.test(key) && !known.includes(key) && !known.some((name) => camel(name) === key))
			throw new HandlerError(`serve() knows no handler ${key}; it knows ${known.join(", ")}`);
	const found = {};
	for (const name of known) {
		const handler = source[name] ?? source[camel(name)];
		if (handler === undefined || handler === null) continue;
		if (typeof handler !== "function") throw new HandlerError(`${name} is no function but ${typeof handler}`);
		// Calling one only makes an iterator, which nobody asks.
		if (types.isGeneratorFunction(handler))
			throw new HandlerError(`${name} is a generator (*), so that nothing of it would run; a plain or an async function was expected`);
		found[name] = handler.bind(source);
	}
	if (Object.keys(found).length === 0)
		throw new HandlerError("there are no handlers: serve({ on_open(ws) {}, on_message(ws, message) {}, ... })");
	return found;
}

/** Events to ask the host for. */
export function eventsOf(handlers) {
	return Object.keys(handlers)
		.map((name) => EVENTS[name])
		.filter((event) => event !== undefined);
}
