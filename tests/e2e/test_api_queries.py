"""What there is, over HTTP: connections, rooms, members, workers, settings, one connection in full and its end; and what is done to the
host: reload with its result, drain, dead letters."""
import contextlib
import json
import re
import shlex
import shutil
import subprocess
import threading
from urllib.parse import urlencode

import pytest

from api import TOKENS, Api, address, document, judge, tokens
from control import ctl_json
from probe import Probe, escape, plugin
from raw_worker import RawWorker
from supervised import Supervised
from test_dead_letters import Grave
from tova_host import BUILD, IMPATIENT, ROOT, Host, wait_until
from wsclient import connect

API = ("--api", "127.0.0.1:0")
RELAY = BUILD / "plugins/relay.so"


@pytest.fixture
def probe():
    with Host("--plugin", plugin("probe"), *API, *IMPATIENT) as running, Probe(running, "") as opener:
        yield opener


@pytest.fixture
def two(tmp_path):
    """Two mounts, at which clients are in the room that their path names, and a token for one of them."""
    with Host("--plugin", f"/a={RELAY}", "--plugin", f"/b={RELAY}", *API, *tokens(tmp_path, "publish", "read@/a", "admin"), *IMPATIENT) as running:
        yield running


def ask(api, what, **params):
    return api.get(f"/api/v1/{what}" + ("?" + urlencode(params) if params else ""))


def good(answer):
    assert answer[0] == 200, answer
    return answer[1]


def pages(api, what, name, **params):
    """All items, one page after the other, and how many there were on each."""
    items, sizes = [], []
    while True:
        page = good(ask(api, what, **params))
        items += page[name]
        sizes.append(len(page[name]))
        if "next" not in page:
            return items, sizes
        params["cursor"] = page["next"]


# --- connections --------------------------------------------------------------------------------------------------------------

def test_connections(probe):
    clients = probe.clients(7)
    with Api(probe.host) as api:
        for ws in clients[:3]:
            ws.ask("join " + escape("room ä"), "send done")
        found, sizes = pages(api, "connections", "connections", limit=3)
        assert sorted(c["conn"] for c in found) == sorted(ws.id for ws in clients) and sizes == [3, 3, 1]
        assert all((c["mount"], c["remote"], c["dropped"]) == ("/", "127.0.0.1", 0) for c in found)
        ids = sorted(ws.id for ws in clients[:3])
        assert sorted(c["conn"] for c in good(ask(api, "connections", room="room ä"))["connections"]) == ids
        assert all(c["rooms"] == 1 for c in good(ask(api, "connections", room="room ä"))["connections"])
        assert sorted(c["conn"] for c in good(ask(api, "members", room="room ä"))["members"]) == ids
        assert good(ask(api, "connections", room="nobody's")) == {"connections": []}
        assert good(ask(api, "members", room="nobody's", mount="/")) == {"members": []}
        assert len(good(ask(api, "connections", address="127.0.0.0/8"))["connections"]) == 7
        assert good(ask(api, "connections", address="127.0.0.2"))["connections"] == []
        assert good(ask(api, "connections", user="somebody"))["connections"] == []
        assert pages(api, "connections", "connections", limit=7)[1] == [7]
        assert pages(api, "connections", "connections", limit=1)[1] == [1] * 7
        assert good(ask(api, "connections", limit=0))["connections"] == []


def test_pages_while_others_come_and_go(probe):
    """Whoever was there all the time is on one page, once."""
    stay = [probe.client() for _ in range(20)]
    with Api(probe.host) as api:
        found, cursor = [], None
        for step in range(100):
            page = good(ask(api, "connections", limit=3, **({"cursor": cursor} if cursor else {})))
            found += [c["conn"] for c in page["connections"]]
            cursor = page.get("next")
            if cursor is None:
                break
            other = probe.client()
            other.ask("send x")
            if step % 2:
                other.drop()
        assert all(found.count(ws.id) == 1 for ws in stay)


