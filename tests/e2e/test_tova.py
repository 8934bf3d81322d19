"""Programs in the language of the specification: its own examples, letter for letter, and what programs may and may not do."""
import json
import subprocess
from pathlib import Path

import pytest

from control import ctl
from tova_cases import DOCUMENT, cases, examples
from tova_host import BUILD, IMPATIENT, ROOT, Host, wait_until
from wsclient import connect

KINDS = ["host", "isolated"]
ORIGINAL = ROOT.parent / "shared/spec/tova-websocket.txt"
# What the document leaves to "elsewhere in the server".
ELSEWHERE = "fn get_current_stats() { stats() }\nfn compute_stats() { stats() }\nevery(100, fn() update_stats())\n"


def isolated(kind):
    return ["--isolate"] if kind == "isolated" else []


def write(folder, text, name="program.tova"):
    path = Path(folder) / name
    path.write_text(text)
    return path


@pytest.fixture(params=KINDS)
def serve(request, tmp_path):
    """Starts a program, at /; stops the host at the end."""
    hosts = []

    def start(text, *options):
        host = Host(write(tmp_path, text), *isolated(request.param), *IMPATIENT, *options)
        hosts.append(host)
        host.__enter__()
        return host

    yield start
    for host in hosts:
        host.__exit__(None, None, None)


def join(host, path="/"):
    return connect("127.0.0.1", host.port, path)


def said(ws):
    return json.loads(ws.recv_text())


def say(ws, **message):
    ws.send_text(json.dumps(message))


def ends(ws):
    ws.close(1000)


# --- the examples ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not ORIGINAL.exists(), reason="the document is not beside the repository")
def test_the_document_is_copied_letter_for_letter():
    assert ORIGINAL.read_text() == DOCUMENT


def test_the_example_files_are_the_documents():
    found = examples()
    assert (ROOT / "examples/chat/chat.tova").read_text() == found["chat"]
    assert (ROOT / "examples/dashboard/dashboard.tova").read_text().endswith(found["dashboard"])


def test_the_echo_example(serve):
    host = serve(examples()["echo"])
    ws = join(host)
    assert ws.recv_text() == "Welcome!"
    for text in ("hello", "{braces} \\n \"quoted\" wörld 🎉", ""):
        ws.send_text(text)
        assert ws.recv_text() == f"Echo: {text}"
    ends(ws)
    host.wait_log(lambda line: "Disconnected: 1000 - " in line.get("message", ""))
    received = [line["message"] for line in host.lines if "Received: hello" in line.get("message", "")]
    assert len(received) == 1 and received[0].startswith("[")


WELCOME = {"type": "system", "text": "Welcome to the chat!"}
JOINED = {"type": "system", "text": "A new user joined"}
LEFT = {"type": "system", "text": "A user left the chat"}
UNKNOWN = {"type": "error", "text": "Unknown message type"}


def silent(ws):
    """Nothing is on its way: the answer to a question asked now is the next thing that comes."""
    say(ws, type="?")
    assert said(ws) == UNKNOWN


def chatters(host, n):
    people = []
    for _ in range(n):
        people.append(join(host))
        assert said(people[-1]) == WELCOME
        assert all(said(other) == JOINED for other in people[:-1])
    return people


def test_the_chat_example(serve):
    host = serve(examples()["chat"])
    one, two, three = chatters(host, 3)
    say(one, type="chat", user="Ada", text="Hello, wörld 🎉\n\"quoted\" \\", admin=True)
    for other in (two, three):
        assert other.recv_text() == '{"type":"chat","user":"Ada","text":"Hello, wörld 🎉\\n\\"quoted\\" \\\\"}'
    silent(one)  # its sender is left out
    say(one, type="join_room", room="tea")
    assert said(one) == {"type": "system", "text": "Joined room: tea"}
    say(two, type="chat", user="Bob", text="are you there?")
    assert said(three) == {"type": "chat", "user": "Bob", "text": "are you there?"}
    silent(one)  # it has left the room
    say(one, type="dance")
    assert said(one) == UNKNOWN
    say(one)  # no type at all
    assert said(one) == UNKNOWN
    ends(three)
    assert said(two) == LEFT
    silent(one)


