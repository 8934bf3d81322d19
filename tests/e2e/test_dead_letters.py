"""Dead letters are given back once, whoever asks how often and whatever the disk does; none vanishes without a line; nobody waits for the
file to be read."""
import contextlib
import json
import resource
import select
import signal
import subprocess

import pytest

from control import ctl, ctl_json, do, stats
from hub import Hub
from raw_worker import RawWorker
from tova_host import BUILD, Host, wait_until
from wsclient import connect


class Grave(Hub):
    """A host in which an event is set aside the first time a worker dies of it."""

    def __init__(self, directory, *args, **how):
        super().__init__(directory, "--dead-letter", directory / "dead", "--max-attempts", 1, *args, **how)
        self.file = directory / "dead"

    def letters(self):
        return ctl_json(self.control, "dead-letter", "list")["dead_letters"]

    def kill_with(self, text):
        """A client whose message is in the file; it stays connected."""
        self.host.expect(lambda line: line.get("kind") == "quarantine")
        with self.worker(events=["message"]) as worker:
            ws = self.client()
            ws.send_text(text)
            worker.expect("message", data=text)
        wait_until(lambda: any(letter.get("data") == text for letter in self.letters()), "the letter")
        return ws

    @contextlib.contextmanager
    def full_disk(self):
        size = self.file.stat().st_size
        old = resource.prlimit(self.host.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        yield
        if self.host.process is not None:
            resource.prlimit(self.host.pid, resource.RLIMIT_FSIZE, old)


@pytest.fixture
def grave(tmp_path):
    with Grave(tmp_path) as running:
        yield running


def given_back(worker, ws, text):
    """That once, and nothing else before the client's next message."""
    event = worker.expect("message", data=text)
    worker.ack(event)
    ws.send_text("next")
    worker.ack(worker.expect("message", data="next"))


def test_two_replays_in_one_batch(grave):
    ws = grave.kill_with("once")
    with grave.worker(events=["message"]) as worker, RawWorker(f"ipc://{grave.control}") as link:
        link.send(*[{"t": "control", "q": q, "do": "replay"} for q in range(3)])
        replies = [link.expect("reply", q=q) for q in range(3)]
        assert [reply["replayed"] for reply in replies] == [1, 0, 0]
        given_back(worker, ws, "once")
    assert grave.letters() == []
    assert "no dead letter" in ctl(grave.control, "dead-letter", "replay", "nobody:7", code=1)


@pytest.mark.parametrize("named", [False, True])
def test_four_operators_at_once(grave, named):
    ws = grave.kill_with("once")
    letter = grave.letters()[0]["id"]
    with grave.worker(events=["message"]) as worker:
        command = [str(BUILD / "tova-ctl"), "--control", str(grave.control), "--json", "dead-letter", "replay", *([letter] if named else [])]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
        replies = [json.loads(process.communicate()[0]) for process in running]
        assert sum(reply["replayed"] for reply in replies) == 1
        given_back(worker, ws, "once")


def test_a_full_disk_gives_nothing_back(grave):
    """What can not be marked is not given; when there is room again it is, once."""
    ws = grave.kill_with("once")
    with grave.worker(events=["message"]) as worker:
        with grave.full_disk():
            for _ in range(2):
                reply = do(grave.control, "replay")
                assert reply["replayed"] == 0 and "File too large" in reply["error"], reply
            assert "File too large" in ctl(grave.control, "dead-letter", "replay", code=1)
            ws.send_text("nothing came before this")
            worker.ack(worker.expect("message", data="nothing came before this"))
        assert [letter["data"] for letter in grave.letters()] == ["once"]
        assert do(grave.control, "replay")["replayed"] == 1
        given_back(worker, ws, "once")


def test_many_are_given_back_in_their_order(grave):
    """More than one step of them, between those of connections that have gone."""
    ws = grave.kill_with("0")
    line = json.loads(grave.file.read_text())
    with open(grave.file, "a") as file:
        for n in range(1, 300):
            file.write(json.dumps({**line, "id": f"{line['conn']}:{1000 + n}", "data": str(n)}) + "\n")
            file.write(json.dumps({**line, "id": f"gone:{n}", "conn": "A" * 22, "data": "gone"}) + "\n")
    with grave.worker(events=["message"]) as worker:
        reply = do(grave.control, "replay")
        assert (reply["replayed"], reply["left"]) == (300, 299)
        for n in range(300):
            worker.ack(worker.expect("message", data=str(n)))
        assert do(grave.control, "replay")["replayed"] == 0
    assert len(grave.letters()) == 299
    ws.drop()


def test_letters_without_a_connection_have_names_of_their_own(tmp_path):
    names = set()
    for run in range(2):
        with Grave(tmp_path) as grave:
            grave.host.expect(lambda line: line.get("kind") == "quarantine")
            with grave.worker(events=["timer"]) as worker:
                worker.send({"t": "push", "ref": 1, "commands": [{"c": "timer", "name": "tick", "id": 1, "delay": 1}]})
                worker.expect("done")
                worker.expect("timer")
            wait_until(lambda: len(grave.letters()) == run + 1, "the letter")
            names |= {letter["id"] for letter in grave.letters()}
            assert do(grave.control, "replay")["left"] == run + 1
    assert len(names) == 2
    old = {"t": "dead_letter", "event": "timer", "seq": 1, "mount": "/"}  # as earlier versions wrote them
    (tmp_path / "dead").write_text(2 * (json.dumps(old) + "\n"))
    with Grave(tmp_path) as grave:
        assert len({letter["id"] for letter in grave.letters()}) == 2


def test_one_that_can_not_be_written_at_the_end_is_in_the_log(tmp_path):
    with Grave(tmp_path) as grave:
        grave.kill_with("written").drop()
        host = grave.host
        with grave.full_disk():
            with grave.worker(events=["message"]) as worker:
                ws = grave.client()
                ws.send_text("a last word")
                worker.expect("message", data="a last word")
            host.wait_log(lambda line: "can not be written" in line.get("message", ""), "that it can not")
            host.signal(signal.SIGTERM)
            assert host.wait_exit() == 0
            line, = [line for line in host.lines if "before the host ended" in line.get("message", "")]
            assert json.loads(line["event"])["data"] == "a last word" and line["file"] == str(grave.file)
            ws.drop()


@pytest.mark.parametrize("how", ["another file is named", "the file is rotated"])
def test_a_replay_keeps_to_its_file(tmp_path, how):
    """A reload names another file while one is worked off, or its name is given to a new one: what stands there at the same place is
    somebody else's."""
    files, config = [tmp_path / "first", tmp_path / "second"], tmp_path / "config"
    config.write_text(f'dead-letter = "{files[0]}";\n')
    control, url = tmp_path / "control", f"ipc://{tmp_path}/attach"
    with Host("--config", config, "--attach", url, "--control", control) as host, RawWorker(url) as worker:
        worker.hello(events=["open", "message"])
        clients = [connect("127.0.0.1", host.port) for _ in files]
        conns = []
        for _ in files:
            event = worker.expect("open")
            conns.append(event["conn"])
            worker.ack(event)
        n = 1000
        for file, conn in zip(files, conns):
            letters = [{"t": "dead_letter", "event": "message", "mount": "/", "id": f"{conn}:{i}", "conn": conn, "seq": i, "data": f"of {conn} {i:04}"}
                       for i in range(n)]
            file.write_text("".join(json.dumps(letter) + "\n" for letter in letters))
        with RawWorker(f"ipc://{control}") as link:
            link.send({"t": "control", "q": 1, "do": "replay"})
            event = worker.expect("message")
            if how == "the file is rotated":
                files[0].rename(tmp_path / "rotated")
                files[1].rename(files[0])
            else:
                config.write_text(f'dead-letter = "{files[1]}";\n')
                host.reload()
                host.wait_log(lambda line: line.get("message") == "the settings were read again", "that it was reloaded")
            got = []
            while True:
                assert event["data"] == f"of {event['conn']} {len(got):04}", "it is of whom it is given to"
                got.append(event["conn"])
                worker.ack(event)
                if len(got) == n:
                    break
                event = worker.expect("message")
            assert got == [conns[0]] * n and link.expect("reply", q=1)["replayed"] == n
        done = (tmp_path / "rotated" if how == "the file is rotated" else files[0]).read_text()
        assert done.count('"t":"replayed"') == n and "replayed" not in (files[0] if how == "the file is rotated" else files[1]).read_text()
        for ws in clients:
            ws.drop()


@pytest.mark.parametrize("threads", [1, 3])
def test_nobody_waits_for_a_large_file(tmp_path, threads):
    """80 MB of letters are looked through and listed, in many turns between which others are answered, and the list is bounded."""
    letter = {"t": "dead_letter", "event": "message", "seq": 1, "mount": "/", "conn": "A" * 22, "data": "x" * 800}
    with open(tmp_path / "dead", "w") as file:
        for n in range(100000):
            file.write(json.dumps({**letter, "seq": n}) + "\n")
    with Grave(tmp_path, "--threads", threads) as grave, RawWorker(f"ipc://{grave.control}") as link:
        for question in ({"t": "control", "do": "replay"}, {"t": "query", "what": "dead_letters"}):
            link.send({**question, "q": 1})
            for _ in range(5):
                stats(grave.control)
                assert not select.select([link.sock], [], [], 0)[0], "nobody else was answered meanwhile"
            reply = link.expect("reply", q=1)
            if "replayed" in reply:
                assert (reply["replayed"], reply["left"]) == (0, 100000)
        assert reply["left_out"] > 0 and len(reply["dead_letters"]) + reply["left_out"] == 100000
