// Bun's own WebSocket server: echo on every path, relay on /room/NAME with its native publish and subscribe.
// Publishing waits for the end of the turn: inside a message handler Bun's publish collects only 32 messages into one write per
// member and sends each further one alone, which costs it ten times as much with 64 broadcasts in flight.
// Arguments: PORT, then "tls CERT KEY" and "deflate" in any order. Bun compresses what it sends only where the call says so.
const args = process.argv.slice(2);
const deflate = args.includes("deflate");
const tlsAt = args.indexOf("tls");
const waiting = [];

function publishAll() {
	for (const [ws, data] of waiting)
		ws.publish(ws.data.room, data, deflate);
	waiting.length = 0;
}

const server = Bun.serve({
	hostname: "127.0.0.1",
	port: Number(args[0] || 0),
	tls: tlsAt < 0 ? undefined : { cert: Bun.file(args[tlsAt + 1]), key: Bun.file(args[tlsAt + 2]) },
	fetch(request, server) {
		const path = new URL(request.url).pathname;
		const room = path.startsWith("/room/") ? path.slice(6) : null;
		if (server.upgrade(request, { data: { room } }))
			return undefined;
		return new Response("not an upgrade", { status: 400 });
	},
	websocket: {
		perMessageDeflate: deflate,
		open(ws) {
			if (ws.data.room !== null)
				ws.subscribe(ws.data.room);
		},
		message(ws, data) {
			if (ws.data.room === null)
				ws.send(data, deflate);
			else if (waiting.push([ws, data]) === 1)
				setImmediate(publishAll);
		},
	},
});
console.log(`listening ${server.port}`);
