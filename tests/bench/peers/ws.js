// npm's ws on Node.js: echo on every path, relay on /room/NAME with the plain loop that its documentation shows.
// Arguments: PORT, then "tls CERT KEY" and "deflate" in any order.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocketServer } = require("ws");

const args = process.argv.slice(2);
const tlsAt = args.indexOf("tls");

const rooms = new Map();
const wss = new WebSocketServer({ noServer: true, perMessageDeflate: args.includes("deflate"), clientTracking: false });

function relay(ws, name) {
	let members = rooms.get(name);
	if (!members)
		rooms.set(name, members = new Set());
	members.add(ws);
	ws.on("message", (data, binary) => {
		for (const member of members)
			if (member !== ws)
				member.send(data, { binary });
	});
	ws.on("close", () => {
		members.delete(ws);
		if (!members.size)
			rooms.delete(name);
	});
}

wss.on("connection", (ws, request) => {
	ws.on("error", () => {});
	if (request.url.startsWith("/room/"))
		relay(ws, request.url.slice(6));
	else
		ws.on("message", (data, binary) => ws.send(data, { binary }));
});

const server = tlsAt < 0 ? http.createServer()
	: https.createServer({ cert: fs.readFileSync(args[tlsAt + 1]), key: fs.readFileSync(args[tlsAt + 2]) });
server.on("upgrade", (request, socket, head) => {
	wss.handleUpgrade(request, socket, head, (ws) => wss.emit("connection", ws, request));
});
server.listen({ port: Number(args[0] || 0), host: "127.0.0.1", backlog: 4096 }, () => {
	console.log(`listening ${server.address().port}`);
});
