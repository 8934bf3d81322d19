"""libnng and nngcat against the worker link and the control socket."""
import json
import subprocess

import pytest

from tova_host import BUILD, PATIENCE, Host, wait_until
from wsclient import connect


def nngcat(url, data, protocol="--pair0", **how):
    """One line in a shell: sends, then takes what comes for a moment."""
    return subprocess.run(["nngcat", protocol, "--dial", url, "--data", data, "--raw", "--recv-timeout", "1", *how.get("more", ())],
                          capture_output=True, timeout=PATIENCE, check=False)


def stats(host):
    control = host.args[host.args.index("--control") + 1]
    told = subprocess.run([BUILD / "tova-ctl", "-c", control, "--json", "stats"], capture_output=True, check=True)
    return json.loads(told.stdout)["stats"]


def cut(host, part, message="a worker is cut off"):
    host.wait_log(lambda line: line.get("message") == message and part in line["error"], f"{message}: {part}")


# --- nngcat --------------------------------------------------------------------------------------------------------------------

def test_one_line_in_a_shell_broadcasts(attached, peer):
    host, url = attached
    worker = peer(url)
    link = worker.hello(events=["message"])["link"]
    clients = [connect("127.0.0.1", host.port, "/") for _ in range(3)]
    batch = [{"t": "hello", "v": 1, "events": []}, {"t": "push", "commands": [{"c": "broadcast", "data": "grüße"}]}]
    told = nngcat(url, json.dumps(batch))
    assert b'"welcome"' in told.stdout, told
    for client in clients:
        assert client.recv_text() == "grüße"
    clients[0].send_text("and the worker?")  # who only pushes takes nothing away from those that serve
    event = worker.receive()[0]
    worker.send({"t": "ack", "s": event["s"], "link": link, "commands": [{"c": "send", "data": "here"}]})
    assert clients[0].recv_text() == "here"


def test_one_line_with_binary_data(attached):
    host, url = attached
    told = nngcat(url, '[{"t":"hello","v":1,"events":[]},{"t":"push","ref":9,"commands":[{"c":"broadcast","bin":3}]}]\n\x01\x02\x03')
    assert b'"done"' in told.stdout and b'"ref":9' in told.stdout and b"error" not in told.stdout, told


def test_a_question_over_the_control_socket(directory):
    control = f"{directory}/control.sock"
    with Host("--plugin", "/chat=chat", "--control", control) as host:
        with connect("127.0.0.1", host.port, "/chat") as ws:
            ws.recv_text()
            told = nngcat(f"ipc://{control}", '[{"t":"hello","v":1},{"t":"query","q":1,"what":"all_rooms"}]')
            assert b'"room":"general"' in told.stdout, told


def certificate(folder, name):
    """A self-signed one for localhost, which is its own authority."""
    cert, key = f"{folder}/{name}.pem", f"{folder}/{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_nngcat_over_tls_needs_a_certificate_that_is_known(directory):
    cert, key = certificate(directory, "host")
    mine, my_key = certificate(directory, "worker")
    other, other_key = certificate(directory, "other")
    with Host("--attach", "tls+tcp://127.0.0.1:0", "--attach-cert", cert, "--attach-key", key, "--attach-client-ca", mine,
              "--control", f"{directory}/control.sock") as host:
        line = host.wait_log(lambda line: line.get("message") == "workers may attach", "the URL")
        url = line["url"].replace("127.0.0.1", "localhost")
        hello = '[{"t":"hello","v":1,"events":[]},{"t":"push","ref":9,"commands":[{"c":"broadcast","data":"x"}]}]'
        told = nngcat(url, hello, more=("--cacert", cert, "--cert", mine, "--key", my_key))
        assert b'"welcome"' in told.stdout and b'"ref":9' in told.stdout, told
        for more in (("--cacert", cert), ("--cacert", cert, "--cert", other, "--key", other_key)):
            assert b"welcome" not in nngcat(url, hello, more=(*more, "--send-timeout", "1")).stdout
        assert stats(host)["pushes"] == 1


@pytest.mark.parametrize("protocol", ["--pair1", "--req0", "--push0"])
def test_nngcat_with_another_protocol_gets_nowhere(attached, protocol):
    host, url = attached
    told = nngcat(url, '[{"t":"hello","v":1,"events":[]}]', protocol, more=("--send-timeout", "1"))
    assert told.stdout == b""
    assert stats(host)["opened"] == 0
    assert not [line for line in host.lines if line.get("message") == "a worker is ready"]


# --- libnng --------------------------------------------------------------------------------------------------------------------

def test_a_worker_on_libnng(attached, peer):
    host, url = attached
    worker = peer(url)
    link = worker.hello(events=["open", "message"], name="libnng")["link"]
    ws = connect("127.0.0.1", host.port, "/x?y")
    opened = worker.receive()[0]
    assert (opened["t"], opened["s"], opened["request"]["path"], opened["request"]["query"]) == ("open", 1, "/x", "y")
    worker.send({"link": link, "t": "ack", "s": 1, "commands": [{"c": "send", "data": "hello"}]})
    assert ws.recv_text() == "hello"
    ws.send_binary(b"\x00\n\xff")
    wait_until(lambda: any('"bin":3' in line for line in worker.lines), "the message")
    worker.tell('send [{"t":"ack","s":2,"link":"%s","commands":[{"c":"send","bin":5}]}]\\nbytes' % link)
    assert ws.recv_binary() == b"bytes"
    ws.close(1000)
    ws.expect_close(1000)


