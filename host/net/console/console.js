// The page of --devconsole: a WebSocket client for the address under which it was opened.
const LINES = 1000; // of what is shown; older ones go

const at = (id) => document.getElementById(id);
const [state, url, subprotocol, toggle, frames, text, send] = ["state", "url", "subprotocol", "toggle", "frames", "text", "send"].map(at);
let socket = null;

url.value = location.href.replace(/^http/, "ws").replace(/#.*$/, "");

function show(kind, mark, what) {
	const line = document.createElement("li"), time = document.createElement("time"), sign = document.createElement("b"), body = document.createElement("span");
	const follows = frames.scrollHeight - frames.scrollTop - frames.clientHeight < 40;
	line.className = kind;
	time.textContent = new Date().toISOString().slice(11, 23);
	sign.textContent = mark;
	body.textContent = what;
	line.append(time, sign, body);
	frames.append(line);
	while (frames.children.length > LINES)
		frames.firstChild.remove();
	if (follows)
		frames.scrollTop = frames.scrollHeight;
}

function become(name) {
	state.dataset.state = state.textContent = name;
	toggle.textContent = socket ? "Disconnect" : "Connect";
	send.disabled = name !== "open";
	url.readOnly = subprotocol.readOnly = socket !== null;
}

function hex(bytes) {
	const shown = Array.from(bytes.subarray(0, 512), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
	return `${bytes.length} bytes: ${shown}${bytes.length > 512 ? " ..." : ""}`;
}

function connect() {
	const offered = subprotocol.value.split(",").map((name) => name.trim()).filter(Boolean);
	let opened = false, mine;
	try {
		mine = socket = new WebSocket(url.value, offered);
	} catch (error) {
		socket = null;
		show("failed", "!", error.message);
		become("failed");
		return;
	}
	mine.binaryType = "arraybuffer";
	become("connecting");
	mine.onopen = () => {
		opened = true;
		show("note", "·", mine.protocol ? `open, with the subprotocol ${mine.protocol}` : "open");
		become("open");
		text.focus();
	};
	mine.onmessage = ({data}) => show("received", "<", typeof data === "string" ? data : hex(new Uint8Array(data)));
	mine.onclose = ({code, reason}) => {
		socket = null;
		show(opened ? "note" : "failed", opened ? "·" : "!",
			opened ? `closed with ${code}${reason ? ": " + reason : ""}` : "there is no connection: the host's log says why, browsers do not");
		become(opened ? "closed" : "failed");
	};
}

at("connect").addEventListener("submit", (event) => {
	event.preventDefault();
	if (socket)
		socket.close(1000);
	else
		connect();
});

function say() {
	if (socket?.readyState !== WebSocket.OPEN)
		return;
	socket.send(text.value);
	show("sent", ">", text.value);
	text.value = "";
}

at("say").addEventListener("submit", (event) => {
	event.preventDefault();
	say();
	text.focus();
});
text.addEventListener("keydown", (event) => {
	if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
		event.preventDefault();
		say();
	}
});
at("clear").addEventListener("click", () => frames.replaceChildren());
become("closed");
