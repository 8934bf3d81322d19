// The admin page. It asks the API of the host that it comes from; what it is told was written by strangers, and is only ever text.
const $ = (id) => document.getElementById(id);
const PERIOD = 2000, KEPT = 60; // of the plots: two minutes
const TOP = 20;
let token = sessionStorage.getItem("tova-token"), asked = 0;

// --- asking

class Answer extends Error {
	constructor(status, text) {
		super(text);
		this.status = status;
	}
}

async function ask(method, path, body) {
	const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
	if (body !== undefined) headers["Content-Type"] = "application/json";
	const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(30_000) });
	const text = await answer.text();
	if (answer.ok) return path === "metrics" ? text : text === "" ? {} : JSON.parse(text);
	let said = `${answer.status} ${answer.statusText}`;
	try {
		said = JSON.parse(text).error ?? said;
	} catch {}
	throw new Answer(answer.status, said);
}
const get = (path) => ask("GET", path);
const post = (path, body = {}) => ask("POST", path, body);

function tell(error) {
	$("notice").textContent = error === undefined ? "" : error.message;
	$("notice").hidden = error === undefined;
}

/** What a button does; what the host says against it is shown. */
const does = (work) => async (event) => {
	event?.preventDefault();
	try {
		tell();
		await work(event);
		await refresh();
	} catch (error) {
		tell(error);
	}
};

// --- small parts

function make(tag, properties = {}, ...children) {
	const made = Object.assign(document.createElement(tag), properties);
	made.append(...children);
	return made;
}

const asNode = (cell) => (cell instanceof Node ? cell : document.createTextNode(String(cell ?? "")));

/** A row for each item. What has not changed stays, so that nobody's click meets a button that has just gone. */
function rows(id, items, cells, none) {
	const body = $(id).tBodies[0], columns = $(id).tHead.rows[0].cells.length, had = new Map([...body.rows].map((row) => [row.dataset.of, row]));
	const made = items.map((item) => {
		const of = JSON.stringify([item.id, item.conn, item.path, item.name, item.mount, item.room]), nodes = cells(item).map(asNode);
		const row = had.get(of) ?? make("tr", {}, ...nodes.map(() => make("td")));
		row.dataset.of = of;
		nodes.forEach((node, i) => {
			const cell = row.cells[i];
			if (cell.firstChild === null || cell.textContent !== node.textContent || cell.firstChild.className !== node.className) cell.replaceChildren(node);
		});
		return row;
	});
	if (made.length === 0) made.push(make("tr", {}, make("td", { className: "empty", colSpan: columns }, none)));
	if (made.length !== body.rows.length || made.some((row, i) => row !== body.rows[i])) body.replaceChildren(...made);
}

const kinded = (text, className) => make("span", { className }, text);
const button = (text, work, className = "") => make("button", { type: "button", className, onclick: does(work) }, text);
const connection = (id) => make("button", { type: "button", className: "link", onclick: () => show(id) }, id);

