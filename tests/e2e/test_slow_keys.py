"""Conflation keys, given by every kind of handler: of what waits for a client that does not read, the newest of each key stays."""
import shlex
import sys

import pytest

from tova_host import BUILD, ROOT, Host
from wsclient import WebSocket, connect

N, SIZE, KEYS, HISTORY = 400, 4000, 3, 30

PYTHON = f'''
import sys
sys.path.insert(0, "{ROOT}/sdk/python")
from tova import broadcast, serve, send

seen = []

def on_open(ws):
    seen.append(ws)
    ws.send("hello", key="greeting")

def on_message(ws, message):
    if message == "history":
        for i in range({HISTORY}):
            broadcast(f"{{i}} " + "x" * 60000, exclude=ws)
    elif message != "end":
        i = int(message)
        return broadcast(f"{{i}} " + "x" * {SIZE}, exclude=ws, key=f"k{{i % {KEYS}}}")
    for other in seen[:1]:
        send(other, "told", key="told")
    broadcast("end", key=None)

serve(globals())
'''

NODE = f'''
import {{ broadcast, send, serve }} from "{ROOT}/sdk/node/index.mjs";
const seen = [];
serve({{
	on_open(ws) {{ seen.push(ws); ws.send("hello", {{ key: "greeting" }}); }},
	on_message(ws, message) {{
		for (let i = 0; message === "history" && i < {HISTORY}; i++) broadcast(`${{i}} ` + "x".repeat(60000), ws);
		const i = Number(message);
		if (i >= 0) return broadcast(`${{i}} ` + "x".repeat({SIZE}), ws, {{ key: `k${{i % {KEYS}}}` }});
		send(seen[0], "told", {{ key: "told" }});
		broadcast("end", null, {{ key: undefined }});
	}},
}});
'''

SCRIPT = f'''
x=$(head -c {SIZE} /dev/zero | tr '\\0' x)
echo hello
while read -r i; do
	if [ "$i" != end ]; then
		echo "key=k$((i % {KEYS})) broadcast_others $i $x" >&3
		continue
	fi
	echo "key=told broadcast_others told" >&3
	echo "broadcast end" >&3
done
'''


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    for name, text in (("worker.py", PYTHON), ("worker.mjs", NODE), ("script.sh", SCRIPT)):
        (folder / name).write_text(text)
    with Host("--worker", f"/python={shlex.quote(sys.executable)} {folder}/worker.py", "--worker", f"/node=node {folder}/worker.mjs",
              "--script", f"/script=sh {folder}/script.sh", "--isolate", "--plugin", f"/c={BUILD}/tests/plugins/probe.so", "--slow-policy",
              "conflate", "--max-queue", "64k", "--listen", "127.0.0.1:0", "--listen", f"unix:{folder}/web") as host:
        host.web = f"unix:{folder}/web"
        yield host


@pytest.mark.parametrize("mount", ["/python", "/node", "/script", "/c"])
def test_the_newest_of_each_key_stays(host, mount):
    slow = WebSocket(host.web)
    slow.handshake(mount)
    if mount == "/c":
        slow.send_text("join news\nsend hello")
    assert slow.recv_text() == "hello"
    with connect("127.0.0.1", host.port, mount) as sender:
        if mount != "/c":
            assert sender.recv_text() == "hello"
        for i in range(N):  # each an event of its own: what one gives a client is like one message
            sender.send_text(str(i) if mount != "/c" else f"key k{i % KEYS}\nto news {i} {'x' * SIZE}")
        sender.send_text("end" if mount != "/c" else "key told\nto news told\nkey\nto news end\nsend end")
        while sender.recv_text() != "end":
            pass
    seen = []
    while not seen or seen[-1] != "end":
        seen.append(slow.recv_text())
    slow.drop()
    assert seen[-2] == "told"
    numbers = [int(text.split(" ")[0]) for text in seen[:-2]]
    assert numbers == sorted(set(numbers)) and len(numbers) < N / 2
    assert numbers[-KEYS:] == list(range(N - KEYS, N))
    assert numbers[-KEYS - 1] < N - 2 * KEYS  # nothing else of what waited


@pytest.mark.parametrize("mount", ["/python", "/node", "/c"])
def test_what_one_event_gives_is_like_one_message(host, mount):
    """Much more than --max-queue, to somebody who reads when all of it has been sent."""
    with WebSocket(host.web) as reader, connect("127.0.0.1", host.port, mount) as sender:
        reader.handshake(mount)
        if mount == "/c":
            reader.send_text("join news\nsend hello")
            sender.send_text("send hello")
        assert (reader.recv_text(), sender.recv_text()) == ("hello", "hello")
        sender.send_text("history" if mount != "/c" else f"pour news {HISTORY} 60000\nto news end\nsend end")
        while sender.recv_text() != "end":
            pass
        for i in range(HISTORY):
            assert reader.recv_text().startswith(f"{i} x")
        assert reader.recv_text() in ("told", "end")
