/** dashboard: shows the machine and the host live. Whoever connects gets {"type": "init", "data": STATS} and from then on, as a member
 * of room dashboard, {"type": "update", "data": STATS} at each interval. STATS:
 *
 *     {"time": ms since 1970, "load": [1, 5, 15 minutes], "memory": {"total": bytes, "used": bytes},
 *      "host": {"uptime": s, "connections": n, "rooms": n, "messages_in": n, "messages_out": n, "bytes_in": n, "bytes_out": n,
 *               "slow": n, "dropped": n, "refused": n}}
 *
 * load or memory are null where the system does not tell.
 *
 * Start it with: tova-host --static examples -w /dashboard='node examples/dashboard/dashboard.mjs --interval-ms 1000'
 */
import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";

// The library of this checkout. Where it is installed (npm install ./sdk/node) it is called "tova".
import { broadcast_to, join, leave, serve, set_timer, stats } from "../../sdk/node/index.mjs";

const INTERVAL_MIN_MS = 100;
const INTERVAL_MAX_MS = 3_600_000;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const { values } = parseArgs({ options: { "interval-ms": { type: "string", default: "1000" } } });
const interval = /^\d{1,9}$/.test(values["interval-ms"]) ? Number(values["interval-ms"]) : 0;
if (interval < INTERVAL_MIN_MS || interval > INTERVAL_MAX_MS) {
	console.error(`interval-ms is ${INTERVAL_MIN_MS} to ${INTERVAL_MAX_MS}, not "${values["interval-ms"]}"`);
	process.exit(2);
}

function memory() {
	try {
		const text = readFileSync("/proc/meminfo", "latin1");
		const [total, available] = ["MemTotal", "MemAvailable"].map((name) => Number(new RegExp(`^${name}: +(\\d+)`, "m").exec(text)[1]) * 1024);
		return { total, used: total - available };
	} catch {
		return null;
	}
}

async function snapshot() {
	const counters = await stats();
	const { connections, rooms, messages_in, messages_out, bytes_in, bytes_out, slow } = counters;
	const host = {
		uptime: Math.floor(counters.uptime_ms / 1000), connections, rooms, messages_in, messages_out, bytes_in, bytes_out, slow,
		dropped: counters.dropped + counters.rate_dropped, refused: counters.refused + counters.limited,
	};
	return { time: Date.now(), load: loadavg(), memory: memory(), host };
}

async function on_open(ws) {
	join(ws, "dashboard");
	ws.send({ type: "init", data: await snapshot() });
}

function on_start() {
	// The host keeps the timer, and has it once, however many workers set it.
	set_timer("update", interval, { period_ms: interval });
}

async function on_timer() {
	broadcast_to("dashboard", { type: "update", data: await snapshot() });
}

function on_message(ws, message) {
	let data;
	try {
		data = JSON.parse(typeof message === "string" ? message : utf8.decode(message));
	} catch {
		data = null;
	}
	if (typeof data !== "object" || data === null) answerError(ws, "A message is a JSON object");
	else if (data.action !== "subscribe" && data.action !== "unsubscribe") answerError(ws, "Unknown action");
	else if (typeof data.channel !== "string") answerError(ws, "An action needs a channel, a string");
	else if (data.action === "subscribe") join(ws, data.channel);
	else leave(ws, data.channel);
}

function on_error(ws, error) {
	console.error(`WebSocket error: ${error}`);
	// A timer that failed concerns nobody in particular.
	if (ws !== undefined && error.kind === "handler") answerError(ws, error.message);
}

const answerError = (ws, text) => ws.send({ type: "error", text });

serve({ on_open, on_start, on_timer, on_message, on_error });
