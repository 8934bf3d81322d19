/** Batches: a JSON array of objects, and behind one LF the binary data that they name. */
import { headSize, writeHead } from "./frame.mjs";

const LF = 10;

/** A string as JSON. */
export function quote(text) {
	const json = JSON.stringify(text);
	// Only half a surrogate pair is written in this form; the same letters behind a backslash are harmless.
	if (json.includes("\\ud") && /\p{Surrogate}/u.test(text)) throw new TypeError("text with half a surrogate pair is no Unicode");
	return json;
}

/** Any value as JSON text. */
export function toJson(value) {
	const json = JSON.stringify(value);
	if (json === undefined) throw new TypeError(`${typeof value} can not be sent: text, bytes or a JSON value is expected`);
	return json;
}

export function isBinary(data) {
	return ArrayBuffer.isView(data) || data instanceof ArrayBuffer;
}

/** A copy: what belongs to a handler may change later. */
export function toBuffer(data) {
	if (data instanceof ArrayBuffer) return Buffer.from(new Uint8Array(data));
	return Buffer.from(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

/** A framed message with a batch of objects that are JSON already, each beginning with {" . The first one gets the link. */
export function encode(link, objects, binaries, ipc) {
	const head = headSize(ipc);
	const first = link ? `{"link":${JSON.stringify(link)},${objects[0].slice(1)}` : objects[0];
	const text = objects.length > 1 ? `[${first},${objects.slice(1).join(",")}]` : `[${first}]`;
	const textSize = Buffer.byteLength(text);
	let size = textSize;
	if (binaries.length > 0) {
		size += 1;
		for (const binary of binaries) size += binary.length;
	}
	const buffer = Buffer.allocUnsafe(head + size);
	writeHead(buffer, size, ipc);
	buffer.write(text, head);
	if (binaries.length > 0) {
		let at = head + textSize;
		buffer[at++] = LF;
		for (const binary of binaries) {
			buffer.set(binary, at);
			at += binary.length;
		}
	}
	return buffer;
}

/** Objects of a batch; bin, state_bin and room_state_bin are Buffers in them, no longer lengths. */
export function decode(body) {
	const [objects, binary] = split(body);
	if (!Array.isArray(objects)) throw new Error("a batch is an array");
	let at = 0;
	for (const item of objects) {
		if (item === null || typeof item !== "object" || Array.isArray(item)) throw new Error("a batch is an array of objects");
		for (const member of ["state_bin", "room_state_bin", "bin"]) {
			const size = item[member];
			if (size === undefined) continue;
			if (!Number.isSafeInteger(size) || size < 0) throw new Error(`a batch names ${size} bytes`);
			if (at + size > binary.length) throw new Error("a batch has less binary data than it names");
			item[member] = binary.subarray(at, (at += size));
		}
	}
	if (at !== binary.length) throw new Error("a batch has more binary data than it names");
	return objects;
}

const NOTHING = Buffer.alloc(0);

function split(body) {
	// An LF that was white space inside of the array, which is allowed though this host writes none, makes a text that is no JSON.
	for (let lf = body.indexOf(LF); lf >= 0; lf = body.indexOf(LF, lf + 1)) {
		const objects = parse(body.toString("utf8", 0, lf));
		if (objects !== undefined) return [objects, body.subarray(lf + 1)];
	}
	const objects = parse(body.toString("utf8"));
	if (objects === undefined) throw new Error("a batch is no JSON");
	return [objects, NOTHING];
}

function parse(text) {
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
}