def test_one_in_full(probe):
    ws = probe.client("a=b", path="/room")
    ws.ask("join x", "join y", "send done")
    with Api(probe.host) as api:
        one = good(ask(api, f"connections/{ws.id}"))
        assert (one["conn"], one["mount"], sorted(one["room_names"]), one["tls"], one["away"]) == (ws.id, "/", ["x", "y"], None, False)
        assert one["queue"] == {"stalled": False, "waiting": 0, "unread": 0, "held": 0, "dropped": 0}
        assert one["lane"]["with_handler"] is False and one["lane"]["sequence"] == one["events"] >= 2
        other = probe.client().id
        assert ask(api, f"connections/{other[:-1]}")[0] == 400 and ask(api, "connections/x")[0] == 400
        assert ask(api, "connections/AAAAAAAAAAAAAAAAAAAAAA")[0] == 404


def test_what_it_has_done_is_seen_from_the_first_look_on(tmp_path):
    """Its request without secrets, what it sent and was sent, its last events; nobody else's connection is counted."""
    with Host("--plugin", plugin("probe"), "--admin", "127.0.0.1:0", *IMPATIENT) as host, Probe(host, "") as probe, Api(host, door="admin") as api:
        ws = probe.client("token=hunter2", headers=[("User-Agent", "probe/1"), ("Cookie", "session=hunter2"), ("Authorization", "Bearer hunter2")], origin="http://localhost")
        ws.id
        first = good(ask(api, f"connections/{ws.id}"))
        assert (first["request"]["origin"], first["request"]["user_agent"]) == ("http://localhost", "probe/1") and first["request"]["tls"] is None and first["request"]["opened"].startswith("20")
        assert first["traffic"]["messages_in"] == 0 and first["last_events"] == [] and "hunter2" not in json.dumps(first)
        for i in range(20):
            ws.ask("send " + "x" * i)
        seen = good(ask(api, f"connections/{ws.id}"))
        assert (seen["traffic"]["messages_in"], seen["traffic"]["messages_out"]) == (20, 20) and seen["traffic"]["bytes_out"] == sum(range(20))
        assert seen["traffic"]["counted_ms"] >= 0 and seen["per_second"]["messages_in"] >= 0
        assert [e["event"] for e in seen["last_events"]] == ["message"] * 16 and seen["last_events"][0]["bytes"] == len("send ") + 19 and all(e["ok"] for e in seen["last_events"])
        assert all(a["ago_ms"] <= b["ago_ms"] for a, b in zip(seen["last_events"], seen["last_events"][1:]))
        other = probe.client()
        other.id
        assert good(ask(api, f"connections/{other.id}"))["traffic"]["messages_in"] == 0


def test_an_event_that_failed_is_seen(tmp_path):
    with Host("--plugin", plugin("probe"), "--admin", "127.0.0.1:0", "--threads", "2", *IMPATIENT) as host, Probe(host, "") as probe, Api(host, door="admin") as api:
        host.expect(lambda line: line.get("kind") == "handler")
        ws = probe.client()
        good(ask(api, f"connections/{ws.id}"))
        ws.script("fail because")
        wait_until(lambda: [e["ok"] for e in good(ask(api, f"connections/{ws.id}"))["last_events"] if e["event"] == "message"] == [False], "it is seen")
        # the other loop learns a little later that it is to count
        wait_until(lambda: ws.ask("send x") == "x" and good(ask(api, f"connections/{ws.id}"))["traffic"]["messages_in"] > 0, "by the other loop, too")


def test_with_an_access_log_it_is_counted_from_its_beginning(tmp_path):
    with Host("--plugin", plugin("probe"), "--admin", "127.0.0.1:0", "--access-log", tmp_path / "access", *IMPATIENT) as host, Probe(host, "") as probe, Api(host, door="admin") as api:
        ws = probe.client()
        ws.id
        assert good(ask(api, f"connections/{ws.id}"))["traffic"]["messages_in"] == 1
        other = probe.client()
        other.id
        ids = {ws.id, other.id}
    assert ids <= {json.loads(line)["conn"] for line in (tmp_path / "access").read_text().splitlines()}
    with Host("--plugin", plugin("probe"), *API, *IMPATIENT) as host, Probe(host, "") as probe, Api(host) as api:  # and without either nothing is kept
        ws = probe.client()
        assert "request" not in good(ask(api, f"connections/{ws.id}"))


