"""A script per connection: lines both ways, CGI variables, commands on descriptor 3, limits; and beside websocketd, which it follows."""
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from control import ctl, stats
from patience import unhurried
from probe import WRAPPED
from tova_host import BUILD, IMPATIENT, Host, free_port, gone, wait_until
from wsclient import BINARY, TEXT, Closed, connect, frame, refused

CHAT = r"""echo 'join lobby' >&3; echo "broadcast_to_others lobby $1 has come" >&3; while read -r line; do echo "broadcast_to lobby $1: $line" >&3; done"""


def script(body, *args, mount="/", **how):
    """A host whose connections each get /bin/sh with this body."""
    impatient = () if "--close-timeout" in args else IMPATIENT
    return Host("--script", f"{mount}={body}" if mount != "/" else body, *impatient, *args, **how)


def client(host, path="/", **how):
    return connect("127.0.0.1", host.port, path, **how)


# --- lines --------------------------------------------------------------------------------------------------------------------------------


def test_lines_both_ways():
    with script("exec sed -u 's/^/> /'") as host:
        ws = client(host)
        for text in ("one", "", "ä€𝄞", "x" * 100000, " spaces ", "tab\tand \\ backslash"):
            ws.send_text(text)
            assert ws.recv_text() == "> " + text
        ws.send_text("two\nlines")
        assert [ws.recv_text(), ws.recv_text()] == ["> two", "> lines"]
        ws.end()


def test_it_may_speak_first_and_end_lines_with_cr():
    with script(r"printf 'one\r\ntwo\n\nthree\r'; cat >/dev/null") as host:
        ws = client(host)
        assert [ws.recv_text() for _ in range(3)] == ["one", "two", ""]
        ws.close(1000)
        assert ws.recv_text() == "three\r", "it has no line end to lose"
        ws.expect_close(1000)


def test_a_last_line_needs_no_end():
    with script("printf 'one\\ntwo'") as host:
        ws = client(host)
        assert [ws.recv_text(), ws.recv_text()] == ["one", "two"]
        ws.expect_closed(1000)


def test_much_at_once():
    """More than pipes and queues hold, both ways at once, through a script that reads and writes."""
    with script("exec cat") as host:
        ws = client(host)
        texts = [f"{i} " + "x" * (i % 977) for i in range(5000)]
        for text in texts:
            ws.send_text(text)
        for text in texts:
            assert ws.recv_text() == text
        ws.end()


@pytest.mark.parametrize("status, code", [("exit 0", 1000), ("exit 1", 1011), ("exit 255", 1011), ("kill -TERM $$", 1011), ("kill -SEGV $$", 1011)])
def test_its_exit_closes(status, code):
    with script(f"echo bye; {status}") as host:
        ws = client(host)
        assert ws.recv_text() == "bye"
        ws.expect_closed(code)
        if code == 1011:
            line = host.wait_log(lambda line: line.get("message") == "a script failed", "why")
            assert "exited with status" in line["how"] or "killed by SIG" in line["how"]


def test_all_of_its_output_comes_before_the_close():
    with script("exec seq 1 20000") as host:
        ws = client(host)
        assert [ws.recv_text() for _ in range(20000)] == [str(i) for i in range(1, 20001)]
        ws.expect_closed(1000)


@pytest.mark.parametrize("how", ["close", "drop"])
def test_its_input_ends_with_the_connection(tmp_path, how):
    with script(f"while read -r line; do echo \"$line\"; done; echo 'after the end'; echo done >{tmp_path}/done.new; mv {tmp_path}/done.new {tmp_path}/done") as host:
        ws = client(host)
        ws.send_text("a")
        assert ws.recv_text() == "a"
        if how == "close":
            ws.close(1000)
            assert ws.recv_text() == "after the end"
            ws.expect_close(1000)
        else:
            ws.drop()
        wait_until((tmp_path / "done").exists, "it has seen the end of its input")
        wait_until(lambda: not host.children, "it has ended")


def test_messages_before_a_close_are_read_before_it(tmp_path):
    with script(f"while read -r line; do echo \"$line\" >>{tmp_path}/said; done; mv {tmp_path}/said {tmp_path}/all", "--close-timeout", "30s") as host:
        ws = client(host)
        for i in range(100):
            ws.send_text(str(i))
        ws.end()
        wait_until((tmp_path / "all").exists, "it has seen the end")
        assert (tmp_path / "all").read_text().split() == [str(i) for i in range(100)]


def test_one_that_does_not_leave_is_ended():
    """TERM after --close-timeout, KILL after another."""
    with script("trap '' TERM; echo $$; exec <&-; while :; do sleep 0.05; done", "--close-timeout", "200ms") as host:
        ws = client(host)
        pid = int(ws.recv_text())
        ws.end()
        wait_until(lambda: gone(pid), "it is gone")


def test_one_that_does_not_read_is_ended_too():
    """What is on its way to it would else keep its connection's close waiting for ever."""
    with script("echo $$; exec sleep 1000", "--close-timeout", "200ms") as host:
        ws = client(host)
        pid = int(ws.recv_text())
        ws.send_text("x" * 100000)
        ws.send_text("y")
        ws.drop()
        wait_until(lambda: gone(pid), "it is gone")


def test_one_that_closes_its_output_goes_on():
    with script("exec >&-; read -r line; echo 'close 4000 '\"$line\" >&3; cat >/dev/null") as host:
        ws = client(host)
        ws.send_text("seen")
        ws.expect_closed(4000, "seen")


def test_what_it_says_on_standard_error_is_logged():
    with script("echo oops >&2; echo said; cat >/dev/null") as host:
        ws = client(host)
        assert ws.recv_text() == "said"
        line = host.wait_log(lambda line: line.get("message") == "oops", "its line")
        assert line["kind"] == "worker.output" and line["mount"] == "/"
        ws.end()


def test_a_line_above_the_limit():
    with script("head -c 17000000 /dev/zero | tr '\\0' x; echo; cat >/dev/null") as host:
        ws = client(host)
        ws.expect_closed(1011)
        host.wait_log(lambda line: "16 MiB" in line.get("message", ""), "why")


