// What tests ask of the client for Node.js: a call a line, an answer a line. The first line says where to connect.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import * as tova from "../../../sdk/node/index.mjs";

const judged = (error) => {
	if (!(error instanceof tova.TovaError || error instanceof TypeError || error instanceof RangeError)) throw error;
	return { error: error.message, kind: error.name, status: error.status ?? null, index: error.index ?? null };
};

function dataOf(call) {
	for (const where of [call, ...(call.list ?? [])]) if (where.data?.bytes !== undefined) where.data = Buffer.from(where.data.bytes, "hex");
	return call;
}

function perform(h, { call, ...given }) {
	const { conn, room, data, exclude, code, reason, list, expires, ...rest } = dataOf(given);
	const options = { ...rest, ...(expires === undefined ? {} : { expires_ms: expires * 1000 }) };
	switch (call) {
		case "send": return h.send(conn, data, options);
		case "broadcast": return h.broadcast(data, exclude, options);
		case "broadcast_to": return h.broadcastTo(room, data, exclude, options);
		case "join": return h.join(conn, room, options);
		case "leave_all": return h.leave_all(conn, options);
		case "info": return h.info(conn, given.info, options);
		case "close_room": return h.close_room(room, code, reason, { ...options, exclude });
		case "leave": return h.leave(conn, room, options);
		case "close": return h.close(conn, code, reason, options);
		case "set": return h.set(conn, given.state, options);
		case "commands": return h.commands(list, options);
	}
}

async function parallel(h, { threads, each, room }) {
	const told = [], failed = [];
	const run = async (thread) => {
		for (let i = 0; i < each; i++)
			try {
				told.push(await h.broadcast_to(room, `${thread}.${i}`));
			} catch (error) {
				failed.push(`${thread}.${i}: ${error.name}: ${error.message}`);
			}
	};
	await Promise.all(Array.from({ length: threads }, (_, n) => run(n)));
	return { calls: told.length, receivers: told.reduce((a, b) => a + b, 0), failed };
}

let h;
for await (const line of createInterface({ input: process.stdin })) {
	const call = JSON.parse(line);
	if (h === undefined) {
		const { url, ca, timeout, ...rest } = call;
		h = tova.connect(url, {
			...rest, ...(ca === undefined ? {} : { tls: { ca: readFileSync(ca) } }), ...(timeout === undefined ? {} : { timeout_ms: timeout * 1000 }),
		});
		continue;
	}
	let answer;
	try {
		answer = call.call === "parallel" ? await parallel(h, call) : { receivers: await perform(h, call) };
	} catch (error) {
		answer = judged(error);
	}
	process.stdout.write(JSON.stringify(answer) + "\n");
}
h.disconnect();