def test_a_connection_is_ended(probe):
    one, other = probe.clients(2)
    with Api(probe.host) as api:
        def end(conn, query=""):
            return judge(api.ask("DELETE", f"/api/v1/connections/{conn}{query}"))
        for wrong in ("?code=1006", "?code=70000", "?code=x", "?code=1002", "?reason=" + "x" * 124, "?reason=%ff", "?what=1", "?code=1000&code=1000"):
            status, said = end(one.id, wrong)
            assert status == 400 and said["error"], (wrong, said)
        assert end(one.id, "?code=4007&reason=by+hand%21") == (200, {"closed": 1})
        one.expect_closed(4007, "by hand!")
        wait_until(lambda: end(one.id)[0] == 404, "it has ended")
        other.id
        assert end(other.id) == (200, {"closed": 1})
        other.expect_closed(1000)


def test_a_slow_one_is_seen(tmp_path):
    with Host("--plugin", plugin("probe"), *API, *IMPATIENT, "--max-queue", "1g") as host, Probe(host, "") as probe:
        slow = probe.client(receive_buffer=4096)
        slow.id
        with Api(host) as api:
            for _ in range(100):
                assert api.post("send", conn=slow.id, data="x" * 200000)[0] == 200
            wait_until(lambda: good(ask(api, f"connections/{slow.id}"))["queue"]["stalled"], "it is stalled")
            one = good(ask(api, f"connections/{slow.id}"))
            assert one["queue"]["waiting"] > 1000000 and one["waiting"] == one["queue"]["waiting"]


# --- rooms --------------------------------------------------------------------------------------------------------------------

def test_rooms(probe):
    ws, other = probe.clients(2)
    for first in range(0, 1000, 100):
        ws.ask(*(f"join r{i}" for i in range(first, first + 100)), "send done")
    other.ask("join r5", "join r7", "send done")
    with Api(probe.host) as api:
        for limit in (1, 7, 100, 10000):
            rooms, sizes = pages(api, "rooms", "rooms", limit=limit)
            assert sorted(r["room"] for r in rooms) == sorted(f"r{i}" for i in range(1000)), limit
            assert all(size >= limit for size in sizes[:-1])
        assert all(r["members"] == (2 if r["room"] in ("r5", "r7") else 1) and r["mount"] == "/" for r in rooms)
        assert sorted(r["room"] for r in good(ask(api, "rooms", min_members=2))["rooms"]) == ["r5", "r7"]
        assert good(ask(api, "rooms", min_members=3)) == {"rooms": []}
        for cursor in ("x", "1", "1.x", ".", "9.0", "0.4294967296"):
            assert ask(api, "rooms", cursor=cursor)[0] == (200 if cursor == "9.0" else 400), cursor


# --- who may see what ---------------------------------------------------------------------------------------------------------