def test_text_that_is_no_json_raises_on_error_and_the_connection_stays(serve):
    host = serve(examples()["chat"])
    one, two = chatters(host, 2)
    for text in ("hello", "{", "5", '"x"', "null", "[1]"):
        one.send_text(text)
    # 5, "x" and [1] have no type; null has no members at all
    assert [said(one) for _ in range(3)] == [UNKNOWN] * 3
    host.wait_log(lambda line: "WebSocket error: " in line.get("message", "") and "Nil has no member \"type\"" in line["message"])
    host.wait_log(lambda line: "WebSocket error: " in line.get("message", "") and "JSON.parse" in line["message"])
    fault = next(line for line in host.lines if line.get("message") == "the handler failed")
    assert "program.tova:15:13: JSON.parse: " in fault["error"], fault
    silent(two)
    say(one, type="join_room", room=5)
    silent(one)
    say(one, type="join_room", room="r\0m")
    silent(one)
    # What goes before a fault has not happened either: one is still in the room that it would have left.
    say(two, type="chat", user="B", text="t")
    assert said(one)["text"] == "t"


def test_the_dashboard_example(serve):
    host = serve(ELSEWHERE + examples()["dashboard"])
    ws = join(host)
    first = said(ws)
    assert first["type"] == "init" and {"time", "load", "memory", "host"} <= set(first["data"])
    assert [said(ws)["type"] for _ in range(3)] == ["update"] * 3
    wait_until(lambda: (said(ws)["data"]["host"] or {}).get("connections") == 1, "the host's counters")
    say(ws, action="dance")
    messages = wait_until(lambda: [m for m in [said(ws)] if m["type"] != "update"], "an answer")
    assert messages == [{"type": "error", "text": "Unknown action"}]
    say(ws, action="unsubscribe", channel="dashboard")
    say(ws, action="dance")
    wait_until(lambda: said(ws)["type"] == "error", "an answer")
    say(ws, action="dance")
    assert said(ws)["type"] == "error"  # and no update before it
    say(ws, action="subscribe", channel="dashboard")
    assert said(ws)["type"] == "update"


# --- the language, as the plugin runs it --------------------------------------------------------------------------------------

GROUP = 20  # of programs that one host runs: what they print is one kind of log line, of which 100 pass in a second
WRAP = 'server { ws { on_error fn(ws, error) { ws.send("{error}") } on_message fn(ws, message) {'


def groups(things):
    return [things[i:i + GROUP] for i in range(0, len(things), GROUP)]


def mounts(folder, programs):
    return [f"/{i}={write(folder, text, f'{i}.tova')}" for i, text in enumerate(programs)]


@pytest.mark.parametrize("group", groups([c for c in cases() if not c.faults]), ids=lambda g: f"{g[0].line}-")
def test_what_programs_print(group, tmp_path):
    with Host(*mounts(tmp_path, [case.program for case in group]), *IMPATIENT) as host:
        for i, case in enumerate(group):
            printed = [line["message"] for line in host.lines if line.get("kind") == "plugin" and line.get("mount") == f"/{i}" and
                       line["message"] != "plugin started"]
            assert "\n".join(printed) == "\n".join(case.prints), case


def check(path):
    """What --check says of a program, without its name."""
    run = subprocess.run([BUILD / "tova-host", "--check", path], capture_output=True, text=True)
    assert (run.returncode == 2) == (run.stderr != ""), run
    assert run.returncode in (0, 2), run
    return [line.removeprefix(f"{path}:") for line in run.stderr.splitlines()]


def test_faults(tmp_path):
    """Those of the text are told by --check, the others when the program runs."""
    later = []
    for case in cases():
        if not case.faults:
            continue
        said_of_it = check(write(tmp_path, case.program))
        assert said_of_it in ([], case.faults), case
        if not said_of_it:
            later.append(case)
    assert len(later) > 100
    for group in groups(later):
        programs = [f"{WRAP}\n{case.program}}} }} }}\n" for case in group]
        with Host(*mounts(tmp_path, programs), *IMPATIENT) as host:
            for i, case in enumerate(group):
                ws = join(host, f"/{i}")
                ws.send_text("go")
                line, rest = case.faults[0].split(":", 1)
                assert ws.recv_text() == f"{tmp_path}/{i}.tova:{int(line) + 1}:{rest}", case


