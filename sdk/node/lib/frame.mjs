/** SP framing (the wire protocol of nng and nanomsg) for PAIR0: bytes in, messages out. */

export const HANDSHAKE = Buffer.from([0, 0x53, 0x50, 0, 0, 0x10, 0, 0]);
const MAX_MESSAGE = 2 ** 30; // the host sends 1 MiB, or one larger event; above this the length is a lie

/** Bytes for the head of a message, and where its length stands. */
export const headSize = (ipc) => (ipc ? 9 : 8);

export function writeHead(buffer, length, ipc) {
	if (ipc) buffer[0] = 1;
	const at = ipc ? 1 : 0;
	buffer.writeUInt32BE(Math.floor(length / 2 ** 32), at);
	buffer.writeUInt32BE(length % 2 ** 32, at + 4);
}

/** Cuts a stream into messages. The peer's handshake comes first. */
export class Reader {
	ready = false; // the handshake was seen
	#ipc;
	#head;
	#pieces = [];
	#have = 0;
	#need = HANDSHAKE.length; // nothing can be cut off before so many bytes are there

	constructor(ipc) {
		this.#ipc = ipc;
		this.#head = headSize(ipc);
	}

	/** Takes what was read; returns the messages that are whole with it. They share its memory. */
	feed(data) {
		if (this.#have > 0) {
			this.#pieces.push(data);
			this.#have += data.length;
			if (this.#have < this.#need) return [];
			data = Buffer.concat(this.#pieces, this.#have);
			this.#pieces = [];
			this.#have = 0;
		}
		const messages = [];
		let at = 0;
		if (!this.ready) {
			if (data.length < HANDSHAKE.length) return this.#keep(data, HANDSHAKE.length, messages);
			if (HANDSHAKE.compare(data, 0, HANDSHAKE.length) !== 0)
				throw new Error(`this is no PAIR0 socket: it began with ${JSON.stringify(data.toString("latin1", 0, 8))}`);
			this.ready = true;
			at = HANDSHAKE.length;
		}
		for (;;) {
			const start = at + this.#head;
			if (start > data.length) return this.#keep(data.subarray(at), this.#head, messages);
			const end = start + this.#length(data, at);
			if (end > data.length) return this.#keep(data.subarray(at), end - at, messages);
			messages.push(data.subarray(start, end));
			at = end;
		}
	}

	#length(data, at) {
		if (this.#ipc && data[at] !== 1) throw new Error(`message type ${data[at]} where 1 was expected`);
		if (this.#ipc) at++;
		const length = data.readUInt32BE(at) * 2 ** 32 + data.readUInt32BE(at + 4);
		if (length > MAX_MESSAGE) throw new Error(`a message of ${length} bytes is too long`);
		return length;
	}

	#keep(rest, need, messages) {
		if (rest.length > 0) this.#pieces.push(rest);
		this.#have = rest.length;
		this.#need = need;
		return messages;
	}
}