@pytest.mark.parametrize("size", [16 << 20, (16 << 20) + 1, (16 << 20) + 60000])
def test_a_line_above_the_limit_at_the_very_end(size):
    with script(f"exec head -c {size} /dev/zero", "--max-queue", "64m") as host:
        ws = client(host)
        while ws.recv_frame().opcode == TEXT:
            pass
        ws.drop()
        other = client(host)
        other.drop()


def test_bytes_that_are_no_text_are_dropped_with_a_line_in_the_log():
    with script(r"printf 'good\n\377bad\nfine\n'; cat >/dev/null") as host:
        ws = client(host)
        assert [ws.recv_text(), ws.recv_text()] == ["good", "fine"]
        host.wait_log(lambda line: "UTF-8" in line.get("message", ""), "why")
        ws.end()


# --- binary -------------------------------------------------------------------------------------------------------------------------------

ECHO_FRAMES = """exec %s -c '
import struct, sys
read = lambda n: sys.stdin.buffer.read(n)
while True:
    head = read(4)
    if len(head) < 4: break
    data = read(struct.unpack(">I", head)[0])
    sys.stdout.buffer.write(struct.pack(">I", len(data)) + data[::-1])
    sys.stdout.buffer.flush()
'""" % sys.executable


def test_binary_frames():
    with script(ECHO_FRAMES, "--script-binary") as host:
        ws = client(host)
        for data in (b"", b"\0", b"\n\r\0\xff", os.urandom(70000), b"text too"):
            ws.send_binary(data)
            got = ws.recv_message()
            assert (got.opcode, got.data) == (BINARY, data[::-1])
        ws.send_text("text")
        assert ws.recv_binary() == b"txet"
        ws.end()


# --- lines of JSON -------------------------------------------------------------------------------------------------------------------------


def test_lines_of_json_both_ways():
    """Whatever a message holds it is one line, and binary comes and goes as such."""
    with script("exec cat", "--script-lines", "json") as host:
        ws = client(host)
        for text in ("one", "", "two\nlines\r\n", "\0\x01\x1f\x7f", 'a "b" \\ /', "ä€𝄞\u2028", "\n" * 5001, "x" * 300000, "\x02" * 200000):
            ws.send_text(text)
            assert ws.recv_text() == text
        for data in (b"", b"\0", b"ab", b"abc\n", bytes(range(256)) * 300, os.urandom(300001)):
            ws.send_binary(data)
            assert ws.recv_binary() == data
        ws.end()


def test_what_lines_of_json_are_for_the_script():
    with script("read -r a; read -r b; printf '%s' \"$a $b\" | od -An -tx1 | tr -d ' \\n' | sed 's/.*/\"&\"/'", "--script-lines", "json") as host:
        ws = client(host)
        ws.send_text("a\n\"\x01é")
        ws.send_binary(b"\xff\n")
        assert bytes.fromhex(ws.recv_text()).decode() == '"a\\n\\"\\u0001é" {"bin":"/wo="}'
        ws.expect_closed(1000)


def test_commands_with_json():
    with script("echo \"\\\"$TOVA_CONN\\\"\"; while read -r line; do echo \"$line\" | sed 's/^\"//; s/\"$//; s/\\\\\"/\"/g; s/\\\\\\\\/\\\\/g' >&3; done", "--script-lines", "json") as host:
        ws = client(host)
        own = ws.recv_text()
        for command, heard in ((r'broadcast "two\nlines"', "two\nlines"), (f'send {own} {{"bin":"/wo="}}', b"\xff\n"), ('join "a b"', None),
                               (r'broadcast_to "a b" "\u00e4"', "ä"), ('key=k broadcast_to "a b" {"bin":""}', b"")):
            ws.send_text(command)
            if heard is not None:
                assert ws.recv_message().data == (heard.encode() if isinstance(heard, str) else heard)
        for command, why in (("broadcast plain", "a JSON string"), ('broadcast "a" b', "something stands behind"), ('close 4000 {"bin":""}', "a reason is text")):
            ws.send_text(command)
            host.wait_log(lambda line: line.get("line") == command and why in line["message"], command)
        ws.send_text(r'close 4000 "good\u0020bye"')
        ws.expect_closed(4000, "good bye")


def test_lines_that_are_no_json_are_dropped_with_a_line_in_the_log():
    with script(r"""echo plain; echo '"good"'; echo '{"bin":"?"}'; echo '"half'; echo '"\ud800"'; printf '"last"'""", "--script-lines", "json") as host:
        ws = client(host)
        assert [ws.recv_text(), ws.recv_text()] == ["good", "last"]
        ws.expect_closed(1000)
        for line, why in (("plain", "a JSON string"), ('{"bin":"?"}', "not base64"), ('"half', "ends inside a string"), (r'"\ud800"', "UTF-8")):
            said = host.wait_log(lambda entry: entry.get("line") == line, line)
            assert why in said["message"] and len(said["conn"]) == 22


@pytest.mark.parametrize("threads", [1, 3])
def test_the_rate_limit_counts_what_a_script_reads(threads):
    """Five lines are five messages, in one message, too; with JSON a message is one line whatever is in it."""
    five, six = "1\n2\n3\n4\n5", "1\n2\n3\n4\n5\n6"
    with script("cat", "--rate-limit", "5/1h", "--threads", threads) as host:
        ws, other = client(host), client(host)
        ws.send_text(six)
        ws.send_text(five)
        ws.send_text("one more")
        assert [ws.recv_text() for _ in range(5)] == list("12345")
        host.wait_log(lambda line: "--rate-limit" in line.get("message", ""), "what was dropped is said")
        other.send_text("a")
        other.send_text(five)
        other.send_text("b")
        assert [other.recv_text() for _ in range(2)] == ["a", "b"]
    with script("cat", "--rate-limit", "2/1h", "--script-lines", "json", "--threads", threads) as host:
        ws = client(host)
        ws.send_text(six)
        assert ws.recv_text() == six


def test_each_mount_may_have_its_own_lines():
    with Host("--script", "/text=cat", "--script", "/json=cat", "--script-lines", "/json=json", *IMPATIENT) as host:
        for path, heard in (("/text", ["a", "b"]), ("/json", ["a\nb"])):
            ws = client(host, path)
            ws.send_text("a\nb")
            assert [ws.recv_text() for _ in heard] == heard
            ws.end()


