"""The admin page, as those who operate a host use it: what is wrong is seen there, and what can be done is done there."""
import json
import os
import subprocess
from pathlib import Path

import pytest

from api import TOKENS, Api, address, tokens
from conftest import DESKTOP, PHONE
from probe import Probe
from probe import plugin as built
from tova_host import BUILD, IMPATIENT, ROOT, Host, wait_until
from wsclient import connect, http_get

CTL = BUILD / "tova-ctl"
ADMIN = ("--admin", "127.0.0.1:0")
# Where somebody wants to look at what was seen.
SHOTS = os.environ.get("TOVA_SCREENSHOTS")


def url_of(host):
    return f"http://{address(host, 'admin')}/"


def code_url(host):
    """As tova-ctl shows it."""
    said = subprocess.run([CTL, "--control", host.args[host.args.index("--control") + 1], "--json", "admin-url"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(said.stdout)["url"]


def shot(page, name):
    if SHOTS:
        page.driver.save_screenshot(str(Path(SHOTS) / f"{name}.png"))


def serving(page):
    page.wait(lambda: page.state == "serving", "the page shows a host that serves")
    return page


def rows(page, table):
    return page.js(f"[...document.querySelectorAll('#{table} tbody tr')].map(r => [...r.cells].map(c => c.textContent))")


@pytest.fixture
def chat(tmp_path):
    with Host("--plugin", f"/chat={BUILD}/plugins/chat.so", *ADMIN, *tokens(tmp_path, "admin", "read"), "--control", tmp_path / "control", *IMPATIENT) as running:
        yield running


def test_nothing_is_shown_without_a_token_and_nothing_comes_from_elsewhere(chat, browse):
    """The page itself needs none; its data do, and so do its parts keep to what they were given."""
    where = address(chat, "admin")
    for target, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        answer = http_get("127.0.0.1", int(where.rpartition(":")[2]), target)
        policy = answer.get("Content-Security-Policy")
        assert answer.status == 200 and kind in answer.get("Content-Type") and "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.get("X-Content-Type-Options") == "nosniff" and b"https://" not in answer.body
    page = browse(url_of(chat))
    page.expect_console("401")
    page.wait(lambda: page.state == "locked", "it asks for a token")
    assert not page.find("#main").is_displayed()
    page.type("#token", "wrong-0123456789abcdef")
    page.click("#enter button")
    page.wait(lambda: "the token is wrong" in page.text("#enter-error"), "it says that it is wrong")
    page.type("#token", TOKENS["read"])
    page.click("#enter button")
    serving(page)
    page.wait(lambda: rows(page, "mounts")[0][0] == "/chat", "the mount is there")
    assert "the token is wrong" in page.text("#refused")
    page.expect_console("403")
    page.click("#mounts tbody button")
    page.wait(lambda: "this token is not enough" in page.text("#notice"), "who may read may not reload")


def test_a_code_is_good_once(chat, browse):
    url = code_url(chat)
    page = serving(browse(url))
    assert "code" not in page.js("location.href")
    page.driver.refresh()
    serving(page)
    code = url.partition("#code=")[2]
    with Api(chat, "admin") as api:
        status, said = api.post("enter", code=code)
        assert status == 403 and "tova-ctl admin-url" in said["error"]
        assert api.post("enter", code="0" * 32)[0] == 403
        assert api.get("/api/v1/host")[0] == 401
    with Api(chat, "admin", token=code) as api:
        assert api.get("/api/v1/host")[0] == 401  # a code is no token


def test_a_chat_is_joined_through_the_console(chat, browse):
    with connect("127.0.0.1", chat.port, "/chat") as ws:
        page = serving(browse(code_url(chat)))
        page.wait(lambda: page.js("document.querySelector('#console-path').value") == "/chat", "the console knows the mount")
        page.click("#console-connect")
        page.wait(lambda: page.text("#console-state") == "open", "the console is connected")
        page.type("#console-room", "a room")
        page.click("#console-join")
        page.wait(lambda: ["a room", "/chat", "1"] in rows(page, "rooms"), "the room is there with one member")
        with Api(chat, "admin", token=TOKENS["admin"]) as api:
            assert api.post("broadcast_to", room="a room", data="welcome <b>here</b>") == (200, {"receivers": 1})
            page.wait(lambda: "< welcome <b>here</b>" in page.text("#frames"), "what the room was told is shown, as text")
            page.type("#console-text", '{"type":"zzz"}')
            page.click("#console-send")
            page.wait(lambda: '> {"type":"zzz"}' in page.text("#frames") and page.js("document.querySelectorAll('#frames li').length") >= 4, "what it sent, and an answer")
        page.wait(lambda: page.js("document.querySelector('#plot-connections canvas').dataset.points") not in (None, "", "0"), "a plot has points")
        page.wait(lambda: page.text("#now-connections") == "2" and page.text("#now-memory").endswith("MiB"), "the plots tell what there is")
        shot(page, "light")
        page.click("#console-part")
        page.wait(lambda: "leave a room" in page.text("#frames"), "it has left")
        page.click("#console-connect")
        page.wait(lambda: page.text("#console-state") == "closed", "it is closed")
        del ws


def test_a_slow_client_is_spotted_and_ended(tmp_path, browse):
    with Host("--plugin", f"/probe={built('probe')}", *ADMIN, "--max-queue", "1g", *IMPATIENT) as host, Probe(host) as probe:
        slow = probe.client(receive_buffer=4096)
        mine = slow.id
        with Api(host, "admin") as api:
            for _ in range(40):
                assert api.post("send", conn=mine, data="x" * 500_000) == (200, {"receivers": 1})
        page = serving(browse(url_of(host)))
        page.wait(lambda: rows(page, "slow")[0][0] == mine and "MiB" in rows(page, "slow")[0][4], "who reads too slowly is listed with what waits")
        page.click("#slow tbody button")
        page.wait(lambda: page.text("#one-id") == mine and "/probe" in page.text("#one-facts"), "all about it is shown")
        page.js("document.querySelector('#one').scrollIntoView()")
        shot(page, "slow")
        page.expect_console("404")  # it is asked for until it is gone
        page.click("#one-close")
        page.wait(lambda: "everybody reads" in page.text("#slow"), "it is gone")


def test_one_connection_s_story(tmp_path, browse):
    """Its events while they happen: received, given to whom, committed; until it is hidden, or ends. A token that may read is enough."""
    def looks(state):
        page.wait(lambda: page.js("document.querySelector('#one-look').dataset.state") == state, f"it looks: {state}")

    def story():
        return page.js("document.querySelector('#one-trace').hidden ? null : document.querySelector('#one-trace').textContent")

    with Host("--plugin", f"/probe={built('probe')}", *ADMIN, *tokens(tmp_path, "read", "publish"), "--max-queue", "1g", *IMPATIENT) as host, Probe(host) as probe:
        slow = probe.client(receive_buffer=4096)
        mine = slow.id
        with Api(host, "admin", token=TOKENS["publish"]) as api:
            for _ in range(40):
                assert api.post("send", conn=mine, data="x" * 500_000) == (200, {"receivers": 1})
        page = browse(url_of(host))
        page.wait_state("locked")
        page.expect_console("401")
        page.type("#token", TOKENS["read"])
        page.click("#enter button")
        serving(page)
        page.wait(lambda: rows(page, "slow")[0][0] == mine, "it is listed")
        page.click("#slow tbody button")
        page.wait(lambda: page.text("#one-id") == mine, "all about it is shown")
        assert story() is None
        page.click("#one-look")
        looks("on")
        slow.script("join <b>tea</b>", "leave <b>tea</b>")
        page.wait(lambda: all(point in story() for point in (" received message", " given message", " acknowledged message", " committed message")), "what has become of its message")
        assert "to=plugin" in story() and "commands=2" in story()
        page.js("document.querySelector('#one').scrollIntoView()")
        shot(page, "story")
        page.click("#one-leave")
        assert story() is None
        page.click("#slow tbody button")
        page.click("#one-look")
        looks("on")
        page.expect_console("404")  # its facts are asked for until it is gone
        slow.drop()
        looks("off")
        assert " committed close" in story()  # and what was seen stays


def test_a_drain_is_watched(tmp_path, browse):
    host = Host("--plugin", f"/chat={BUILD}/plugins/chat.so", *ADMIN, "--drain", "8s", *IMPATIENT)
    host.start()
    clients = [connect("127.0.0.1", host.port, "/chat") for _ in range(150)]
    page = serving(browse(url_of(host), size=PHONE, dark=True))
    page.wait(lambda: page.text("#now-connections") == "150", "all are there")
    shot(page, "phone")
    assert page.js("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"
    page.expect_console("Failed to load resource")
    page.expect_console("net::ERR")
    page.click("#drain")
    assert host.alive() and page.state == "serving"  # one click asks
    page.click("#drain")
    page.wait(lambda: page.state == "draining", "it is draining")
    page.wait(lambda: int(page.text("#now-connections")) < 150, "connections end one by one")
    shot(page, "drain")
    page.wait(lambda: page.state == "gone", "the host has ended")
    for ws in clients:
        ws.drop()
    host.process.wait()
    host.stop()


POISON = """import os
from tova import serve
def on_message(ws, message):
    if message == "die" and not os.path.exists(os.environ["CURED"]):
        os._exit(1)
    ws.send("handled " + message)
serve(globals())
"""


def test_a_dead_letter_is_replayed(tmp_path, browse):
    program, cured = tmp_path / "worker.py", tmp_path / "cured"
    program.write_text(POISON)
    with Host("--worker", f"/w=exec python3 {program}", *ADMIN, "--dead-letter", tmp_path / "dead", "--max-attempts", 1, *IMPATIENT,
              env={"PYTHONPATH": str(ROOT / "sdk/python"), "CURED": str(cured)}) as host, connect("127.0.0.1", host.port, "/w") as ws:
        host.expect(lambda line: line.get("kind") in ("quarantine", "worker"))
        ws.send_text("die")
        page = serving(browse(url_of(host), dark=True))
        page.wait(lambda: rows(page, "letters")[0][1] == "/w", "what was set aside is listed")
        page.wait(lambda: "worker" in page.text("#trouble"), "and the log's last troubles")
        page.wait(lambda: page.js("[...document.querySelectorAll('#workers tbody tr')].some(r => r.cells[2].textContent === 'ready')"), "a worker is ready again")
        shot(page, "dark")
        cured.write_text("")
        page.click("#letters tbody tr td:last-child button")
        assert ws.recv_text() == "handled die"
        page.wait(lambda: "1 given back" in page.text("#notice") and "no event was set aside" in page.text("#letters"), "it was given back")


def test_a_host_without_tokens_needs_none(tmp_path, browse):
    with Host("--plugin", f"/chat={BUILD}/plugins/chat.so", *ADMIN, "--control", tmp_path / "control", *IMPATIENT) as host:
        assert code_url(host) == url_of(host)
        page = serving(browse(code_url(host), size=DESKTOP))
        page.wait(lambda: rows(page, "mounts")[0][0] == "/chat", "the mount is there")
        page.wait(lambda: "there is no --api-token" in page.text("#trouble"), "what the host warns of is shown")


def test_no_page_without_admin(tmp_path):
    with Host("--plugin", f"/chat={BUILD}/plugins/chat.so", "--api", "127.0.0.1:0", "--control", tmp_path / "control", *IMPATIENT) as host:
        with Api(host) as api:
            assert api.get("/")[0] == 404 and api.get("/page.js")[0] == 404
        done = subprocess.run([CTL, "--control", tmp_path / "control", "admin-url"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "without --admin" in done.stderr


def test_the_last_lines_of_the_log(tmp_path):
    """Bounded, the newest first, and what is refused hides no trouble."""
    with Host("--plugin", f"/probe={built('probe')}", *ADMIN, *tokens(tmp_path, "admin", "read@/probe"), *IMPATIENT) as host:
        with Api(host, "admin", token="wrong-0123456789abcdef") as stranger:
            for _ in range(300):
                assert stranger.get("/api/v1/mounts")[0] == 401
        with Api(host, "admin", token=TOKENS["admin"]) as api:
            refused = api.get("/api/v1/log?which=refused")[1]["lines"]
            assert 1 <= len(refused) <= 100 and all(line["kind"] == "api" for line in refused) and refused[0]["time"] >= refused[-1]["time"]
            assert "wrong-0123456789abcdef" not in json.dumps(refused)
            trouble = api.get("/api/v1/log")[1]["lines"]
            assert all(line["level"] in ("error", "warn") for line in trouble)
            assert api.get("/api/v1/log?which=all") == (400, {"error": 'which is "all"; expected trouble or refused'})
        with Api(host, "admin", token=TOKENS["read"]) as api:
            assert api.get("/api/v1/log")[0] == 403  # it is the host's