@pytest.mark.parametrize("protocol", ["pair1", "req0", "push0", "bus0"])
def test_other_protocols_are_refused_in_the_handshake(attached, peer, protocol):
    host, url = attached
    stranger, worker = peer(url, protocol), peer(url)
    worker.hello(events=[])
    worker.send({"t": "hello", "v": 1})  # the host still talks to its own kind
    assert not [line for line in stranger.lines if line == "+"]
    worker.wait_gone()


def test_a_host_that_was_started_anew_is_found_again(directory, peer):
    host = Host("--attach", f"ipc://{directory}/w.sock")
    worker = peer(f"ipc://{directory}/w.sock")
    links = set()
    for n in (1, 2, 3):
        with host:
            worker.wait_pipe(n)
            links.add(worker.hello(events=[])["link"])
            host.kill()
        worker.wait_gone(n)
    assert len(links) == 3


def test_what_was_queued_for_another_link_is_dropped_and_counted(attached, peer):
    host, url = attached
    worker = peer(url)
    worker.send({"t": "ack", "s": 1, "link": "another"}, {"t": "push", "commands": [{"c": "broadcast", "data": "no"}]})
    link = worker.hello(events=["message"])["link"]
    ws = connect("127.0.0.1", host.port, "/")
    worker.send({"t": "push", "link": "another", "commands": [{"c": "broadcast", "data": "no"}]})
    worker.send({"t": "push", "link": link, "commands": [{"c": "broadcast", "data": "yes"}]})
    assert ws.recv_text() == "yes"
    assert stats(host)["stale_batches"] == 2


def test_a_second_hello_ends_the_link(attached, peer):
    host, url = attached
    worker = peer(url)
    worker.hello(events=[])
    worker.send({"t": "hello", "v": 1})
    assert worker.receive()[0]["error"] == "a second hello"
    worker.wait_gone()
    cut(host, "second hello")


def test_a_message_at_the_limit_is_taken_and_one_above_cuts_the_link(attached, peer):
    host, url = attached
    worker, other = peer(url), peer(url)
    worker.hello(events=[])
    worker.tell(f"big {64 << 20}")  # has no link, and is read whole to find that out
    worker.wait_gone()
    cut(host, "without a link")
    assert worker.receive()[0]["t"] == "bye"
    link = other.hello(events=[])["link"]
    other.tell(f"big {(64 << 20) + 1}")
    cut(host, "above the limit", "a worker's link ended")
    # A libnng whose pipe ends while it sends may hang for good (bench-nng-wedge): whether the host goes on, another one sees.
    assert peer(url).hello(events=[])["link"] != link
    assert host.rss < 400 << 20


GARBAGE = {
    "nothing": "", "text": "nonsense", "object": "{}", "cut": "[{", "untyped": "[{}]", "unknown": '[{"t":"whatever"}]', "empty": "[]",
    "tail": '[{"t":"pong"}]x', "more": '[{"t":"push","commands":[{"c":"broadcast","bin":9}]}]\\n123', "less": '[{"t":"pong"}]\\n123',
    "deep": "[" * 9999, "number": '[{"t":"ack","s":99999999999999999999}]', "negative": '[{"t":"ack","s":-1}]', "version": '[{"t":"hello","v":2}]',
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_cuts_its_link_and_no_other(attached, peer, text):
    host, url = attached
    worker, stranger = peer(url), peer(url)
    link = worker.hello(events=["message"])["link"]
    stranger.wait_pipe()
    stranger.tell("send " + text)
    stranger.wait_gone()
    cut(host, "")
    ws = connect("127.0.0.1", host.port, "/")
    ws.send_text("still there?")
    event = worker.receive()[0]
    worker.send({"t": "ack", "s": event["s"], "link": link, "commands": [{"c": "send", "data": "yes"}]})
    assert ws.recv_text() == "yes"


def test_peers_that_are_killed_under_load(attached, peer):
    """What libnng's own listener does not survive (tests/bench/nng-wedge.c)."""
    host, url = attached
    ws = None
    for i in range(150):
        worker = peer(url)
        link = worker.hello(events=["timer"])["link"]
        ws = ws or connect("127.0.0.1", host.port, "/")
        query = json.dumps([{"t": "query", "q": 1, "what": "stats", "link": link}])
        if i % 2:
            worker.tell(f"flood 64 {query}", "end")
            worker.process.wait(PATIENCE)
        else:
            worker.tell(f"flood 500 {query}")
            wait_until(lambda: any('"reply"' in line for line in worker.lines), "answers are under way")
            worker.kill()
    worker = peer(url)
    link = worker.hello(events=["timer"])["link"]
    worker.send({"t": "push", "link": link, "commands": [{"c": "broadcast", "data": "alive"}]})
    assert ws.recv_text() == "alive"
    wait_until(lambda: host.descriptors < 60, "the pipes of the dead are closed")