function bytes(n) {
	for (const unit of ["B", "KiB", "MiB"]) {
		if (n < 1024) return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`;
		n /= 1024;
	}
	return `${n.toFixed(1)} GiB`;
}

function age(ms) {
	const s = Math.floor(ms / 1000);
	return s < 120 ? `${s} s` : s < 7200 ? `${Math.floor(s / 60)} min` : s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

const number = (n) => (n >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString("en") : n.toPrecision(2));
const seconds = (s) => (s >= 1 ? `${s.toFixed(1)} s` : s >= 0.001 ? `${number(s * 1000)} ms` : `${Math.round(s * 1e6)} µs`);

// --- plots

const plots = [
	{ id: "connections", title: "connections", lines: ["now"], show: number },
	{ id: "messages", title: "messages / s", lines: ["in", "out"], show: number },
	{ id: "latency", title: "latency", lines: ["p50", "p99"], show: seconds },
	{ id: "lag", title: "loop lag", lines: ["most"], show: seconds },
	{ id: "memory", title: "memory", lines: ["resident"], show: bytes },
];
for (const plot of plots) {
	plot.values = plot.lines.map(() => []);
	plot.now = make("b", { id: `now-${plot.id}` }, "–");
	plot.canvas = make("canvas", { role: "img", ariaLabel: plot.title });
	$("plots").append(make("figure", { id: `plot-${plot.id}` }, make("figcaption", {}, plot.title, plot.now), plot.canvas));
}

function draw(plot) {
	const { canvas } = plot, scale = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight, g = canvas.getContext("2d");
	const colours = getComputedStyle(document.documentElement);
	canvas.width = w * scale;
	canvas.height = h * scale;
	g.scale(scale, scale);
	const top = Math.max(...plot.values.flat().filter((v) => v !== null), 1e-9) * 1.15;
	plot.values.forEach((values, line) => {
		g.strokeStyle = colours.getPropertyValue(line === 0 ? "--accent" : "--second");
		g.lineWidth = 1.75;
		g.beginPath();
		let down = false;
		values.forEach((value, i) => {
			if (value === null) {
				down = false;
				return;
			}
			const x = w - ((values.length - 1 - i) * w) / (KEPT - 1), y = h - 2 - (value / top) * (h - 6);
			down ? g.lineTo(x, y) : g.moveTo(x, y);
			down = true;
		});
		g.stroke();
	});
	const last = plot.values.map((values) => values.at(-1) ?? null);
	plot.now.textContent = last.every((v) => v === null) ? "–" : plot.lines.map((name, i) => (plot.lines.length > 1 ? `${name} ` : "") + (last[i] === null ? "–" : plot.show(last[i]))).join("  ");
	canvas.dataset.points = plot.values[0].length;
}

function plotted(values) {
	for (const plot of plots) {
		plot.values.forEach((kept, i) => {
			kept.push(values[plot.id]?.[i] ?? null);
			if (kept.length > KEPT) kept.shift();
		});
		draw(plot);
	}
}
addEventListener("resize", () => plots.forEach(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(draw));

/** The text of Prometheus: sums by name, and buckets by name and bound. */
function parse(text) {
	const sums = new Map(), buckets = new Map();
	for (const line of text.split("\n")) {
		const [, name, labels, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
		if (name === undefined) continue;
		sums.set(name, (sums.get(name) ?? 0) + Number(value));
		const bound = /(?:^|,)le="([^"]+)"/.exec(labels ?? "")?.[1];
		if (bound === undefined) continue;
		if (!buckets.has(name)) buckets.set(name, new Map());
		const of = buckets.get(name), le = bound === "+Inf" ? Infinity : Number(bound);
		of.set(le, (of.get(le) ?? 0) + Number(value));
	}
	return { sums, buckets };
}

/** Of what came between two scrapes. null: nothing did, or it is not told. */
function quantile(q, name, now, before) {
	const have = [...(now.buckets.get(name) ?? [])].sort((a, b) => a[0] - b[0]).map(([le, n]) => [le, n - (before?.buckets.get(name)?.get(le) ?? 0)]);
	const all = have.at(-1)?.[1] ?? 0;
	if (all <= 0) return null;
	let below = 0, from = 0;
	for (const [le, n] of have) {
		if (n >= q * all) return le === Infinity ? from : from + ((le - from) * (q * all - below)) / Math.max(n - below, 1e-9);
		below = n;
		from = le;
	}
	return from;
}

let before;
async function measure() {
	const now = { ...parse(await get("metrics")), at: performance.now() };
	const sum = (name) => now.sums.get(`tova_${name}`) ?? 0;
	const rate = (name) => (before === undefined ? null : Math.max(0, (sum(name) - (before.sums.get(`tova_${name}`) ?? 0)) / ((now.at - before.at) / 1000)));
	plotted({
		connections: [sum("connections")],
		messages: [rate("messages_in_total"), rate("messages_out_total")],
		latency: [quantile(0.5, "tova_event_seconds_bucket", now, before), quantile(0.99, "tova_event_seconds_bucket", now, before)],
		lag: [now.buckets.has("tova_loop_lag_seconds_bucket") ? quantile(1, "tova_loop_lag_seconds_bucket", now, before) : sum("loop_turn_max_seconds")],
		memory: [sum("resident_memory_bytes")],
	});
	before = now;
}

// --- lists

let workers = [];
function stateOf(mount) {
	const mine = workers.filter((worker) => worker.mount === mount.path);
	if (mount.deploy_error !== undefined) return kinded(`deploy failed: ${mount.deploy_error}`, "bad");
	if (mine.length === 0 && mount.processes === undefined) return kinded("serving", "good");
	const ready = mine.filter((worker) => worker.state === "ready").length;
	return ready > 0 ? kinded(`${ready} ready`, "good") : kinded("no worker is ready", "bad");
}

function showMounts(mounts) {
	rows("mounts", mounts, (m) => [
		m.path, make("span", { title: m.what ?? "" }, `${m.handler}${m.what === undefined ? "" : ` ${m.what}`}`), stateOf(m), number(m.connections), number(m.rooms),
		m.deployed === undefined ? "" : make("time", { dateTime: m.deployed }, new Date(m.deployed).toLocaleString()),
		button("Reload", () => post("api/v1/reload", { mount: m.path, wait: true })),
	], "this host has no mount");
	const path = $("console-path");
	if (path.dataset.set === undefined && mounts.length > 0) {
		path.value = mounts[0].path;
		path.dataset.set = "";
	}
}

function showWorkers() {
	rows("workers", workers, (w) => [
		w.name, w.mount, kinded(w.state, w.state === "ready" ? "good" : w.state === "draining" ? "" : "bad"), w.pid, w.connections, w.under_way, w.settled,
	], "no mount has workers");
}

function showSlow(connections) {
	const slow = connections.sort((a, b) => b.waiting + b.dropped - a.waiting - a.dropped).slice(0, TOP);
	rows("slow", slow, (c) => [connection(c.conn), c.mount, c.user, c.remote, bytes(c.waiting), c.dropped, age(c.age_ms)], "everybody reads in time");
}

function showRooms(rooms, more) {
	const top = rooms.sort((a, b) => b.members - a.members).slice(0, TOP);
	rows("rooms", top, (r) => [r.room, r.mount, number(r.members)], "nobody is in a room");
	if (more) $("rooms").tBodies[0].append(make("tr", {}, make("td", { className: "empty", colSpan: 3 }, "there are more than 10,000 rooms: these are the largest of the first")));
}

function showLetters(letters) {
	rows("letters", letters, (l) => [
		l.event ?? l.t, l.mount, l.conn === undefined ? "" : connection(l.conn), l.error ?? l.why ?? l.reason,
		button("Replay", async () => told(await post("api/v1/replay", { mount: l.mount, id: l.id }))),
	], "no event was set aside");
	$("replay-all").disabled = letters.length === 0;
}

function told({ replayed, left }) {
	tell(new Error(`${replayed} given back${left > 0 ? `, ${left} left: their connections are gone` : ""}`));
}

function showLog(id, lines) {
	$(id).replaceChildren(...lines.map(({ time, level, kind, message, ...fields }) => make("li", { className: level === "error" ? "bad" : "" },
		make("time", { dateTime: time }, new Date(time).toLocaleTimeString()), ` ${kind}: ${message}`,
		...Object.entries(fields).map(([key, value]) => ` ${key}=${typeof value === "string" ? JSON.stringify(value) : value}`))));
	if (lines.length === 0) $(id).append(make("li", { className: "empty" }, "nothing"));
}

// --- one connection

let shown;
async function show(id) {
	if (id !== shown) lookAway();
	shown = id;
	$("one").hidden = false;
	$("one-id").textContent = id;
	await showOne();
	$("one").scrollIntoView({ block: "nearest" });
}

function fact(value) {
	return value === null ? "none" : typeof value === "object" ? JSON.stringify(value) : String(value);
}

async function showOne() {
	if (shown === undefined) return;
	$("one-close").dataset.conn = shown;
	try {
		const all = await get(`api/v1/connections/${shown}`);
		$("one-facts").replaceChildren(...Object.entries(all.connection ?? all).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, fact(value))]));
		$("one-close").disabled = false;
	} catch (error) {
		$("one-facts").replaceChildren(make("dd", { className: "bad" }, error.message));
		$("one-close").disabled = true;
		shown = undefined; // it will not come back
	}
}
$("one-leave").onclick = () => {
	lookAway();
	shown = undefined;
	$("one").hidden = true;
};
$("one-close").onclick = does(() => ask("DELETE", `api/v1/connections/${$("one-close").dataset.conn}`));

// --- its story: what becomes of its events, line by line while it happens

const TRACE_SECONDS = 600, TRACE_LINES = 500;
let looking; // what ends it

function lookAway() {
	looking?.abort();
	looking = undefined;
	$("one-look").textContent = "Trace";
	$("one-look").dataset.state = "off";
	$("one-trace").hidden = true;
}

function traced({ time, point, event, seq, dropped, conn, mount, user, error, ...facts }) {
	const story = $("one-trace"), down = story.scrollHeight - story.scrollTop - story.clientHeight < 8;
	const text = dropped !== undefined ? `${number(dropped)} lines were not read in time, and are missing here`
		: ` ${point} ${event}${seq === undefined ? "" : ` ${seq}`}${Object.entries(facts).map(([key, value]) => ` ${key}=${value}`).join("")}${error === undefined ? "" : `: ${error}`}`;
	story.append(make("li", { className: point === "failed" ? "bad" : "" }, ...(time === undefined ? [] : [make("time", { dateTime: time }, time.slice(11, 26))]), text));
	while (story.children.length > TRACE_LINES) story.firstChild.remove();
	if (down) story.scrollTop = story.scrollHeight;
}

async function look(id, stop) {
	const answer = await fetch(`api/v1/trace?for=${TRACE_SECONDS}&conn=${id}`, { headers: token === null ? {} : { Authorization: `Bearer ${token}` }, cache: "no-store", signal: stop.signal });
	if (!answer.ok) throw new Answer(answer.status, (await answer.json()).error);
	$("one-look").dataset.state = "on";
	let rest = "";
	for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
		const lines = (rest + text).split("\n");
		rest = lines.pop();
		lines.filter((line) => line !== "").forEach((line) => traced(JSON.parse(line)));
	}
}

$("one-look").onclick = async () => {
	if (looking !== undefined) {
		lookAway();
		return;
	}
	const stop = (looking = new AbortController());
	$("one-trace").replaceChildren();
	$("one-trace").hidden = false;
	$("one-look").textContent = "Stop";
	try {
		await look($("one-id").textContent, stop);
	} catch (error) {
		if (!stop.signal.aborted) tell(error);
	}
	if (looking !== stop) return;
	looking = undefined; // it is over; what was seen stays
	$("one-look").textContent = "Trace";
	$("one-look").dataset.state = "off";
};

// --- the console

let socket, mine, others; // mine: its connection as the host lists it; others: those that were there before
const CONSOLE_FRAMES = 500;

function frame(mark, text, className = "") {
	const frames = $("frames");
	frames.append(make("li", { className }, make("time", {}, new Date().toLocaleTimeString()), ` ${mark} ${text}`));
	if (frames.children.length > CONSOLE_FRAMES) frames.firstChild.remove();
	frames.scrollTop = frames.scrollHeight;
}

function consoleState(state) {
	$("console-state").dataset.state = $("console-state").textContent = state;
	$("console-connect").textContent = state === "closed" ? "Connect" : "Disconnect";
	for (const id of ["console-send", "console-join", "console-part"]) $(id).disabled = state !== "open";
}

/** The host does not tell a client which connection it is: it is the one that has come since. */
async function findMine() {
	if (mine !== undefined) return mine;
	const { connections, next } = await get("api/v1/connections?limit=10000");
	const come = connections.filter((c) => !others.has(c.conn) && new URL(c.path, "http://x").pathname === new URL($("console-path").value, "http://x").pathname);
	if (next !== undefined || come.length !== 1) throw new Error(`this client can not be told from others: ${come.length} have come since; name its connection to tova-ctl join`);
	return (mine = come[0]);
}

const moves = (command) => does(async () => {
	const { conn, mount } = await findMine(), room = $("console-room").value;
	await post(`api/v1/${command}`, { mount, conn, room });
	frame("*", `${command} ${room}`, "good");
});
$("tojoin").onsubmit = moves("join");
$("console-part").onclick = moves("leave");

$("connect").onsubmit = async (event) => {
	event.preventDefault();
	if (socket !== undefined) {
		socket.close(1000);
		return;
	}
	const protocols = $("console-protocols").value.split(/[\s,]+/).filter((one) => one !== "");
	try {
		mine = undefined;
		others = new Set((await get("api/v1/connections?limit=10000")).connections.map((c) => c.conn));
		const path = $("console-path").value, url = $("console-address").value + path;
		socket = new WebSocket(url, protocols);
	} catch (error) {
		frame("!", error.message, "bad");
		return;
	}
	const here = socket;
	here.binaryType = "arraybuffer";
	consoleState("connecting");
	here.onopen = () => {
		consoleState("open");
		frame("*", `open${here.protocol === "" ? "" : `, ${here.protocol}`}`, "good");
	};
	here.onmessage = ({ data }) => frame("<", typeof data === "string" ? data : `${data.byteLength} bytes: ${[...new Uint8Array(data, 0, Math.min(64, data.byteLength))].map((b) => b.toString(16).padStart(2, "0")).join(" ")}`);
	here.onerror = () => frame("!", `it failed: does the mount let pages of ${location.origin} in (--origin), and this client without a token?`, "bad");
	here.onclose = ({ code, reason }) => {
		frame("*", `closed, ${code}${reason === "" ? "" : ` ${reason}`}`);
		socket = undefined;
		consoleState("closed");
	};
};

$("say").onsubmit = (event) => {
	event.preventDefault();
	const text = $("console-text").value;
	socket.send(text);
	frame(">", text);
	$("console-text").select();
};
$("console-text").onkeydown = (event) => {
	if (event.key === "Enter" && !event.shiftKey && socket?.readyState === 1) $("say").requestSubmit(event.preventDefault());
};

// --- all of it

let armed;
$("drain").onclick = does(async () => {
	if (armed === undefined) {
		$("drain").textContent = "End all connections and stop?";
		armed = setTimeout(() => {
			armed = undefined;
			$("drain").textContent = "Drain …";
		}, 5000);
		return;
	}
	clearTimeout(armed);
	await post("api/v1/drain");
	$("drain").disabled = true;
	$("drain").textContent = "Draining";
});
$("reload").onclick = does(async () => {
	const said = await post("api/v1/reload", { wait: true });
	const failed = (said.mounts ?? []).filter((m) => m.outcome === "failed");
	if (failed.length > 0) throw new Error(failed.map((m) => `${m.mount}: ${m.error ?? "failed"}`).join("; "));
});
$("replay-all").onclick = does(async () => told(await post("api/v1/replay")));

function state(name, text) {
	$("state").dataset.state = name;
	$("state").textContent = text;
}

function showHost(host) {
	$("version").textContent = host.version;
	state(host.draining ? "draining" : "serving", host.draining ? "draining" : "serving");
	$("drain").disabled = host.draining;
	const select = $("console-address");
	const urls = host.listen.filter((l) => !l.address.startsWith("unix:")).map((l) => {
		const address = l.address.replace(/^(0\.0\.0\.0|\[::\])(?=:)/, location.hostname);
		return `${l.tls ? "wss" : "ws"}://${address}`;
	});
	if (select.dataset.have !== urls.join()) select.replaceChildren(...urls.map((url) => make("option", { value: url }, url)));
	select.dataset.have = urls.join();
}

