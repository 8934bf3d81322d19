// Bun's own WebSocket server: echo on every path, relay on /room/NAME with its native publish and subscribe.
const server = Bun.serve({
	hostname: "127.0.0.1",
	port: Number(process.argv[2] || 0),
	fetch(request, server) {
		const path = new URL(request.url).pathname;
		const room = path.startsWith("/room/") ? path.slice(6) : null;
		if (server.upgrade(request, { data: { room } }))
			return undefined;
		return new Response("not an upgrade", { status: 400 });
	},
	websocket: {
		perMessageDeflate: false,
		open(ws) {
			if (ws.data.room !== null)
				ws.subscribe(ws.data.room);
		},
		message(ws, data) {
			if (ws.data.room !== null)
				ws.publish(ws.data.room, data);
			else
				ws.send(data);
		},
	},
});
console.log(`listening ${server.port}`);