def test_there_are_enough_cases():
    all_of_them = cases()
    assert len(all_of_them) >= 250
    faults = [case for case in all_of_them if case.faults]
    assert len(faults) * 2 >= len(all_of_them)
    about = {case.about for case in all_of_them}
    assert all(sum(case.about == name for case in all_of_them) >= 5 for name in about)


# --- limits -------------------------------------------------------------------------------------------------------------------

GREEDY = """
var n = 0
fn deep(x) { 1 + deep(x + 1) }
server {
  ws {
    on_message fn(ws, message) {
      n += 1
      match message {
        "loop" => { while true { } }
        "loop again" => { while true { try { while true { } } catch { } } }
        "memory" => { var s = "x"; while true { s += s } }
        "array" => { a = []; while true { a.push([]) } }
        "numbers" => { var a = []; while true { a.push(a.length) } }
        "recurse" => deep(0)
        "nesting" => JSON.parse("[" * 1000000)
        "text" => "x" * 1e15
        _ => ws.send("{n} {message}")
      }
    }
    on_error fn(ws, error) { ws.send("{error}") }
  }
}
"""


def test_what_takes_too_much_costs_its_event(serve):
    host = serve(GREEDY, "--plugin-set", "max-instructions=3000000", "--plugin-set", "max-memory=8m")
    ws, other = join(host), join(host)
    well = 0
    for word, fault in {
        "loop": "more than 3000000 instructions", "loop again": "more than 3000000 instructions", "memory": "",
        "array": "of memory (max-memory)", "numbers": "of memory (max-memory)", "recurse": "", "nesting": "JSON.parse: nested too deeply", "text": "8388608 bytes",
    }.items():
        for _ in range(3):
            ws.send_text(word)
            text = ws.recv_text()
            assert "program.tova:" in text and fault in text, text
            other.send_text("well")
            well += 1  # what a fault has counted does not count
            assert other.recv_text() == f"{well} well"
    assert host.rss < 200 << 20


@pytest.mark.parametrize("setting, fault", {
    "max-memory=5": "max-memory is 256k to 16g, not \"5\"", "max-memory=1x": "max-memory is 256k to 16g",
    "max-instructions=0": "max-instructions is 1000 to", "max-instruction=5": "no setting", "file=/nowhere.tova": "No such file",
    "max-time=5": "max-time is 10ms to 3600s, not \"5\"", "max-time=2h": "max-time is",
}.items())
def test_wrong_settings_are_refused(setting, fault, tmp_path):
    run = subprocess.run([BUILD / "tova-host", "--listen", "127.0.0.1:0", "--plugin", "tova.so", "--plugin-set", setting] +
                         (["--plugin-set", f"file={write(tmp_path, '')}"] if "file" not in setting else []),
                         capture_output=True, text=True)
    assert run.returncode == 2 and fault in run.stderr, run


def test_a_program_reaches_nothing_of_the_machine(tmp_path):
    for name in ("io", "os", "require", "load", "debug", "package", "dofile", "string", "setmetatable", "_G", "_ENV", "rawget", "T", "B", "K"):
        assert check(write(tmp_path, f"x = {name}\n")) != [], name


# --- reload -------------------------------------------------------------------------------------------------------------------

COUNTER = """
var n = 0
var list = []
var f = fn() 1
server { ws { on_message fn(ws, message) {
  n += 1
  list.push(message)
  ws.data = (ws.data ?? 0) + 1
  ws.send("VERSION {n} {list} {ws.data}")
} } }
"""


