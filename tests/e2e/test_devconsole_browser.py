"""--devconsole in a browser: a page at each mount's path that is a client of it."""
import os
from urllib.request import urlopen

import pytest

from conftest import DESKTOP, PHONE
from tova_host import BUILD, IMPATIENT, Host, wait_until
from wsclient import http_get

TALK = """while read -r line; do echo "you said $line"; echo "broadcast_to_others lobby $line" >&3; done"""


@pytest.fixture
def host(tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page/index.html").write_text("<!doctype html><title>A page of its own</title>")
    with Host("--script", f"/chat=echo 'join lobby' >&3; echo hello; {TALK}", "--plugin", f"/echo={BUILD}/plugins/echo.so", "--static", tmp_path / "page",
              "--subprotocol", "/echo=chat.v1", "--devconsole", *IMPATIENT) as running:
        yield running


def shown(page, kind):
    return page.texts(f"#frames li.{kind} span")


def test_a_conversation(host, browse):
    one, two = browse(host.url + "/chat/a?b=1"), browse(host.url + "/chat", size=PHONE, dark=True)
    for page in (one, two):
        assert page.state == "closed"
        page.click("#toggle")
        page.wait_state("open")
        wait_until(lambda: shown(page, "received") == ["hello"], "the first word")
    assert one.js("document.querySelector('#url').value") == host.ws_url + "/chat/a?b=1"
    one.type("#text", "a <b>&\\ ä\n")
    wait_until(lambda: shown(one, "received")[1:] == ["you said a <b>&\\ ä"], "an answer")
    assert shown(one, "sent") == ["a <b>&\\ ä"]
    wait_until(lambda: shown(two, "received")[1:] == ["a <b>&\\ ä"], "a broadcast")
    assert one.js("document.querySelectorAll('#frames b b').length") == 0
    two.type("#text", "two")
    two.click("#send")
    wait_until(lambda: "two" in shown(one, "received"), "the other way round")
    if folder := os.environ.get("TOVA_SCREENSHOTS"):
        one.driver.save_screenshot(f"{folder}/devconsole.png")
        two.driver.save_screenshot(f"{folder}/devconsole-phone-dark.png")
    for page, (width, _) in ((one, DESKTOP), (two, PHONE)):
        assert page.js("document.documentElement.scrollWidth") <= width
    one.click("#toggle")
    one.wait_state("closed")
    assert shown(one, "note")[-1].startswith("closed with 1000")
    one.click("#clear")
    assert one.texts("#frames li") == []


def test_binary_messages_and_subprotocols(host, browse):
    page = browse(host.url + "/echo")
    page.type("#subprotocol", "chat.v0, chat.v1")
    page.click("#toggle")
    page.wait_state("open")
    assert shown(page, "note") == ["open, with the subprotocol chat.v1"]


def test_who_is_refused_is_told_where_to_look(host, browse):
    page = browse(host.url + "/chat")
    page.expect_console("WebSocket")
    page.type("#url", host.ws_url + "/nothing")
    page.click("#toggle")
    page.wait_state("failed")
    assert "the host's log says why" in shown(page, "failed")[0]
    page.type("#url", "ws://")
    page.click("#toggle")
    wait_until(lambda: len(shown(page, "failed")) == 2, "an address that is none")


def test_it_stands_only_where_no_file_does(host):
    with urlopen(host.url + "/") as answer:
        assert b"A page of its own" in answer.read()
    for path, status in (("/chat", 200), ("/echo/x", 200), ("/nothing", 404), ("/.tova/console.js", 200), ("/.tova/console.css", 200), ("/.tova/console.html", 404)):
        answer = http_get("127.0.0.1", host.port, path)
        assert answer.status == status, path
        assert path.startswith("/.tova") or status != 200 or "script-src 'self'" in dict(answer.headers)["Content-Security-Policy"]


def test_without_the_option_there_is_none():
    with Host("--script", "exec cat", *IMPATIENT) as host:
        assert http_get("127.0.0.1", host.port, "/").status == 426
        assert http_get("127.0.0.1", host.port, "/.tova/console.js").status == 426
