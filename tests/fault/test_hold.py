"""What clients have sent and no handler has settled stays within --hold-bytes, as resident memory, however they send it; and whoever is
held up by that goes on as soon as there is room: nobody is closed, nothing is lost, nobody else notices.

Prints the memory beside the bound, and the longest turn of a loop by its thread's clock."""
import threading

import pytest

from control import stats
from flood import Flood, Resident
from probe import WRAPPED, plugin
from raw_worker import RawWorker
from tova_host import PATIENCE, Host
from wsclient import BINARY, TEXT, connect, frame

MIB = 1 << 20
HOLD = 16 * MIB
MESSAGE = 15 * MIB // 4
CLIENTS = 100


class Busy:
    """A mount's worker that takes events and settles none until it is told to; another mount beside it that is well."""

    def __init__(self, directory, *args, threads=1, hold="16m"):
        self.control = directory / "control"
        self.urls = [f"ipc://{directory}/{name}" for name in ("busy", "well")]
        self.host = Host("--attach", f"/busy={self.urls[0]}", "--attach", f"/well={self.urls[1]}", "--control", self.control,
                         "--hold-bytes", hold, "--max-message", "16m", "--threads", str(threads), "--handler-timeout", "600s",
                         "--idle-timeout", "0", "--close-timeout", "500ms", *args)

    def __enter__(self):
        self.host.start()
        self.worker = RawWorker(self.urls[0]).hello(events=["message"])
        self.well = RawWorker(self.urls[1]).hello(events=["message"])
        return self

    def __exit__(self, *error):
        self.host.__exit__(*error)

    def clients(self, n, path="/busy"):
        return [connect("127.0.0.1", self.host.port, path) for _ in range(n)]

    def others_are_well(self):
        with connect("127.0.0.1", self.host.port, "/well") as ws:
            ws.send_text("hello")
            event = self.well.expect("message")
            self.well.ack(event, {"c": "send", "data": "and hello"})
            assert ws.recv_text() == "and hello"

    def settle(self, n, check):
        """In a thread of its own: takes n messages."""
        def run():
            for _ in range(n):
                event = self.worker.expect("message")
                if not check(event["data"]):
                    self.wrong.append(event["data"][:40])
                self.worker.ack(event)
                self.settled += 1
        self.settled, self.wrong = 0, []
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


def report(what, threads, resident, bound, host):
    turn = stats(host)["loop_turn_max_us"]
    print(f"\n{what}, {threads} loop(s): {resident / MIB:.1f} MiB resident of a bound of {bound / MIB:.0f} MiB "
          f"(and a message of {MESSAGE / MIB:.2f}); longest turn {turn / 1000:.1f} ms")
    return turn


def most_of(hold, threads):
    """What may be resident, and some for pages of the host's own that were not touched before; each loop's thread has its own."""
    return 1.25 * hold + MESSAGE + (3 + threads) * MIB


@pytest.mark.parametrize("threads", [1, 3])
def test_many_send_to_a_busy_worker(tmp_path, threads):
    """All hand in a large message: what is there of them when the bound is reached is all that is there."""
    with Busy(tmp_path, threads=threads) as busy:
        clients = busy.clients(CLIENTS)
        busy.others_are_well()
        resident = Resident(busy.host)
        message = frame(BINARY, b"x" * MESSAGE)
        flood = Flood([ws.sock for ws in clients], lambda i: message)
        flood.until_still()
        assert not flood.done
        busy.others_are_well()
        held = resident.most - resident.base
        settling = busy.settle(CLIENTS, lambda data: data == b"x" * MESSAGE)
        flood.finish()
        settling.join(PATIENCE)
        assert busy.settled == CLIENTS and not busy.wrong
        most = resident.end()
        turn = report(f"{CLIENTS} large messages to a busy worker", threads, most, HOLD, busy.control)
        print(f"while it was busy {held / MIB:.1f} MiB")
        assert WRAPPED or most <= most_of(HOLD, threads)
        assert WRAPPED or turn < 60_000


@pytest.mark.parametrize("threads", [1, 3])
def test_text_that_grows_on_its_way_to_a_worker(tmp_path, threads):
    """Control characters are six times as long as JSON. They are made as the worker reads them, not beside the message."""
    text = "\x01" * MESSAGE
    with Busy(tmp_path, threads=threads) as busy:
        clients = busy.clients(4)
        busy.others_are_well()
        resident = Resident(busy.host)
        flood = Flood([ws.sock for ws in clients], lambda i: frame(TEXT, text.encode()))
        flood.until_still()
        busy.others_are_well()
        settling = busy.settle(4, lambda data: data == text)
        flood.finish()
        settling.join(PATIENCE)
        assert busy.settled == 4 and not busy.wrong
        most = resident.end()
        turn = report("control characters to a worker that does not read", threads, most, HOLD, busy.control)
        assert WRAPPED or most <= most_of(HOLD, threads)
        assert WRAPPED or turn < 60_000