def test_a_reload_keeps_connections_their_data_and_vars(tmp_path):
    path = write(tmp_path, COUNTER)
    with Host(path, *IMPATIENT) as host:
        ws = join(host)
        ws.send_text("a")
        assert ws.recv_text() == 'VERSION 1 ["a"] 1'
        path.write_text("var more = 7\n" + COUNTER.replace("VERSION", "second {more}"))
        host.reload()
        host.wait_log(lambda line: line.get("message") == "the plugin was replaced")
        ws.send_text("b")
        assert ws.recv_text() == 'second 7 2 ["a","b"] 2'
        # a fault leaves it as it is
        path.write_text(COUNTER.replace("VERSION", "third") + "x = nope\n")
        host.expect(lambda line: line.get("message") == "the plugin was not replaced, the old one goes on")
        host.reload()
        line = host.wait_log(lambda line: line.get("message") == "the plugin was not replaced, the old one goes on")
        assert f"{path}:11:5: there is no \"nope\"" in line["error"]
        ws.send_text("c")
        assert ws.recv_text() == 'second 7 3 ["a","b","c"] 3'
        # nor is it touched when nothing has changed
        path.write_text("var more = 7\n" + COUNTER.replace("VERSION", "second {more}"))
        host.reload()
        host.wait_log(lambda line: line.get("message") == "the plugin's file is the same: it is left alone")
        ws.send_text("d")
        assert ws.recv_text() == 'second 7 4 ["a","b","c","d"] 4'


def test_isolated_workers_are_replaced_when_the_file_changes(tmp_path):
    path = write(tmp_path, COUNTER)
    with Host(path, "--isolate", *IMPATIENT) as host:
        ws = join(host)
        ws.send_text("a")
        assert ws.recv_text() == 'VERSION 1 ["a"] 1'
        path.write_text(COUNTER.replace("VERSION", "second"))
        host.reload()

        def replaced():
            ws.send_text("b")
            return ws.recv_text().startswith("second")
        wait_until(replaced, "the new generation")


@pytest.mark.parametrize("kind", KINDS)
def test_a_deploy_that_waits_is_told_all_that_is_wrong(kind, tmp_path):
    """In one line, of a program in the host and of one in a process of its own."""
    path = write(tmp_path, COUNTER)
    with Host(path, *isolated(kind), "--control", tmp_path / "control", *IMPATIENT) as host:
        ws = join(host)
        path.write_text(COUNTER + "x = qqqqqq\ny = nil.z + qqqqqq\n")
        host.expect(lambda line: "the old one" in line["message"] and "qqqqqq" in line.get("error", line.get("reason", "qqqqqq")))
        said = ctl(tmp_path / "control", "reload", "--wait", code=1)
        assert f"start{'() failed' if kind == 'host' else ' failed'}: {path}:11:5: there is no \"qqqqqq\"; {path}:12:13: there is no " in said.splitlines()[-1], said
        ws.send_text("a")
        assert ws.recv_text() == 'VERSION 1 ["a"] 1'


def test_vars_of_several_processes_are_told(tmp_path):
    """Each has its own, which nobody would guess who has tried it with one."""
    path, plain = write(tmp_path, COUNTER), write(tmp_path, examples()["chat"], "plain.tova")

    def told(*options):
        with Host(path, f"/plain={plain}", *options, *IMPATIENT) as host:
            if "2" in options and "--isolate" in options:
                host.expect(lambda line: "for itself" in line["message"])
            host.wait_log(lambda line: line.get("message") == "started")
            lines = [line for line in host.lines if "each worker process has the program's vars for itself" in line["message"]]
            join(host).close(1000)
            return [(line["mount"], line["file"], line["var"], line["vars"], line["workers"]) for line in lines]
    assert told("--isolate", "--workers", "2") == [("/", str(path), "n", 3, 2)]
    assert told("--isolate") == told() == told("--workers", "2") == []


def test_timers_go_on_over_a_reload(tmp_path):
    text = 'every(50, fn() broadcast("tick A"))\nserver { ws { } }\n'
    path = write(tmp_path, text)
    with Host(path, *IMPATIENT) as host:
        ws = join(host)
        assert ws.recv_text() == "tick A"
        path.write_text(text.replace("A", "B"))
        host.reload()
        wait_until(lambda: ws.recv_text() == "tick B", "the new function")
        path.write_text("server { ws { on_message fn(ws, m) { ws.send(m) } } }")
        host.reload()
        wait_until(lambda: sum(line.get("message") == "the plugin was replaced" for line in host.lines) == 2, "the third generation")

        def quiet():
            ws.send_text("?")
            return ws.recv_text() == "?"
        wait_until(quiet, "the end of the timer")


# --- the command line ---------------------------------------------------------------------------------------------------------