async function list(path, name, of) {
	try {
		return (await get(path))[name];
	} catch (error) {
		if (error.status === 403) return []; // a token of one mount may not see what is the host's
		throw error;
	}
}

async function refresh() {
	const mine = ++asked;
	const host = await get("api/v1/host");
	const [mounts, all, slow, rooms, letters, trouble, refused] = await Promise.all([
		list("api/v1/mounts", "mounts"), list("api/v1/workers", "workers"), list("api/v1/connections?slow=true&limit=1000", "connections"),
		get("api/v1/rooms?limit=10000"), host.dead_letters ? list("api/v1/dead_letters", "dead_letters") : [], list("api/v1/log?which=trouble", "lines"), list("api/v1/log?which=refused", "lines"),
	]);
	if (mine !== asked) return; // a later one is under way
	workers = all;
	showHost(host);
	showMounts(mounts);
	showWorkers();
	showSlow(slow);
	showRooms(rooms.rooms, rooms.next !== undefined);
	showLetters(letters ?? []);
	showLog("trouble", trouble);
	showLog("refused", refused);
	await showOne();
}

let watching;
async function turn() {
	try {
		await Promise.all([measure(), refresh()]);
		$("main").hidden = false;
		$("enter").hidden = true;
	} catch (error) {
		if (error instanceof Answer && error.status === 401) {
			$("main").hidden = true;
			$("enter").hidden = false;
			$("enter-error").textContent = token === null ? "" : error.message;
			state("locked", "a token is needed");
			watching = undefined;
			return;
		}
		if (error instanceof Answer) tell(error);
		else state("gone", "the host does not answer");
	}
	watching = setTimeout(turn, $("state").dataset.state === "draining" ? PERIOD / 8 : document.hidden ? 5 * PERIOD : PERIOD);
}

function begin() {
	clearTimeout(watching);
	turn();
}

function keep(secret) {
	token = secret;
	sessionStorage.setItem("tova-token", secret);
}

$("enter").onsubmit = (event) => {
	event.preventDefault();
	keep($("token").value.trim());
	begin();
};

const code = /^#code=(\w+)$/.exec(location.hash)?.[1];
if (code !== undefined) {
	history.replaceState(null, "", location.pathname);
	try {
		keep((await post("api/v1/enter", { code })).token);
	} catch (error) {
		tell(error);
	}
}
consoleState("closed");
begin();