def test_a_token_of_one_mount_sees_that_one(two):
    a, b = connect("127.0.0.1", two.port, "/a/room/x"), connect("127.0.0.1", two.port, "/b/room/x")
    a.roundtrip(), b.roundtrip()
    with Api(two, token=TOKENS["read"]) as reader, Api(two, token=TOKENS["admin"]) as admin, Api(two, token=TOKENS["publish"]) as publisher:
        mine, = good(ask(reader, "connections"))["connections"]
        other, = [c for c in good(ask(admin, "connections"))["connections"] if c["mount"] == "/b"]
        assert mine["mount"] == "/a" and [r["mount"] for r in good(ask(reader, "rooms"))["rooms"]] == ["/a"]
        assert [m["path"] for m in good(ask(reader, "mounts"))["mounts"]] == ["/a"]
        assert ask(reader, f"connections/{mine['conn']}")[0] == 200
        assert ask(reader, f"connections/{other['conn']}")[0] == 404  # it is not told whether there is one
        for what in ("connections", "rooms", "workers", "dead_letters"):
            assert ask(reader, what, mount="/b")[0] == 403, what
            assert ask(reader, what, mount="/c")[0] == 400, what
        assert ask(reader, "members", mount="/b", room="x")[0] == 403
        assert ask(reader, "settings")[0] == 403 and ask(reader, "dead_letters")[0] == 403
        assert judge(reader.ask("DELETE", f"/api/v1/connections/{mine['conn']}"))[0] == 403
        assert judge(publisher.ask("DELETE", f"/api/v1/connections/{mine['conn']}"))[0] == 403
        for what in ("connections", "rooms", "mounts", "workers", "settings", "dead_letters"):
            assert ask(publisher, what)[0] == 403, what
        for token in ("read", "publish"):
            for what in ("reload", "drain", "replay"):
                with Api(two, token=TOKENS[token]) as api:  # which is over when a body is not wanted
                    assert api.post(what)[0] == 403, what
        assert judge(admin.ask("DELETE", f"/api/v1/connections/{mine['conn']}")) == (200, {"closed": 1})
        a.expect_closed(1000)
        b.end()


@pytest.mark.parametrize("target, part", [
    ("connections?zzz=1", "mount, room, limit, cursor, user, address and slow"), ("connections?limit=10001", "up to 10000"), ("connections?limit=-1", "whole number"),
    ("connections?limit=", "whole number"), ("connections?limit=1&limit=1", "twice"), ("connections?cursor=x", "whole number"), ("connections?address=nonsense", "nonsense"),
    ("connections?room=", "1 to 255 bytes"), ("connections?room=" + "x" * 256, "1 to 255 bytes"), ("connections?room=%ff", "1 to 255 bytes"), ("connections?room=%00", "bad escape"),
    ("connections?room=%zz", "bad escape"), ("connections?user=" + "x" * 257, "256 bytes"), ("connections?mount=/zzz", "there is no such mount as /zzz"),
    ("members", "room is missing"), ("members?room=x&user=y", "\"user\""), ("rooms?room=x", "\"room\""), ("settings?x=y", "takes no parameters"), ("mounts?x=y", "\"x\""),
])
def test_what_is_wrong_is_said(probe, target, part):
    with Api(probe.host) as api:
        status, said = api.get(f"/api/v1/{target}")
        assert status == 400 and part in said["error"], said
        assert good(ask(api, "rooms")) == {"rooms": []}  # the connection goes on


# --- the host -----------------------------------------------------------------------------------------------------------------

def test_settings(tmp_path):
    with Host("--plugin", f"/p={plugin('crash')}", "--plugin-set", "/p:at=hunter2", *API, "--max-queue", "3m", "--origin", "https://a.example,https://b.example", "--rate-limit", "/p=10/1s") as host:
        with Api(host) as api:
            got = good(ask(api, "settings"))["settings"]
            of = {(s["option"], s.get("mount")): s for s in got}
            assert of["max-queue", None]["value"] == "3m" and of["max-queue", None]["changes"] == "at once"
            assert of["origin", None]["value"] == ["https://a.example", "https://b.example"] and of["api", None]["value"] == ["127.0.0.1:0"]
            assert of["isolate", None]["value"] is False and of["threads", None]["value"] == 1 and of["dead-letter", None]["value"] is None
            assert of["plugin", "/p"]["value"] == str(plugin("crash")) and of["rate-limit", "/p"]["value"] == "10/1s"
            assert of["plugin-set", "/p"]["names"] == ["at"] and "hunter2" not in json.dumps(got)


VERSION = "def on_message(ws, message): ws.send('%s')"