def test_the_short_form_for_every_kind_of_handler(tmp_path):
    programs = [f"/chat={ROOT}/examples/chat/chat.py", f"/node={ROOT}/examples/chat/chat.mjs", "/echo=echo.so",
                write(tmp_path, examples()["echo"], "it's here.tova"), f"/chat2={write(tmp_path, examples()['chat'])}"]
    with Host(*programs, *IMPATIENT) as host:
        for path in ("/chat", "/node", "/chat2"):
            assert said(join(host, path)) == WELCOME
        assert join(host, "/other").recv_text() == "Welcome!"
        ws = join(host, "/echo")
        ws.send_text("x")
        assert ws.recv_text() == "x"


def test_check_tells_all_faults_of_all_programs(tmp_path):
    one = write(tmp_path, "x = 1\nx = 2\nimport a\nprint(\n", "one.tova")
    two = write(tmp_path, "y = nope\nz = nope\n", "two.tova")
    run = subprocess.run([BUILD / "tova-host", "--check", one, f"/two={two}"], capture_output=True, text=True)
    assert run.returncode == 2 and run.stdout == ""
    lines = run.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{one}:3:1", f"{one}:5:1", f"{two}:1:5", f"{two}:2:5"]


def test_emit_lua(tmp_path):
    good, bad = write(tmp_path, examples()["chat"], "good.tova"), write(tmp_path, "x = ", "bad.tova")
    run = subprocess.run([BUILD / "tova-host", "--emit-lua", good], capture_output=True, text=True)
    assert run.returncode == 0 and "broadcast_to" in run.stdout and run.stderr == ""
    run = subprocess.run([BUILD / "tova-host", "--emit-lua", bad], capture_output=True, text=True)
    assert run.returncode == 2 and run.stdout == "" and f"{bad}:1:5: " in run.stderr
    run = subprocess.run([BUILD / "tova-host", "--emit-lua", tmp_path / "none"], capture_output=True, text=True)
    assert run.returncode == 2 and "can not be read" in run.stderr


def test_several_mounts_do_not_know_each_other(tmp_path):
    text = 'var n = 0\nserver { ws { on_message fn(ws, m) { n += 1; join(ws, "r"); broadcast_to("r", "{n}") } } }'
    path = write(tmp_path, text)
    with Host(f"/a={path}", f"/b={path}", *IMPATIENT) as host:
        a, b = join(host, "/a"), join(host, "/b")
        for i in range(3):
            a.send_text("x")
            assert a.recv_text() == str(i + 1)
        b.send_text("x")
        assert b.recv_text() == "1"


# --- what a handler is given --------------------------------------------------------------------------------------------------


def test_requests_members_and_data(serve):
    host = serve("""
server { ws {
  on_open fn(ws) {
    r = ws.request
    ws.data = { name: r.query.split("=")[1], agent: r.headers["user-agent"] ?? "none" }
    join(ws, "all")
    ws.send([r.path, r.query, r.remote_addr, r.headers.host.split(":")[0], ws.user])
  }
  on_message fn(ws, message) {
    match message {
      "members" => members("all", fn(list) { for w in list { w.send("one of {list.length}") } })
      "count" => count("all", fn(n) { broadcast_to("all", "{n}") })
      "later" => after(10, fn() { ws.send("later") })
      "close" => ws.close(4001, "bye {ws.data.name}")
      _ => ws.send(ws.data)
    }
  }
} }
""")
    a, b = join(host, "/x?name=ann"), join(host, "/y?name=bob")
    assert said(a) == ["/x", "name=ann", "127.0.0.1", "localhost", None]
    assert said(b)[1] == "name=bob"
    a.send_text("data")
    assert said(a)["name"] == "ann"
    b.send_text("members")
    assert [a.recv_text(), b.recv_text()] == ["one of 2"] * 2
    a.send_text("count")
    assert [a.recv_text(), b.recv_text()] == ["2"] * 2
    a.send_text("later")
    assert a.recv_text() == "later"
    b.send_text("close")
    b.expect_closed(4001, "bye bob")


