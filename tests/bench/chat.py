"""What a message of the chat costs: CPU time of the host and of its worker, for the same chat in each of its languages.

    chat.py [--rounds N] [--messages N]

Two people are in the room; one says, the other hears: a message is parsed, judged and told. Interleaved rounds; the least of each counts, as what disturbs only adds.
"""
import argparse
import json
import socket
import sys
import threading
from pathlib import Path
from shutil import which

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))

from tova_host import BUILD, IMPATIENT, Host  # noqa: E402
from wsclient import connect  # noqa: E402

MESSAGE = json.dumps({"type": "chat", "user": "Ada", "text": "Hello, everybody! How are you today?"}).encode()


def handlers():
    chat = ROOT / "examples/chat"
    found = {"C plugin": ["--plugin", BUILD / "plugins/chat.so"], "Tova program": [chat / "chat.tova"],
             "Python worker": [chat / "chat.py"]}
    if which("node"):
        found["Node.js worker"] = [chat / "chat.mjs"]
    return found


def frame(payload):
    """As clients mask, with a mask of zeros: the bytes stay as they are."""
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def cpu_seconds(pid):
    """Of all threads of the process so far, from the scheduler's clock."""
    return sum(int(thread.read_text().split()[0]) for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def processes(host):
    return [host.pid, *host.children]


def hear(ws, n):
    """Reads n frames of a size that is known by the first."""
    stream, size, got = ws.sock, None, b""
    left = n
    while left > 0:
        got += stream.recv(1 << 20)
        if size is None and len(got) > 2:
            size = 2 + (got[1] & 0x7F)
        whole = len(got) // size if size else 0
        left -= whole
        got = got[whole * size:] if size else got


def measure(args, n):
    """CPU seconds of a message."""
    with Host(*args, *IMPATIENT) as host:
        one, two = connect("127.0.0.1", host.port, "/"), connect("127.0.0.1", host.port, "/")
        for ws in (one, two):
            ws.recv_text()
        one.recv_text()  # the other one has come
        said = frame(MESSAGE) * 100
        for count in (n // 10, n):  # the first is the warm-up
            before = sum(map(cpu_seconds, processes(host)))
            reader = threading.Thread(target=hear, args=(two, count))
            reader.start()
            for _ in range(count // 100):
                one.sock.sendall(said)
            reader.join()
            spent = sum(map(cpu_seconds, processes(host))) - before
        for ws in (one, two):
            ws.sock.shutdown(socket.SHUT_RDWR)
        return spent / n


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20000)
    options = parser.parse_args()
    kinds = handlers()
    least = dict.fromkeys(kinds, float("inf"))
    for _ in range(options.rounds):
        for name, args in kinds.items():
            least[name] = min(least[name], measure(args, options.messages))
    print("| the chat as | µs of CPU for a message | times the C plugin |\n|---|---:|---:|")
    for name, seconds in least.items():
        print(f"| {name} | {seconds * 1e6:.2f} | {seconds / least['C plugin']:.2f} |")


if __name__ == "__main__":
    main()