def test_reload_is_waited_for(tmp_path):
    with Supervised(tmp_path, VERSION % "old", *API, "--ready-timeout", "60s") as s:
        s.ready()
        ws = s.client()
        with Api(s.host) as api:
            before, = good(ask(api, "mounts"))["mounts"]
            assert before["deployed"] and "deploy_error" not in before
            s.write(VERSION % "new")
            status, said = api.post("reload", wait=True)
            assert status == 200 and said["mounts"] == [{"mount": "/", "outcome": "replaced"}] and said["changed"] == 0, said
            ws.send_text("a")
            assert ws.recv_text() == "new"
            worker, = [w for w in good(ask(api, "workers"))["workers"] if w["state"] == "ready"]
            assert (worker["mount"], worker["state"], worker["generation"]) == ("/", "ready", 2)
            # one that does not come up: what it died of is said, and the old one goes on
            s.host.expect(lambda line: line.get("kind") in ("reload", "worker"))
            s.write("raise RuntimeError('no such table: ' + 'messäges')")
            status, said = api.post("reload", wait=True, mount="/")
            assert status == 500 and said["mounts"][0]["outcome"] == "failed" and "changed" not in said, said
            assert "exited with status 1" in said["error"] and "RuntimeError: no such table: messäges" in said["error"], said
            mount, = good(ask(api, "mounts"))["mounts"]
            assert mount["deploy_failed"] and "messäges" in mount["deploy_error"]
            ws.send_text("b")
            assert ws.recv_text() == "new"
            s.write(VERSION % "newer")
            assert api.post("reload", _body=b"") == (202, {"reloading": True})
            wait_until(lambda: "deploy_error" not in good(ask(api, "mounts"))["mounts"][0], "it has come up")
            ws.send_text("c")
            assert ws.recv_text() == "newer"
        ws.end()


def test_who_does_not_wait_for_the_end_of_a_reload(tmp_path):
    """The client goes, or repeats its request meanwhile by its key; the reload goes on, once."""
    go = tmp_path / "go"
    body = f"def on_start():\n    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n" + VERSION
    with Supervised(tmp_path, VERSION % "old", *API, "--ready-timeout", "60s") as s:
        s.ready()
        ws = s.client()
        s.write(body % "new")
        key = [("Idempotency-Key", "deploy-1")]
        with Api(s.host) as impatient:
            impatient.send(b'POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\nIdempotency-Key: deploy-1\r\n\r\n{"wait":true}')
            wait_until(lambda: len(ctl_json(s.control, "workers")["workers"]) == 2, "another one is started")
        with Api(s.host) as api:
            status, said = api.post("reload", _body=b'{"wait":true}', _headers=key)
            assert status == 409 and "still being done" in said["error"]
            assert good(ask(api, "connections"))["connections"]  # nothing stands still meanwhile
            go.touch()
            wait_until(lambda: api.post("reload", _body=b'{"wait":true}', _headers=key)[0] == 200, "it is done")
            assert api.post("reload", _body=b'{"wait":true}', _headers=key)[1]["mounts"] == [{"mount": "/", "outcome": "replaced"}]
            worker, = [w for w in good(ask(api, "workers"))["workers"] if w["state"] == "ready"]
            assert worker["generation"] == 2
            ws.send_text("a")
            assert ws.recv_text() == "new"
        ws.end()


def test_many_wait_for_one_reload(tmp_path):
    """All that are asked for get the answer that is theirs; those beyond what is kept are refused, not forgotten."""
    go = tmp_path / "go"
    body = f"def on_start():\n    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n" + VERSION
    with Supervised(tmp_path, VERSION % "old", *API, "--ready-timeout", "60s", "--api-connections", 200) as s, contextlib.ExitStack() as stack:
        s.ready()
        s.write(body % "new")
        apis = [stack.enter_context(Api(s.host)) for _ in range(70)]
        for api in apis:
            api.send(b'POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{"wait":true}')
        lock = threading.Lock()
        answers = []

        def read(api):
            answer = api.response("POST")
            with lock:
                answers.append(answer.status)
        threads = [threading.Thread(target=read, args=[api]) for api in apis]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) == 6, "those beyond 64 are refused")
        assert answers == [503] * 6
        go.touch()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200] * 64 + [503] * 6