def test_who_is_there_and_what_is_kept(serve):
    host = serve("""
server { ws {
  on_open fn(ws) {
    info(ws, { at: ws.request.path }, ws.request.query)
    join(ws, "all")
  }
  on_message fn(ws, message) {
    match message {
      "who" => ws.send([ws.user, ws.info, ws.claims])
      "members" => members("all", fn(list) { ws.send(list.map(fn(w) [w.user, w.info])) })
      "users" => users("all", fn(names) { ws.send(names) })
      "claims" => members("all", fn(list) { ws.send(list[0].claims) })
      "nobody" => info(ws, nil, "")
      "add" => room_state("all", fn(kept) {
        lines = kept.state ?? []
        lines.push(message)
        set_room("all", lines, kept.version)
        ws.send(lines)
      })
      "old" => set_room("all", ["old"], 1)
      "none" => set_room("all", nil, nil)
      "long" => set_room("all", "x".repeat(70000), nil)
      _ => info(ws, message, nil)
    }
  }
  on_error fn(ws, error) { ws.send("failed: {error.message}") }
} }
""")
    a, b, c = join(host, "/x?ann"), join(host, "/y?bob"), join(host, "/z?ann")
    for ws in (a, b, c):
        ws.send_text("who")
    assert said(a) == ["ann", '{"at":"/x"}', None] and said(b)[0] == "bob" and said(c)[1] == '{"at":"/z"}'
    b.send_text("tea")
    b.send_text("members")
    assert sorted(said(b)) == [["ann", '{"at":"/x"}'], ["ann", '{"at":"/z"}'], ["bob", "tea"]]
    b.send_text("users")
    assert said(b) == ["ann", "bob"]
    b.send_text("nobody")
    b.send_text("users")
    assert said(b) == ["ann"]
    b.send_text("x" * 1025)
    assert "failed: " in b.recv_text()
    for n in (1, 2, 3):
        a.send_text("add")
        assert said(a) == ["add"] * n
    b.send_text("old")
    assert "another version" in b.recv_text()
    b.send_text("long")
    assert "limit" in b.recv_text()
    b.send_text("none")
    b.send_text("add")
    assert said(b) == ["add"]


def test_binary_messages(serve):
    host = serve('server { ws { on_message fn(ws, m) { ws.send(m); ws.send("{m.length} {typeOf(m)}") } } }')
    ws = join(host)
    ws.send_binary(b"\x00\xff{}")
    assert ws.recv_binary() == b"\x00\xff{}"
    assert ws.recv_text() == "4 Bytes"


# --- rooms ---------------------------------------------------------------------------------------------------------------------

ROOMS = """
server { ws {
  on_open fn(ws) { ws.data = { name: ws.request.query } }
  on_message fn(ws, message) {
    m = JSON.parse(message)
    match m.do {
      "join" => { join(ws, m.room, m.how ?? {}); ws.send("in") }
      "leave_all" => { leave_all(ws); ws.send("out") }
      "say" => broadcast_to(m.rooms, m.text, nil, m.how)
      "but" => members(m.but, fn(list) { broadcast_to(m.rooms, m.text, list) })
      "all but" => members(m.but, fn(list) { broadcast(m.text, list) })
      "close" => close_room(m.rooms, 4005, "closed")
      "close others" => close_room(m.rooms, 4006, "", ws)
      _ => ws.send("?")
    }
  }
  on_error fn(ws, error) { ws.send("ERR {error.message}") }
} }
"""


def test_who_may_join_and_who_is_meant(serve):
    host = serve(ROOMS, "--history", "10")
    a, b, c = (join(host, f"/?{name}") for name in "abc")

    def do(ws, what, answer=None, **members):
        say(ws, do=what, **members)
        if answer is not None:
            text = ws.recv_text()
            assert text == answer or text.endswith(answer), text

    do(a, "join", "in", room="two", how={"max": 2})
    do(b, "join", "in", room="two", how={"max": 2})
    do(c, "join", "it has as many members as its max", room="two", how={"max": 2})
    do(c, "join", "in", room="three")
    do(c, "say", rooms=["two", "three", "two"], text="each once")
    assert [ws.recv_text() for ws in (a, b, c)] == ["each once"] * 3
    do(c, "say", rooms=["two", "three"], text="not three", how={"exclude_rooms": "three"})
    do(c, "say", rooms=[], text="nobody")
    do(c, "but", rooms=["two", "three"], but="two", text="but two")
    do(c, "all but", but="two", text="all but two")
    assert [ws.recv_text() for ws in (a, b)] == ["not three"] * 2
    assert [c.recv_text() for _ in range(2)] == ["but two", "all but two"]
    # a condition and what the room remembers, at once
    do(c, "join", "not three", room="two", how={"max": 3, "last": 2})
    assert [c.recv_text() for _ in range(2)] == ["but two", "in"]
    do(c, "leave_all", "out")
    do(b, "say", rooms="three", text="empty")
    do(b, "say", rooms="two", text="both")
    assert [ws.recv_text() for ws in (a, b)] == ["both"] * 2
    do(a, "close others", rooms=["two"])
    b.expect_closed(4006, "")
    do(c, "join", "in", room="two", how={"replace": True})
    a.expect_closed(4409)
    do(c, "close", rooms="two")
    c.expect_closed(4005, "closed")