@pytest.mark.parametrize("threads", [1, 3])
def test_many_send_to_a_plugin_that_stands_still(tmp_path, threads):
    """What is on its way between loops is within the bound, too, and so is what one loop has not looked at yet."""
    with Host("--plugin", plugin("probe"), "--hold-bytes", "16m", "--max-message", "16m", "--threads", str(threads), "--control",
              tmp_path / "control", "--idle-timeout", "0") as host:
        clients = [connect("127.0.0.1", host.port, "/") for _ in range(CLIENTS // 2)]
        clients[0].send_text("send here")
        assert clients[0].recv_text() == "here"
        resident = Resident(host)
        message = frame(TEXT, b"send there\nlog 4 " + b"." * MESSAGE)
        clients[0].send_text("stall 1500")
        flood = Flood([ws.sock for ws in clients], lambda i: message)
        flood.finish()
        for ws in clients:
            ws.sock.settimeout(PATIENCE)
            assert ws.recv_text() == "there"
        most = resident.end()
        report("large messages to a plugin that stands still", threads, most, HOLD, tmp_path / "control")
        assert WRAPPED or most <= most_of(HOLD, threads) + 2 * MESSAGE  # copies that the probe makes of the script it runs


@pytest.mark.parametrize("threads", [1, 3])
def test_beginnings_of_messages(tmp_path, threads):
    """Clients that begin large messages and stop take what there is for such. Small messages come through, and large ones one by one;
    who stops in one while others wait for its memory is ended, and it is said why."""
    with Busy(tmp_path, threads=threads, hold="1m") as busy:
        beginning = frame(BINARY, b"x" * (200 << 10))[:100 << 10]
        for ws in busy.clients(30):
            Flood([ws.sock], lambda i: beginning).until_still(0.05)
        busy.worker.sock.settimeout(PATIENCE)
        with connect("127.0.0.1", busy.host.port, "/busy") as ws:
            for i in range(5):
                ws.send_text(f"small {i}")
                event = busy.worker.expect("message", data=f"small {i}")
                busy.worker.ack(event, {"c": "send", "data": "yes"})
                assert ws.recv_text() == "yes"
        with connect("127.0.0.1", busy.host.port, "/busy") as ws:
            flood = Flood([ws.sock], lambda i: frame(BINARY, b"y" * MESSAGE))
            settling = busy.settle(1, lambda data: data == b"y" * MESSAGE)
            flood.finish()
            settling.join(PATIENCE)
            assert busy.settled == 1 and not busy.wrong


def test_who_stops_while_others_wait(tmp_path):
    """It reads beyond the bound, alone, and must come on: else it is ended, and the next one goes on."""
    with Busy(tmp_path, hold="64k") as busy:
        message = frame(BINARY, b"x" * MIB)
        stopped, next_one = busy.clients(2)
        Flood([stopped.sock], lambda i: message[:500 << 10]).until_still(0.3)
        flood = Flood([next_one.sock], lambda i: message)
        settling = busy.settle(1, lambda data: data == b"x" * MIB)
        flood.finish()
        settling.join(PATIENCE)
        assert busy.settled == 1 and not busy.wrong
        stopped.sock.setblocking(True)
        stopped.sock.settimeout(PATIENCE)
        stopped.expect_close(1013)
        busy.host.wait_log(lambda line: "--hold-bytes" in line.get("message", "") and line.get("mount") == "/busy", "who was ended, and why")


def test_a_share_that_no_other_takes(tmp_path):
    """--hold-total is reached by one mount: its clients are not read from, those of the other are, and new ones come in."""
    with Busy(tmp_path, "--hold-total", "4m") as busy:
        clients = busy.clients(10)
        message = frame(BINARY, b"x" * 2 * MESSAGE)
        flood = Flood([ws.sock for ws in clients], lambda i: message)
        flood.until_still()
        assert not flood.done
        with connect("127.0.0.1", busy.host.port, "/well") as ws:
            for _ in range(3):
                ws.send_binary(b"z" * MIB)
                event = busy.well.expect("message")
                assert event["data"] == b"z" * MIB
                busy.well.ack(event, {"c": "send", "data": "yes"})
                assert ws.recv_text() == "yes"
        settling = busy.settle(10, lambda data: data == b"x" * 2 * MESSAGE)
        flood.finish()
        settling.join(PATIENCE)
        assert busy.settled == 10 and not busy.wrong


def test_what_a_large_batch_took_is_given_back(tmp_path):
    """32,768 objects of a worker are tens of megabytes while they are read, and none afterwards."""
    with Busy(tmp_path) as busy:
        busy.others_are_well()
        resident = Resident(busy.host)
        for _ in range(3):
            busy.worker.send(*[{"t": "pong"}] * 32768)
            assert busy.worker.ask("stats")
        left = resident.now() - resident.base
        print(f"\nafter batches of 32,768 objects, which took {resident.end() / MIB:.1f} MiB, {left / MIB:.1f} MiB are left")
        assert WRAPPED or left < 6 * MIB