def test_reload_of_plugins_and_settings(tmp_path):
    config, library = tmp_path / "config", tmp_path / "r.so"
    library.write_bytes(RELAY.read_bytes())
    config.write_text('max-queue = "1m";\n')
    with Host("--plugin", f"/a={library}", "--plugin", f"/b={RELAY}", "--script", "/s=exec cat", *API, "--config", config) as host, Api(host) as api:
        assert good(api.post("reload", wait=True))["mounts"] == [{"mount": m, "outcome": o} for m, o in (("/a", "unchanged"), ("/b", "unchanged"), ("/s", "next connection"))]
        config.write_text('max-queue = "2m";\nthreads = 2;\n')
        host.expect(lambda line: line.get("kind") == "reload")
        said = good(api.post("reload", wait=True))
        assert (said["changed"], said["waiting_for_a_restart"]) == (2, 1)
        library.write_bytes(b"no library")
        status, said = api.post("reload", wait=True, mount="/a")
        assert status == 500 and [m["outcome"] for m in said["mounts"]] == ["failed"] and "/a" in said["error"]
        config.write_text('max-queue = "zzz";\n')
        status, said = api.post("reload", wait=True)
        assert status == 500 and said["mounts"] == [] and "max-queue" in said["error"] and "zzz" in said["error"]
        for body, part in ((b"x", ""), (b"{", ""), (b"[]", ""), (b'{"wait":1}', ""), (b'{"wait":true} x', "follows"), (b'{"what":1}', "expected mount or wait"),
                           (b'{"mount":"/zzz"}', "no such mount"), (b'{"wait":true,"wait":"yes"}', "")):
            status, said = api.post("reload", _body=body)
            assert status == 400 and part in said["error"], (body, said)


def test_drain(tmp_path):
    with Host("--plugin", "echo", *API, "--drain", "100ms") as host:
        ws = connect("127.0.0.1", host.port, "/")
        with Api(host) as api:
            assert api.post("drain", mount="/")[0] == 400
            assert api.post("drain", _body=b"") == (202, {"draining": True})
        ws.expect_closed(1001)
        assert host.wait_exit() == 0


# --- dead letters -------------------------------------------------------------------------------------------------------------

def test_dead_letters(tmp_path):
    with Grave(tmp_path, *API) as grave, Api(grave.host) as api:
        assert good(ask(api, "dead_letters")) == {"dead_letters": []}
        ws, other = grave.kill_with("one"), grave.kill_with("two")
        letters = good(ask(api, "dead_letters"))["dead_letters"]
        assert [letter["data"] for letter in letters] == ["one", "two"] and letters == grave.letters()
        assert good(ask(api, "dead_letters", mount="/"))["dead_letters"] == letters
        for body, part in ((b'{"id":""}', "empty id"), (b'{"id":7}', ""), (b'{"wait":true}', "expected mount or id"), (b'{"mount":"/x"}', "no such mount")):
            status, said = api.post("replay", _body=body)
            assert status == 400 and part in said["error"], (body, said)
        with RawWorker(grave.url).hello(events=["message"]) as worker:
            assert api.post("replay", id="AAAA:1") == (200, {"replayed": 0, "left": 0})
            assert api.post("replay", id=letters[1]["id"], _headers=[("Idempotency-Key", "again")]) == (200, {"replayed": 1, "left": 0})
            worker.ack(worker.expect("message", data="two"))
            assert api.post("replay", id=letters[1]["id"], _headers=[("Idempotency-Key", "again")]) == (200, {"replayed": 1, "left": 0})  # what it was told
            assert api.post("replay", _body=b"") == (200, {"replayed": 1, "left": 0})
            worker.ack(worker.expect("message", data="one"))
            assert good(ask(api, "dead_letters")) == {"dead_letters": []}
            ws.end(), other.end()


def test_without_a_file_of_dead_letters(probe):
    with Api(probe.host) as api:
        status, said = ask(api, "dead_letters")
        assert status == 503 and "--dead-letter" in said["error"]
        assert api.post("replay")[0] == 503


# --- what it says of itself ---------------------------------------------------------------------------------------------------