@pytest.mark.parametrize("args, why", [
    (("--script", "cat", "--script-lines", "json", "--script-binary"), "expected one of both"),
    (("--script", "cat", "--script-lines", "xml"), "expected text or json"),
    (("--plugin", "echo", "--script-lines", "json"), "there is none"),
    (("--script", "cat", "--plugin", "/p=echo", "--script-lines", "/p=json"), "there is none at /p"),
])
def test_lines_that_can_not_be_are_refused(args, why):
    done = subprocess.run([BUILD / "tova-host", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--script-lines" in done.stderr and why in done.stderr


# --- what it is given ----------------------------------------------------------------------------------------------------------------------


def environment(host, path="/", **how):
    ws = client(host, path, **how)
    got = json.loads(ws.recv_text())
    ws.end()
    return got


ENV = f"exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"


def test_cgi_variables():
    odd = {"REMOTE_USER": "root", "HTTPS": "on", "SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_S_DN": "CN=root", "AUTH_TYPE": "Basic"}
    with script(ENV, "--passenv", "*", mount="/cgi", env={"HTTP_PROXY": "outer", "TOVA_TOKEN": "outer", "MINE": "kept", **odd}) as host:
        got = environment(host, "/cgi/a%20b/c?x=%20y&z", headers=[("X-Custom-Name", "one"), ("Proxy", "evil"), ("Cookie", "a=b"), ("X-Two", "1"), ("X-Two", "2"),
                                                                  ("Content-Length", "0"), ("X_Under", "score")], origin=None)
        expected = {
            "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "GET", "SCRIPT_NAME": "/cgi", "PATH_INFO": "/a b/c",
            "QUERY_STRING": "x=%20y&z", "REQUEST_URI": "/cgi/a%20b/c?x=%20y&z", "REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "localhost",
            "SERVER_PORT": str(host.port), "HTTP_X_CUSTOM_NAME": "one", "HTTP_COOKIE": "a=b", "HTTP_HOST": "localhost", "TOVA_MOUNT": "/cgi", "MINE": "kept",
        }
        assert {k: got.get(k) for k in expected} == expected
        assert got["HTTP_X_TWO"] in ("1, 2", "1,2") and got["SERVER_SOFTWARE"].startswith("tova-host/") and int(got["REMOTE_PORT"]) > 0
        assert re.fullmatch(r"[A-Za-z0-9_-]{22}", got["TOVA_CONN"])
        assert "HTTP_PROXY" not in got, "httpoxy: CVE-2016-5385"
        assert "TOVA_TOKEN" not in got and "TOVA_URL" not in got and not set(odd) & set(got)


def test_a_script_knows_which_subprotocol_was_chosen():
    with script(ENV, "--subprotocol", "v2,v1") as host:
        for offered, chosen in ((["v1", "v2"], "v2"), (["v1"], "v1"), (["v3"], None), ([], None)):
            ws = connect("127.0.0.1", host.port, "/", subprotocols=offered)
            assert ws.subprotocol == chosen
            assert json.loads(ws.recv_text()).get("TOVA_SUBPROTOCOL") == chosen


def test_the_environment_is_not_the_hosts():
    with script(ENV, env={"SECRET": "x", "TZ": "Europe/Berlin", "MINE": "1", "LC_TIME": "C"}, passenv=()) as host:
        got = environment(host)
        assert got["TZ"] == "Europe/Berlin" and got["LC_TIME"] == "C" and not {"SECRET", "MINE"} & set(got)


@pytest.mark.parametrize("item, why", [("A B", "no name of a variable"), ("REMOTE_USER", "a fact of a request"), ("TOVA_TOKEN", "service manager"),
                                       ("A=1", "no name of a variable"), ("HTTP_PROXY", "a fact of a request")])
def test_what_is_no_name_is_refused(item, why):
    done = subprocess.run([BUILD / "tova-host", "--script", "cat", "--passenv", item], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and item in done.stderr and "--passenv" in done.stderr and why in done.stderr


def test_headers_that_would_share_a_name():
    """X_Under and X-Under are one variable; which of them was meant can not be told, so what a proxy sets must not be replaced."""
    with script(ENV) as host:
        got = environment(host, headers=[("X-Real-Ip", "1.2.3.4"), ("X_Real_Ip", "6.6.6.6")])
        assert got["HTTP_X_REAL_IP"] == "1.2.3.4"


def test_it_has_no_descriptors_but_its_own():
    with script("ls /proc/self/fd | tr '\\n' ' '; echo; cat >/dev/null") as host:
        others = [client(host) for _ in range(5)]
        ws = client(host)
        assert ws.recv_text().split() == ["0", "1", "2", "3", "4"], "4 is the folder that ls reads"
        for c in [ws, *others]:
            c.drop()


# --- commands -----------------------------------------------------------------------------------------------------------------------------


def test_a_chat_room_in_one_line_of_shell():
    with script(f"set -- \"$QUERY_STRING\"; {CHAT}") as host:
        anna, bert, carl = (client(host, f"/?{name}") for name in ("Anna", "Bert", "Carl"))
        said = lambda ws, text: wait_for(ws, text)  # noqa: E731
        anna.send_text("hello")
        said(anna, "Anna: hello")
        bert.send_text("hi")
        said(anna, "Bert: hi")
        said(bert, "Bert: hi")
        carl.send_text("x")
        for ws in (anna, bert, carl):
            said(ws, "Carl: x")
            ws.end()


def wait_for(ws, text):
    while ws.recv_text() != text:
        pass


def test_commands():
    """What comes in is done as a command; what was wrong is told in the log, and nothing else happens."""
    with script("echo \"$TOVA_CONN\"; exec cat >&3") as host:
        one, two = client(host), client(host)
        ids = [one.recv_text(), two.recv_text()]

        def do(ws, command):
            ws.send_text(command)

        do(one, "broadcast all of you")
        assert one.recv_text() == "all of you" and two.recv_text() == "all of you"
        do(one, "broadcast_others you")
        assert two.recv_text() == "you"
        do(one, f"send {ids[1]} to  you ")
        assert two.recv_text() == "to  you "
        do(two, "join room")
        do(one, "join room")
        do(one, f"send {ids[0]} joined")
        assert one.recv_text() == "joined"
        do(two, f"send {ids[1]} joined")
        assert two.recv_text() == "joined"
        do(two, "broadcast_to room both of you")
        assert one.recv_text() == two.recv_text() == "both of you"
        do(two, "broadcast_to_others room not me")
        assert one.recv_text() == "not me"
        do(two, "leave room")
        do(two, "broadcast_to room only one")
        assert one.recv_text() == "only one"
        for bad in ("join " + "x" * 256, "close 999", f"send {'A' * 22} nobody"):
            do(two, bad)
        do(two, "close 4001 that's it")
        two.expect_closed(4001, "that's it")
        host.wait_log(lambda line: "no close code" in line.get("message", ""), "a complaint")
        do(one, "close")
        one.expect_closed(1000)


@pytest.mark.parametrize("line, why, expected", [
    ("zzz room", "a script's command is unknown", "broadcast_to_others, close, close_room, prolong or events"),
    ("Join room", "a script's command is unknown", "join, leave"),
    ("join", "a word is missing", "join ROOM"),
    ("join team private", "a name with spaces stands in double quotes", "join ROOM"),
    ("leave team private", "a word too many", "leave ROOM"),
    ('join "team private', "the text ends inside a string", "join ROOM"),
    ('join "team"private', "a space was expected behind a closing quote", "join ROOM"),
    ("broadcast_to room", "what is to be sent is missing", "broadcast_to ROOM TEXT"),
    ("broadcast", "what is to be sent is missing", "broadcast TEXT"),
    ("send me text", "no id of a connection", "send CONN TEXT"),
    ("send", "a word is missing", "send CONN TEXT"),
    ("close 4000 " + "x" * 124, "a reason has at most 123 bytes", "close CODE REASON"),
    *((f"close {code}", "no close code", "1000, 1001, 1003, 1007 to 1014 or 3000 to 4999")
      for code in ("soon", '""', '"" why', "0", "00", "0 why", "-0", "999", "1002", "1005", "1006", "1015", "2999", "5000", "65536", "66536")),
    ('key="a join x', "the text ends inside a string", ""),
])
def test_what_is_wrong_with_a_command_is_said(line, why, expected):
    """With the line, who said it, and what was expected; nothing else happens."""
    with script("echo \"$TOVA_CONN\"; exec cat >&3") as host:
        ws = client(host)
        own = ws.recv_text()
        ws.send_text(line)
        said = host.wait_log(lambda entry: entry.get("line") == line, "a complaint")
        assert why in said["message"] and expected in said["expected"] and said["conn"] == own and said["mount"] == "/", said
        ws.send_text(f"send {own} still here")
        assert ws.recv_text() == "still here"
        ws.end()


def test_words_may_stand_in_double_quotes():
    with script("echo \"$TOVA_CONN\"; exec cat >&3") as host:
        one, two = client(host), client(host)
        one_id, _ = one.recv_text(), two.recv_text()
        for ws, name, hear in ((one, '"team private"', [one]), (two, '"team\\u0020private"', [one, two]), (two, "team", [two])):
            ws.send_text(f"join {name}")
            ws.send_text(f"broadcast_to {name} joined {name}")
            assert [other.recv_text() for other in hear] == [f"joined {name}"] * len(hear)
        one.send_text('key="a b" broadcast_to_others "team private" X "as" it  stands')
        assert two.recv_text() == 'X "as" it  stands'
        two.send_text(f'send "{one_id}" "quoted"')
        assert one.recv_text() == '"quoted"'
        two.send_text('leave "team private"')
        two.send_text('broadcast_to "team private" one is left')
        assert one.recv_text() == "one is left"
        two.send_text('close "4001" that is it')
        two.expect_closed(4001, "that is it")
        one.end()


# --- order -------------------------------------------------------------------------------------------------------------------------------

MIXED = """exec %s -uc '
import os, random
own = os.environ["TOVA_CONN"].encode()
dice = random.Random(int(os.environ["QUERY_STRING"]))
for i in range(5000):
    fd, before = dice.choice(((1, b""), (3, b"send " + own + b" ")))
    text = before + str(i).encode() + b" " + b"x" * dice.choice((0, 1, 9, 100, 5000))
    if dice.random() < 0.1 and i %% 2: os.write(fd, text[:3]); text = text[3:]
    while text: text = text[os.write(fd, text):] if len(text) > 0 else b""
    os.write(fd, b"\\n")
os.read(0, 1)
'""" % sys.executable


def test_standard_output_and_commands_keep_their_order():
    """However they alternate, and however slowly they are read."""
    with script(MIXED) as host:
        sockets = [client(host, f"/?{seed}") for seed in range(3)]
        for ws in sockets:
            assert [int(ws.recv_text().split(" ")[0]) for _ in range(5000)] == list(range(5000))
            ws.end()


def test_a_close_does_not_overtake_the_last_line():
    with script("i=0; while [ $i -lt 100 ]; do echo \"line $i\"; i=$((i+1)); done; echo last; echo 'close 4000 bye' >&3; echo lost; cat >/dev/null") as host:
        for _ in range(5):
            ws = client(host)
            assert [ws.recv_text() for _ in range(101)][-1] == "last"
            ws.expect_closed(4000, "bye")


def test_a_shell_that_alternates():
    with script("for i in $(seq 1 300); do echo \"send $TOVA_CONN c$i\" >&3; echo \"l$i\"; done; cat >/dev/null") as host:
        ws = client(host)
        assert [ws.recv_text() for _ in range(600)] == [f"{kind}{i}" for i in range(1, 301) for kind in "cl"]
        ws.end()


# --- last words --------------------------------------------------------------------------------------------------------------------------

def hear_all(ws):
    """Reads until its end, which may come without a close frame."""
    try:
        while ws.recv_frame().opcode == TEXT:
            pass
    except Closed:
        pass
    ws.drop()


LISTENER = "if [ \"$QUERY_STRING\" = listener ]; then echo 'join r' >&3; echo ready; exec cat >/dev/null; fi; "


@pytest.mark.parametrize("how", ["close", "drop"])
def test_last_words_are_said_in_the_connections_name(how):
    """Behind the end of its standard input: commands for others work, what it says to its client still arrives; the rest is a counted no-op."""
    with script(LISTENER + "cat >/dev/null; echo 'join r' >&3; echo \"send $TOVA_CONN gone\" >&3; echo gone; echo 'broadcast_to_others r left' >&3; "
                "echo 'close 4000' >&3; echo 'broadcast_to r really' >&3", "--close-timeout", "10s") as host:
        listener, ws = client(host, "/?listener"), client(host)
        assert listener.recv_text() == "ready"
        before = stats(host.control_socket)["gone"]
        if how == "close":
            ws.close(1000)
            assert [ws.recv_text(), ws.recv_text()] == ["gone", "gone"]
            ws.expect_close(1000)
        else:
            ws.drop()
        assert [listener.recv_text(), listener.recv_text()] == ["left", "really"]
        wait_until(lambda: len(host.children) == 1, "it has ended")
        assert stats(host.control_socket)["gone"] - before in ([2] if how == "close" else [2, 3, 4]), "join and close; send and a line"
        listener.end()


ENDS = {"TERM": 1001, "tova-ctl": 4009, "a violation": 1002, "its client": 4002, "half a close": None}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("end", ENDS)
def test_what_came_before_the_end_is_answered(end, threads):
    """As by other handlers: all that it says of that leaves before our close frame."""
    with script("echo $TOVA_CONN; while read -r line; do sleep 0.03; echo \"$line\"; done; echo bye", "--close-timeout", "20s", "--threads", threads) as host:
        ws = client(host)
        conn = ws.recv_text()
        ws.send(b"".join(frame(TEXT, f"{i}") for i in range(20)))
        assert ws.recv_text() == "0"
        if end == "TERM":
            host.signal(signal.SIGTERM)
        elif end == "tova-ctl":
            ctl(host.control_socket, "close", conn, 4009)
        elif end == "a violation":
            ws.send(frame(3, "bad"))
        elif end == "its client":
            ws.close(4002)
        else:
            ws.shutdown_write()
        assert [ws.recv_text() for _ in range(20)] == [*map(str, range(1, 20)), "bye"]
        if ENDS[end] is not None:
            ws.expect_closed(ENDS[end]) if end in ("TERM", "tova-ctl") else ws.expect_close(ENDS[end])
        ws.drop()


def test_one_that_lingers_does_not_hold_the_close_frame_for_ever():
    with script("exec sleep 1000", "--close-timeout", "300ms") as host:
        ws = client(host)
        ws.close(4002)
        ws.expect_close(4002)
        ws.drop()


def test_words_behind_its_own_close_are_said_too():
    with script(LISTENER + "echo 'close 4001' >&3; echo 'broadcast_to r one' >&3; cat >/dev/null; echo 'broadcast_to r two' >&3", "--close-timeout", "10s") as host:
        listener = client(host, "/?listener")
        assert listener.recv_text() == "ready"
        ws = client(host)
        ws.expect_closed(4001)
        assert [listener.recv_text(), listener.recv_text()] == ["one", "two"]
        listener.end()


def test_words_of_one_that_does_not_read(tmp_path):
    """Its client has gone behind messages that it does not read: standard input is still open, and its connection has ended."""
    go = tmp_path / "go"
    with script(LISTENER + f"echo here; while [ ! -e {go} ]; do sleep 0.05; done; echo 'broadcast_to r said' >&3; exec cat >/dev/null", "--close-timeout", "20s") as host:
        listener, ws = client(host, "/?listener"), client(host)
        assert [listener.recv_text(), ws.recv_text()] == ["ready", "here"]
        for _ in range(3):
            ws.send_text("x" * 100000)
        ws.drop()
        wait_until(lambda: stats(host.control_socket)["connections"] == 1, "its connection has ended")
        go.touch()
        assert listener.recv_text() == "said"
        listener.end()


@unhurried
def test_what_comes_too_late_is_said(ms):
    with script(LISTENER + "trap 'echo \"broadcast_to r too late\" >&3; echo and this; exit 0' TERM; exec <&-; echo ready; while :; do sleep 0.02; done",
                "--close-timeout", ms(200)) as host:
        listener, ws = client(host, "/?listener"), client(host)
        assert [listener.recv_text(), ws.recv_text()] == ["ready", "ready"]
        ws.drop()
        line = host.wait_log(lambda line: "--close-timeout was over" in line.get("message", ""), "a line for the operator")
        assert line["lines"] == 2 and len(line["conn"]) == 22
        listener.drop()


def test_a_stopping_host_gives_its_scripts_time(tmp_path):
    """To read the end of their input, and be done; TERM comes after --close-timeout only."""
    with script(f"trap 'echo term >{tmp_path}/how; exit 0' TERM; echo ready; cat >/dev/null; sleep 0.5; echo broadcast bye >&3; echo whole >{tmp_path}/how", "--close-timeout", "20s") as host:
        ws = client(host)
        assert ws.recv_text() == "ready"
        host.signal(signal.SIGTERM)
        ws.expect_closed(1001)
        assert host.wait_exit() == 0
        assert (tmp_path / "how").read_text() == "whole\n"


@unhurried
def test_a_stopping_host_ends_those_that_do_not_leave(tmp_path, ms):
    """With TERM, and with KILL who does not mind that."""
    with script(f"trap 'echo term >>{tmp_path}/how' TERM; echo $$; exec <&-; while :; do sleep 0.02; done", "--close-timeout", ms(300)) as host:
        ws = client(host)
        pid = int(ws.recv_text())
        host.stop()
        assert gone(pid) and (tmp_path / "how").read_text() == "term\n"


def test_a_process_that_was_left_behind_does_not_hold_the_host():
    """One with a session of its own writes on and on; its script has ended."""
    left = f"exec {sys.executable} -c 'import os; os.setsid(); os.write(1, b\"%d\\n\" % os.getpid())\nwhile True: os.write(1, b\"x\\n\" * 500)'"
    with script(f"if [ \"$QUERY_STRING\" = leave ]; then sh -c {shlex.quote(left)} & read -r line; exit 0; fi; exec cat") as host:
        other, ws = client(host), client(host, "/?leave")
        pid = int(ws.recv_text())
        ws.send_text("go")
        hear_all(ws)
        wait_until(lambda: gone(pid), "it has nobody to write to")
        other.send_text("a")
        assert other.recv_text() == "a"
        turn = stats(host.control_socket)["loop_turn_max_us"]
        print("longest turn", turn, "us")
        assert turn < 200000
        other.end()


# --- limits -------------------------------------------------------------------------------------------------------------------------------


def test_no_more_scripts_than_allowed():
    with script("exec cat", "--max-scripts", 3) as host:
        clients = [client(host) for _ in range(3)]
        for ws in clients:
            ws.send_text("a")
            assert ws.recv_text() == "a"
        answer = refused("127.0.0.1", host.port)
        assert answer.status == 503 and answer.get("Retry-After") == "1"
        host.wait_log(lambda line: "--max-scripts" in line.get("message", ""), "why")
        clients[0].end()
        wait_until(lambda: len(host.children) == 2, "one has ended")
        clients[0] = client(host)
        for ws in clients:
            ws.end()


def test_no_more_starts_in_a_second_than_allowed(tmp_path):
    with script("exec cat", "--script-rate", 5, "--control", tmp_path / "control") as host:
        began = stats(tmp_path / "control")["uptime_ms"]
        opened = refusals = 0
        while opened < 20:
            try:
                client(host).drop()
                opened += 1
            except AssertionError as error:
                assert "503" in str(error)
                refusals += 1
        assert refusals > 0
        assert stats(tmp_path / "control")["uptime_ms"] - began >= 2000, "20 at 5 a second take four of them"


def test_a_script_that_is_not_there_is_refused_at_the_start():
    for command, why in (("/does/not/exist", "its program /does/not/exist can not be run"), ("sh gone.sh", "its file gone.sh can not be read")):
        for check in ([], ["--check"]):
            done = subprocess.run([BUILD / "tova-host", "-l", "127.0.0.1:0", "-x", command, *check], capture_output=True, text=True, timeout=30)
            assert done.returncode == 2 and f"--script: {command}: {why}" in done.stderr


def test_a_script_that_can_not_be_started(tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\ncat\n")
    program.chmod(0o755)
    with script(f"exec {program}") as host:
        program.unlink()
        client(host).expect_closed(1011)


def test_a_slow_client_slows_its_script_and_nobody_else(tmp_path):
    with script(f"if [ \"$QUERY_STRING\" = slow ]; then exec {sys.executable} -u -c '\nfor i in range(100000): print(i, \"x\" * 1000); open(\"{tmp_path}/at\", \"w\").write(str(i))\n'; fi; exec cat",
                "--control", tmp_path / "control", "--idle-timeout", "0") as host:  # the other one answers no pings meanwhile
        slow = client(host, "/?slow", receive_buffer=8192)
        other = client(host)
        at = lambda: int((tmp_path / "at").read_text() or 0) if (tmp_path / "at").exists() else 0  # noqa: E731
        still = [0, 0]

        def stands():
            """It has written no further in many looks."""
            now = at()
            still[1] = still[1] + 1 if now == still[0] and now > 0 else 0
            still[0] = now
            return still[1] > 50

        wait_until(stands, "the script waits")
        assert still[0] < 50000
        other.send_text("a")
        assert other.recv_text() == "a"
        for i in range(3000):  # through a small window each of them may cost a turn of the kernel's timers
            assert slow.recv_text().split(" ")[0] == str(i)
        assert stats(tmp_path / "control")["dropped"] == 0
        slow.drop()
        other.end()


def test_the_host_takes_its_scripts_along():
    with script("trap '' TERM; echo $$; while :; do sleep 0.05; done") as host:
        clients = [client(host) for _ in range(3)]
        pids = [int(ws.recv_text()) for ws in clients]
        host.stop()
        for pid in pids:
            wait_until(lambda: gone(pid), "it is gone")


def test_a_killed_host_takes_its_scripts_along():
    with script("exec sleep 1000") as host:
        clients = [client(host) for _ in range(3)]
        pids = wait_until(lambda: len(host.children) == 3 and host.children, "three scripts")
        host.kill()
        for pid in pids:
            wait_until(lambda: gone(pid), "it is gone")
        for ws in clients:
            ws.drop()


def test_what_scripts_have_started_dies_with_a_killed_host():
    with script("sh -c 'trap \"\" TERM HUP; echo $$; while :; do sleep 1000; done' & while :; do sleep 1000; done") as host:
        clients = [client(host) for _ in range(3)]
        pids = [int(ws.recv_text()) for ws in clients] + host.children + [wait_until(lambda: host.guard, "its guard")]
        host.kill()
        for pid in pids:
            wait_until(lambda: gone(pid), "it is gone")
        for ws in clients:
            ws.drop()


def test_many_come_and_go():
    with script("read -r line; echo \"$line\"", "--max-scripts", 50, "--script-rate", 10000) as host:
        descriptors = None
        for round in range(5):
            clients = [client(host) for _ in range(20)]
            for i, ws in enumerate(clients):
                ws.send_text(str(i))
            for i, ws in enumerate(clients):
                assert ws.recv_text() == str(i)
                ws.expect_closed(1000)
            wait_until(lambda: not host.children, "all have ended")
            descriptors = descriptors or wait_until(lambda: host.descriptors, "")
            wait_until(lambda: host.descriptors <= descriptors, "none is left open")


# --- bounds ---------------------------------------------------------------------------------------------------------------------------------


def seconds_of(pid):
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_large_message_to_a_slow_script():
    """It is not copied again, let alone for each piece of it that the script reads."""
    size = 16 << 20
    with script(f"exec {sys.executable} -c '\nimport os\nn = 0\nwhile n <= {size}: n += len(os.read(0, 4096))\nos.write(1, b\"%d\\n\" % n)\nos.read(0, 1)'") as host:
        other, ws = client(host), client(host)
        memory, spent = host.rss, seconds_of(host.pid)
        ws.send_text("x" * size)
        assert ws.recv_text() == str(size + 1)
        spent = seconds_of(host.pid) - spent
        grown = host.status("VmHWM") * 1024 - memory
        print(f"{grown >> 20} MiB, {spent} s")
        assert WRAPPED or grown < 2.5 * size
        assert spent < 3
        other.drop()
        ws.end()


@pytest.mark.parametrize("threads", [1, 3])
def test_lines_without_an_end(threads):
    """All together take no more than they may; who holds most is ended, with a line that says so, and the others go on."""
    with script("if [ \"$QUERY_STRING\" = small ]; then exec cat; fi; exec tr '\\0' x </dev/zero", "--max-buffered", "64m", "--threads", threads) as host:
        small = client(host, "/?small")
        small.send_text("a")
        assert small.recv_text() == "a"
        memory = host.rss
        clients = [client(host) for _ in range(20)]
        for ws in clients:
            ws.expect_closed(1011)
        grown = host.status("VmHWM") * 1024 - memory
        print(f"{grown >> 20} MiB of 64")
        assert WRAPPED or grown < 100 << 20
        host.wait_log(lambda line: "--max-buffered" in line.get("message", "") and len(line["conn"]) == 22, "why")
        small.send_text("b")
        assert small.recv_text() == "b"
        small.end()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_flood_to_slow_clients(threads):
    """On whichever loop they are: scripts wait for them."""
    with script("exec yes 'a line that is said again and again'", "--threads", threads) as host:
        memory = host.rss
        clients = [client(host, receive_buffer=8192) for _ in range(6)]
        sent = lambda: stats(host.control_socket)["messages_out"]  # noqa: E731
        still = [0, 0]

        def stands():
            now = sent()
            still[1] = still[1] + 1 if now == still[0] and now > 0 else 0
            still[0] = now
            return still[1] > 30

        wait_until(stands, "all wait")
        grown = host.rss - memory
        print(f"{grown >> 20} MiB")
        assert WRAPPED or grown < 64 << 20
        for ws in clients:
            ws.drop()


# --- beside websocketd -----------------------------------------------------------------------------------------------------------------------


class Websocketd:
    """Debian's websocketd with the same command."""

    def __init__(self, *command, args=()):
        self.port = free_port()
        self.process = subprocess.Popen(["websocketd", "--address=127.0.0.1", f"--port={self.port}", "--loglevel=fatal", *args, *command],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def __enter__(self):
        def listens():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0
        wait_until(listens, "websocketd listens")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


CONVERSATIONS = {
    "an echo": ("exec cat", ["a", "ä€", "x" * 5000, "", "last"]),
    "a counter": ("n=0; while read -r line; do n=$((n+1)); echo \"$n: $line\"; done", ["a", "b c", "d"]),
    "several lines for one": ("while read -r line; do echo 1; echo 2; echo; echo \"$line\"; done", ["a", "b"]),
    "one that speaks first": ("echo ready; exec cat", ["a"]),
    "CR LF": ("while read -r line; do printf '%s\\r\\n' \"$line\"; done", ["a", "b"]),
    "words": ("while read -r a b; do echo \"$b $a\"; done", ["one two", "three"]),
    "an end": ("read -r line; echo \"got $line\"; exit 0", ["a"]),
    # GATEWAY_INTERFACE and SCRIPT_NAME are what RFC 3875 says they are; websocketd has its own ideas of them.
    "variables": ("echo \"$REQUEST_METHOD $QUERY_STRING $SERVER_PROTOCOL $REMOTE_ADDR $HTTP_X_CUSTOM $SERVER_NAME $PATH_INFO\"; exec cat", ["a"]),
}


def converse(port, texts):
    """All that comes for these messages, until the end."""
    ws = connect("127.0.0.1", port, "/?x=1&y", headers=[("X-Custom", "v")], host_header="localhost")
    got = []
    try:
        for text in texts:
            ws.send_text(text)
        ws.send_text("finis")
        while not any("finis" in text for text in got):
            message = ws.recv_message()
            assert message.opcode == TEXT
            got.append(message.text)
    except Closed:
        got.append("the end of the stream")  # which websocketd does not announce
    except AssertionError as end:
        assert str(end).startswith("close where a message was expected"), end
        got.append("the end of the stream")
    finally:
        ws.drop()
    return got


@pytest.mark.parametrize("what", CONVERSATIONS)
def test_the_same_conversation_as_websocketd(what):
    if shutil.which("websocketd") is None:
        pytest.fail("websocketd is missing: run make test-deps")
    command, texts = CONVERSATIONS[what]
    with script(command) as host, Websocketd("/bin/sh", "-c", command) as other:
        ours, theirs = converse(host.port, texts), converse(other.port, texts)
        assert ours == theirs
        assert len(ours) > 1


# --- a folder of them ---------------------------------------------------------------------------------------------------------------------


def program(path, body, mode=0o755):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)
    path.chmod(mode)
    return path


WHERE = """#!/bin/sh
echo "$SCRIPT_NAME|$PATH_INFO|$QUERY_STRING|$SCRIPT_FILENAME"
exec cat
"""


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "cgi-bin"
    program(top / "where.sh", WHERE)
    program(top / "more/two words.py", "#!/usr/bin/env python3\nprint('python', flush=True)\ninput()\n")
    program(top / "more/where.sh", WHERE)
    program(top / "plain.txt", "text\n", 0o644)
    program(top / ".hidden", WHERE)
    (top / "inside").symlink_to("more/where.sh")
    (top / "outside").symlink_to("/bin/cat")
    program(tmp_path / "secret", WHERE)
    return top


@pytest.mark.parametrize("mount", ["/", "/cgi/v1"])
def test_a_folder_of_scripts(folder, mount):
    at = "" if mount == "/" else mount
    with Host("--script-dir", f"{mount}={folder}", *IMPATIENT) as host:
        for path, said in (("/where.sh", "/where.sh||"), ("/where.sh/a/b?x=1&y", "/where.sh|/a/b|x=1&y"), ("/more/where.sh/", "/more/where.sh|/|"),
                           ("/inside", "/inside||")):
            ws = client(host, at + path)
            name = said.partition("|")[0]
            assert ws.recv_text() == f"{at}{said}|{folder}{name}"
            ws.send_text("x")
            assert ws.recv_text() == "x"
            ws.end()
        ws = client(host, at + "/more/two%20words.py")
        assert ws.recv_text() == "python"
        ws.send_text("")
        ws.expect_close(1000)
        for path, status in (("/plain.txt", 403), ("/nothing", 404), ("", 404), ("/", 404), ("/more", 404), ("/more/", 404), ("/.hidden", 404), ("/outside", 404),
                             ("/more/nothing", 404), ("/more//where.sh", 404), ("/where.sh%00", 400), ("/%2e%2e/secret", 400), ("/..%2fsecret", 400),
                             ("/" + "x" * 300, 404), ("/" + "/".join("y" * 40 for _ in range(20)), 404)):
            answer = refused("127.0.0.1", host.port, at + path or "/")
            assert answer.status == status, path
        for why, status, path in (("this script can not be executed", 403, "/plain.txt"), ("there is no such script", 404, "/nothing")):
            host.wait_log(lambda line, *want: (line.get("message"), line.get("status"), line.get("path")) == (why, status, at + path), why)


def test_what_is_in_the_folder_is_looked_at_anew(folder):
    with Host("--script-dir", str(folder), *IMPATIENT) as host:
        assert refused("127.0.0.1", host.port, "/new.sh").status == 404
        made = program(folder / "new.sh", WHERE)
        ws = client(host, "/new.sh")
        assert ws.recv_text().startswith("/new.sh|")
        made.unlink()
        assert refused("127.0.0.1", host.port, "/new.sh").status == 404
        ws.send_text("who runs goes on")
        assert ws.recv_text() == "who runs goes on"
        folder.rename(folder.with_name("moved"))
        assert refused("127.0.0.1", host.port, "/where.sh").status == 404
        folder.with_name("moved").rename(folder)
        assert client(host, "/where.sh").recv_text().startswith("/where.sh|")


def test_a_script_whose_interpreter_is_not_there(folder):
    program(folder / "odd", "#!/nowhere/interpreter\n")
    with Host("--script-dir", str(folder), *IMPATIENT) as host:
        host.expect(lambda line: "odd can not be started: No such file" in line.get("message", ""))
        client(host, "/odd").expect_close(1011)
        host.wait_log(lambda line: line.get("message") == "a script failed" and "status 12" in line["how"], "how it ended")


def test_a_folder_and_a_command_are_one_kind(folder, tmp_path):
    """What a reload puts in the place of the other begins with the next connection."""
    config = tmp_path / "host.conf"
    config.write_text(f'mount = ({{ path = "/"; script-dir = "{folder}"; }});')
    with Host("--config", str(config), *IMPATIENT) as host:
        def reload():
            mark = host.reload()
            host.wait_log(lambda line: line.get("message") == "the settings were read again", "a reload", after=mark)

        old = client(host, "/where.sh")
        assert old.recv_text().startswith("/where.sh|")
        config.write_text('mount = ({ path = "/"; script = "echo a command; exec cat"; });')
        reload()
        new = client(host, "/where.sh")
        assert new.recv_text() == "a command"
        config.write_text(f'mount = ({{ path = "/"; script-dir = "{folder}"; }});')
        reload()
        assert client(host, "/more/where.sh").recv_text().startswith("/more/where.sh|")
        for ws in (old, new):
            ws.send_text("goes on")
            assert ws.recv_text() == "goes on"


@pytest.mark.parametrize("wrong, expected", [("/nowhere/at/all", "No such file"), ("/etc/passwd", "Not a directory")])
def test_a_folder_that_is_none_is_refused(wrong, expected):
    for check in ((), ("--check",)):
        got = subprocess.run([BUILD / "tova-host", "--script-dir", wrong, "--listen", "127.0.0.1:0", *check], capture_output=True, text=True, timeout=20)
        assert got.returncode == 2
        assert f"tova-host: --script-dir: {wrong}: {expected}" in got.stderr, got.stderr
        assert "expected a folder with programs" in got.stderr


# Those of websocketd's own documentation, in the words of ours: a counter, a greeter, one that shows its environment, each as a file in a folder.
EXAMPLES = {
    "count.sh": """#!/bin/bash
for ((COUNT = 1; COUNT <= 10; COUNT++)); do
	echo $COUNT
	sleep 0.01
done
""",
    "greeter.py": """#!/usr/bin/env python3
from sys import stdin, stdout
while True:
    line = stdin.readline()
    if not line:
        break
    print("Hello %s!" % line.strip())
    stdout.flush()
""",
    "dump-env.sh": """#!/bin/sh
for NAME in REQUEST_METHOD QUERY_STRING PATH_INFO SERVER_PROTOCOL REMOTE_ADDR SCRIPT_NAME HTTP_X_CUSTOM; do
	eval "echo \"$NAME=\\${$NAME:-}\""
done
""",
}


@pytest.mark.parametrize("name, texts", [("count.sh", []), ("greeter.py", ["one", "two"]), ("dump-env.sh", [])])
def test_a_folder_of_websocketds_runs_unchanged(tmp_path, name, texts):
    for example, body in EXAMPLES.items():
        program(tmp_path / example, body)

    def converse(port):
        ws = connect("127.0.0.1", port, f"/{name}/rest?x=1", headers=[("X-Custom", "v")], host_header="localhost")
        for text in texts:
            ws.send_text(text)
        got = []
        try:
            while not texts or len(got) < len(texts):
                got.append(ws.recv_text())
        except (Closed, AssertionError):
            pass
        ws.drop()
        return got

    with Host("--script-dir", str(tmp_path), *IMPATIENT) as host, Websocketd(args=(f"--dir={tmp_path}",)) as other:
        ours, theirs = converse(host.port), converse(other.port)
        assert ours == theirs
        assert len(ours) >= 2


# --- the page -----------------------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[2] / "sdk/SCRIPTS.md").read_text()


def program_of_the_page(language, path):
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    path.write_text(text)
    return path


def test_the_first_script_of_the_page(tmp_path):
    with script(f"sh {program_of_the_page('bash', tmp_path / 'room.sh')}") as host:
        one, two = client(host), client(host)
        for ws in (one, two):
            assert ws.recv_text() == "Hello! Say something."
        one.send_text("a \\ b")
        assert one.recv_text() == two.recv_text() == "a \\ b"
        one.send_text("x\\nclose 4000 a\\c")  # which the echo of many a shell makes lines of
        assert one.recv_text() == two.recv_text() == "x\\nclose 4000 a\\c"
        one.end()
        assert two.recv_text() == "somebody has left"


def test_the_second_script_of_the_page(tmp_path):
    with script(f"python3 -u {program_of_the_page('python', tmp_path / 'counter.py')}", "--script-lines", "json") as host:
        one, two = client(host), client(host)
        for ws in (one, two):
            assert re.fullmatch("You are [A-Za-z0-9_-]{22}", ws.recv_text())
        one.send_text("two\nlines")
        assert one.recv_text() == two.recv_text() == "1: two\nlines"
        one.end()
        assert two.recv_text() == "one less"