WATCHED = """
server { ws {
  on_open fn(ws) { join(ws, "all") }
  on_message fn(ws, message) {
    match message {
      "watch" => { watch("r", { grace: 0 }) }
      "join" => join(ws, "r")
      "leave" => leave(ws, "r")
      "end" => unwatch("r")
      _ => ws.send(message)
    }
  }
  on_join fn(who) { broadcast_to("all", "in {who.room} {who.user} {who.info} {who.users} {who.ws.id.length}") }
  on_leave fn(who) {
    broadcast_to("all", "out {who.users}")
    if who.users == 0 { unwatch(who.room, { if_empty: true }) }
  }
} }
"""


def test_who_comes_and_goes(serve):
    host = serve(WATCHED)
    a, b = join(host), join(host)
    a.send_text("watch")
    a.send_text("join")
    assert a.recv_text() == b.recv_text() == "in r nil nil 1 22"
    b.send_text("join")
    assert a.recv_text() == b.recv_text() == "in r nil nil 2 22"
    b.send_text("leave")
    assert a.recv_text() == b.recv_text() == "out 1"
    a.send_text("leave")
    assert a.recv_text() == b.recv_text() == "out 0"
    a.send_text("join")  # nobody watches any more
    a.send_text("echo")
    assert a.recv_text() == "echo"


@pytest.mark.parametrize("call, fault", {
    'join(ws, "r", {lasst: 5})': 'join has no option "lasst"; did you mean last',
    'join(ws, "r", {max: 0})': "join: max is a whole number from 1 to 4294967295, not 0",
    'join(ws, "r", {max: 1.5})': "join: max is a whole number from 1 to 4294967295, not 1.5",
    'join(ws, "r", {last: -1})': "join: last is a whole number from 0 to 4294967295, not -1",
    'join(ws, "r", {first: 1})': "join: first is true or false, not Int",
    'join(ws, "r", 5)': "join's options needs an Object, not Int",
    'broadcast_to("r", "x", nil, {kept: false})': 'broadcast_to has no option "kept"; did you mean keep',
    'broadcast_to("r", "x", nil, {keep: nil, exclude_users: [5]})': "exclude_users needs a String, not Int",
    'broadcast_to([ws], "x")': "broadcast_to's room needs a String, not Connection",
    'broadcast_to(filled(257, "r"), "x")': "broadcast_to's room: at most 256 at once, not 257",
    'broadcast_to("r", "x", ["a"])': "a connection (ws) was expected, not String",
    'close_room("r", 99)': "close_room: the code is 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999, not 99",
    'close_room("")': "a room's name is 1 to 255 bytes long, without NUL",
    "leave_all(5)": "a connection (ws) was expected, not Int",
    'watch("r", {grace: 3600001})': "watch: grace is a whole number from 0 to 3600000, not 3600001",
    'watch("r", {graze: 5})': 'watch has no option "graze"; did you mean grace',
    'watch("")': "a room's name is 1 to 255 bytes long, without NUL",
    'unwatch("r", {if_empty: 1})': "unwatch: if_empty is true or false, not Int",
}.items())
def test_what_is_wrong_with_rooms_is_said(tmp_path, call, fault):
    path = write(tmp_path, f'server {{ ws {{ on_message fn(ws, m) {{ {call} }} on_error fn(ws, error) {{ ws.send(error.message) }} }} }}')
    with Host(path, *IMPATIENT) as host:
        ws = join(host)
        ws.send_text("x")
        assert fault in ws.recv_text()