def test_the_document_is_whole(probe):
    """Every request that there is, and each name that it uses; what the host is started with decides what is there."""
    with Api(probe.host) as api:
        answer = api.ask("GET", "/api/v1/openapi.json")
        assert answer.status == 200
        said = json.loads(answer.body)
        assert said["openapi"] == "3.1.0" and said["info"]["title"] == "tova-host" and said["info"]["version"]
        operations = [(path, method, operation) for path, methods in said["paths"].items() for method, operation in methods.items()]
        names = [operation["operationId"] for _, _, operation in operations]
        assert len(names) == len(set(names)) and {"post_broadcast_to", "get_connections_id", "delete_connections_id", "get_healthz"} <= set(names)
        text = answer.body.decode()
        for ref in set(re.findall(r'"\$ref":"#/components/schemas/(\w+)"', text)):
            assert ref in said["components"]["schemas"], ref
        for schema in said["components"]["schemas"].values():
            document().validator(schema)
        for path, method, operation in operations:
            assert operation["summary"] and "default" in operation["responses"] and ("x-scope" in operation) != (operation.get("security") == [])
            for parameter in operation["parameters"]:
                assert parameter["description"] and (parameter["in"] == "path") == ("{" + parameter["name"] + "}" in path)
            allowed = api.ask("OPTIONS", path.replace("{id}", "x")).get("Allow").split(", ")
            assert method.upper() in allowed, path
        assert "/metrics" not in said["paths"] and "/metrics" in document().json["paths"]
        assert len(operations) == sum(map(len, document().json["paths"].values())) - 1


def test_what_the_document_says_of_bodies_is_so(probe):
    """A member that it names is taken, one that it does not is refused, and what it demands is needed."""
    ws = probe.client()
    example = {"conn": ws.id, "room": "r", "data": "x", "state": "s", "code": 4000, "reason": "x", "info": "i", "user": "u", "c": None, "mount": "/", "key": "k", "keep": False,
               "exclude": ws.id, "exclude_users": ["u"], "exclude_rooms": ["q"], "rooms": ["r"], "max": 5, "users_max": 5, "first": True, "replace": True, "last": 1, "since": 0,
               "epoch": 0, "else": "last", "if_state": "", "version": 0, "expires": 4_000_000_000_000}
    alone = {"room": {"rooms"}, "rooms": {"room"}, "last": {"since"}, "first": {"replace"}}
    for path, methods in document().json["paths"].items():
        operation = methods.get("post")
        if operation is None or not operation["requestBody"]["required"] or path in ("/api/v1/commands", "/api/v1/prolong"):  # which is nothing without --jwt-key
            continue
        command = path.rpartition("/")[2]
        schema = document().schemas[operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        members = set(schema["properties"]) - {"bin", "state_bin", "if_state_bin"}
        taken = {name: command if name == "c" else example[name] for name in members}
        for name in members:
            with Api(probe.host) as api:
                if command in ("close", "close_room"):
                    ws = probe.client()
                    taken.update(conn=ws.id) if "conn" in taken else None
                needed = {n: taken[n] for n in schema["required"]}
                extra = {n: taken[n] for n in members if n in ("data", "state", "room") and n not in alone.get(name, ())}
                extra.update({"info": "i"} if command == "info" else {})
                extra.update({"since": 0} if name in ("else", "epoch") else {"code": 4000} if name == "reason" else {})
                status, said = api.post(command, **{**extra, **needed, name: taken[name]})
                assert status in (200, 409), (command, name, said)
        with Api(probe.host) as api:
            status, said = api.post(command, **{n: taken[n] for n in members if n not in alone.get("room", ()) and n not in ("since", "replace")}, zzz=1)
            assert status == 400 and "zzz" in said["error"], (command, said)
            for name in schema["required"]:
                status, said = api.post(command, **{n: taken[n] for n in ("data", "state", "room", "info", "conn") if n in members and n != name})
                assert status == 400, (command, name, said)


def test_each_command_of_a_list_has_its_members(probe):
    """A list with each command is what the document says, and is done; one with a member of another command is neither."""
    ws = probe.client()
    said = document()
    validator = said.validator({"$ref": "#/components/schemas/Commands"})
    lists = said.schemas["Commands"]["properties"]["commands"]["items"]["oneOf"]
    words = {path.rpartition("/")[2] for path, methods in said.json["paths"].items() if "post" in methods and methods["post"]["requestBody"]["required"]} - {"commands"}
    assert {item["properties"]["c"]["const"] for item in lists} == words
    good = [{"c": "info", "conn": ws.id, "user": "u"}, {"c": "join", "conn": ws.id, "room": "r", "max": 5}, {"c": "set", "conn": ws.id, "state": "s"}, {"c": "send", "conn": ws.id, "data": "x", "key": "k"},
            {"c": "broadcast", "data": "x", "exclude_users": ["u"]}, {"c": "broadcast_to", "rooms": ["r", "q"], "data": "x"}, {"c": "leave", "conn": ws.id, "room": "r"}, {"c": "leave_all", "conn": ws.id},
            {"c": "close_room", "room": "q"}, {"c": "close", "conn": ws.id, "code": 4000}]
    with Api(probe.host) as api:
        assert validator.is_valid({"commands": good}) and api.post("commands", commands=good)[0] == 200
        for n, item in enumerate(good):
            bad = [*good[:n], {**item, "zzz": 1}]
            assert not validator.is_valid({"commands": bad}), item
            status, answer = api.post("commands", commands=bad)
            assert (status, answer["index"]) == (400, n) and "zzz" in answer["error"]
        for bad in ({}, {"c": "zzz"}, {"conn": ws.id, "data": "x"}, 7):
            assert not validator.is_valid({"commands": [bad]}) and api.post("commands", commands=[bad])[0] == 400


# --- the page -----------------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "host/API.md").read_text()


def test_the_page_names_what_there_is():
    """Each request of the document but those of README, and each parameter."""
    rows = dict(re.findall(r"^\| `(\w+ /api/v1/[\w/]+)` \| (.*) \|$", PAGE, re.M))
    for path, methods in document().json["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path.replace('{id}', 'ID')}"
            if path in ("/healthz", "/readyz", "/metrics", "/api/v1/openapi.json") or (method == "post" and operation["requestBody"]["required"]):
                continue
            assert name in rows, name
            for parameter in operation["parameters"]:
                assert parameter["in"] == "path" or f"`{parameter['name']}`" in rows[name], (name, parameter["name"])
            assert rows[name].endswith(f"| {operation['x-scope']}"), name


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_page_s_examples(tmp_path):
    """As they stand there, one after the other, in a shell."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    start, *asked = blocks
    assert len(asked) >= 3 and "tova-host --worker" in start
    for name in ("sdk", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    host_line = next(line for line in start.splitlines() if line.startswith("build/tova-host"))
    before = "\n".join(line for line in start.splitlines() if not line.startswith(("build/tova-host", "alias")))
    subprocess.run(["sh", "-ec", before], cwd=tmp_path, check=True)
    words = shlex.split(host_line)[1:]
    words[words.index("127.0.0.1:8081")] = "127.0.0.1:0"
    with Host(*words, *IMPATIENT, cwd=tmp_path) as host:
        alias = re.search(r"^alias api='(.*)'$", start, re.M)[1]
        ws = connect("127.0.0.1", host.port, "/")

        def run(command):
            text = command.replace("127.0.0.1:8081", address(host))
            done = subprocess.run(["bash", "-ec", f"api() {{ {alias} \"$@\"; }}\n{text}"], cwd=tmp_path, capture_output=True, text=True, check=True)
            return [json.loads(part) for part in done.stdout.replace("}{", "}\n{").splitlines()]
        wait_until(lambda: run(asked[0])[0]["connections"], "it is in the room")
        answers = [run(block) for block in asked]
        assert answers[0][0]["connections"][0]["mount"] == "/"
        assert answers[1] == []  # a trace, of a second in which nothing happens
        assert answers[2][0] == json.loads(re.search(r"answers `(\{\"changed\".*?)`", PAGE)[1])
        assert answers[3] == [{"dead_letters": []}, {"replayed": 0, "left": 0}]
        ws.drop()
