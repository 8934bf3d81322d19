"""sdk/web/tova.js in a browser, against a server that speaks tova.v1 and does what no host should: what its sessions survive."""
import re

import pytest

from tova_host import ROOT, wait_until
from web_host import WebHost

# What a browser says about connections that are cut, refused or closed before they are open.
NOISE = "WebSocket"


@pytest.fixture
def server():
    with WebHost() as running:
        yield running


@pytest.fixture
def visit(server, browse):
    """visit(...) opens a page with a socket, in a browser of its own."""
    def make(**how):
        page = browse(server.page(**how))
        page.expect_console(NOISE)
        wait_until(lambda: page.js("window.socket?.readyState") == 1, "it is open")
        return page
    return make


def seen(page, *but, socket="socket"):
    """Types of events so far."""
    return [event["type"] for event in page.js(f"{socket}.seen") if event["type"] not in but]


def heard(page, socket="socket"):
    return [event["data"] for event in page.js(f"{socket}.seen") if event["type"] == "message"]


def wait_seen(page, *types, but=("message",), socket="socket"):
    wait_until(lambda: seen(page, *but, socket=socket) == list(types), f"{types}, but it is {page.js(f'{socket}.seen')}")


def test_a_websocket(server, visit):
    server.do(set={"protocol": "chat.v1"})
    page = visit(protocols=["chat.v0", "chat.v1"])
    assert page.js("[socket.protocol, socket.url, socket.binaryType, socket.extensions, socket.bufferedAmount]") == [
        "chat.v1", f"ws://127.0.0.1:{server.port}/chat", "blob", "", 0]
    page.js("""
        socket.send("ä\\u0000");
        socket.send("\\u0001{}");
        socket.send(new Uint8Array([0, 255]));
        socket.binaryType = "arraybuffer";
        socket.send(new Blob(["ab"]));
        socket.send("x".repeat(300000));
        socket.sent().then(() => window.settled = true);
        return 0;""")
    wait_until(lambda: page.js("window.settled"), "all is done")
    wait_until(lambda: len(heard(page)) == 5, "all has come back")
    assert heard(page) == ["ä\0", "\1{}", [0, 255], [97, 98], "x" * 300000]
    assert page.js("socket.seen[1].constructor === Object && socket.bufferedAmount === 0")
    page.js("socket.close(3001, 'seen enough'); return 0;")
    wait_seen(page, "open", "close")
    assert page.js("socket.seen.at(-1)") == {"type": "close", "code": 3001, "reason": "seen enough"}
    assert [s["code"] for s in server.sessions()] == [3001]


def test_cuts(server, visit):
    page = visit()
    page.js("""
        Math.random = () => 0; // no waiting
        window.sent = 0;
        window.timer = setInterval(() => { for (let i = 0; i < 5; i++) socket.send(`${sent++}`); }, 10);
        return 0;""")
    count = "socket.seen.filter(({type}) => type === arguments[0]).length"
    for n in range(10):
        wait_until(lambda: page.js(count, "message") > 50 * n, "it goes on")
        server.do(cut=None)
        wait_until(lambda: page.js(count, "resume") == n + 1, "it is back")
    page.js("clearInterval(timer); socket.sent().then(() => window.settled = true); return 0;")
    wait_until(lambda: page.js("window.settled"), "all is done")
    wait_until(lambda: page.js(count, "message") >= page.js("sent"), "all has come back")
    expected = [str(n) for n in range(page.js("sent"))]
    [session] = server.sessions()
    assert session["texts"] == expected == heard(page)
    assert set(seen(page)) == {"open", "message", "away", "resume"}


def test_a_network_that_swallows_everything(server, visit):
    page = visit(ping=500, timeout=1000)
    server.do(silence=None)
    page.js("socket.send('into the void'); return 0;")
    wait_seen(page, "open", "away", "resume")
    wait_until(lambda: heard(page) == ["into the void"], "the message")
    [session] = server.sessions()
    assert not session["over"]


def test_offline_and_online(server, visit):
    """The browser knows: nobody waits for a timer."""
    page = visit()
    page.js("const set = setTimeout; window.setTimeout = (f, ms) => set(f, ms < 300 ? ms : 1e9); Math.random = () => 0.999; return 0;")
    page.driver.execute_cdp_cmd("Network.enable", {})

    def network(offline):
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {
            "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
    network(True)
    server.do(listen=False, cut=None)
    page.js("socket.send('written in a tunnel'); return 0;")
    wait_seen(page, "open", "away")
    server.do(listen=True)
    network(False)
    wait_until(lambda: heard(page) == ["written in a tunnel"], "the message")
    assert seen(page) == ["open", "away", "resume", "message"]
    assert len(server.sessions()) == 1


def test_a_page_that_is_left_says_bye(server, visit):
    page = visit()
    page.driver.get("about:blank")
    wait_until(lambda: [s["code"] for s in server.sessions()] == [1000], "the session ends at once")


def test_a_page_that_is_loaded_again(server, visit):
    page = visit(store="chat")
    page.js("socket.send('1'); return 0;")
    wait_until(lambda: heard(page) == ["1"], "an answer")
    for n in range(3):
        server.do(silence=None)
        page.js("socket.send(`a${arguments[0]}`); socket.send(new Uint8Array([arguments[0]])); return 0;", n)
        assert page.js("sessionStorage.length") == 0
        page.driver.refresh()
        wait_until(lambda: page.js("window.socket?.readyState") == 1, "it is open")
        wait_until(lambda: len(heard(page)) == 2, "what was under way")
        assert page.js("socket.seen[0]") == {"type": "open", "resumed": True}
        assert page.js("sessionStorage.length") == 0
    [session] = server.sessions()
    assert session["texts"] == ["1", "a0", [0], "a1", [1], "a2", [2]]
    assert not session["over"]


def test_the_way_back(server, visit):
    """The browser keeps the page, or loads it anew: either way it is connected."""
    for store in (None, "chat"):
        page = visit(**({"store": store} if store else {}))
        page.js("window.here = true; return 0;")
        page.driver.get("about:blank")
        wait_until(lambda: page.js("location.href") == "about:blank", "elsewhere")
        page.driver.back()
        wait_until(lambda: page.js("window.socket?.readyState") == 1, "it is open")
        page.js("socket.send('back'); return 0;")
        wait_until(lambda: heard(page)[-1:] == ["back"], "it is connected")
        if page.js("window.here"):
            assert seen(page) == (["open", "resume", "message"] if store else ["open", "open", "lost", "message"])
        codes = [s["code"] for s in server.sessions() if s["over"]]
        assert codes == ([] if store else [1000])
        server.do(begin={})
        page.leave()


def test_frozen_and_thawed(server, visit):
    """What a page does in which the browser fires the events of its back/forward cache."""
    freeze = "dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true})); return 0;"
    thaw = "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true})); return 0;"
    page = visit()
    page.js(freeze)
    wait_until(lambda: server.sessions()[0]["code"] == 1000, "it said bye")
    page.js(thaw)
    wait_seen(page, "open", "open", "lost")
    page.js("window.stored = connect({options: {store: 'x'}}); return 0;")
    wait_until(lambda: page.js("stored.readyState") == 1, "it is open")
    page.js(freeze)
    assert page.js("sessionStorage.length") == 1
    page.js(thaw)
    wait_seen(page, "open", "resume", socket="stored")
    assert page.js("sessionStorage.length") == 0


def test_a_tab_that_is_copied(server, visit):
    """Browsers copy sessionStorage. Whoever comes second has the session, the other one gets its own, and so it stays."""
    page = visit(store="chat")
    token = server.sessions()[0]["token"]
    first = page.driver.current_window_handle
    page.js("""
        sessionStorage.setItem("tova.chat", JSON.stringify([arguments[0], 0, 0, 0, 0, 0, []]));
        open(location.href);
        return 0;""", token)
    wait_until(lambda: len(page.driver.window_handles) == 2, "the other tab")
    other = next(handle for handle in page.driver.window_handles if handle != first)
    page.driver.switch_to.window(other)
    wait_until(lambda: page.js("window.socket?.readyState") == 1, "it is open")
    assert page.js("socket.seen[0]") == {"type": "open", "resumed": True}
    page.driver.switch_to.window(first)
    wait_seen(page, "open", "away", "open", "lost")
    assert page.js("socket.seen[1].code") == 4409
    upgrades = server.do()["upgrades"]
    assert upgrades == 3
    for handle, number in ((first, 2), (other, 1)):
        page.driver.switch_to.window(handle)
        page.js("socket.send('mine'); return 0;")
        wait_until(lambda: server.sessions()[number - 1]["texts"] == ["mine"], "each has its own")
    assert server.do()["upgrades"] == upgrades
    page.driver.close()
    page.driver.switch_to.window(first)


def test_the_host_is_started_again(server, visit):
    page = visit()
    server.do(restart=None)
    wait_seen(page, "open", "away", "open", "lost")
    assert page.js("socket.seen[1].code") == 1012
    assert [s["over"] for s in server.sessions()] == [True, False]


@pytest.mark.parametrize("code", [1000, 1008, 4000])
def test_the_end(server, visit, code):
    page = visit()
    server.do(close=code)
    wait_seen(page, "open", "close")
    assert page.js("[socket.seen[1].code, socket.readyState]") == [code, 3]
    assert server.do()["upgrades"] == 1


def test_refused(server, browse):
    server.do(set={"refusing": {"refused": 403, "retry_ms": 0}})
    page = browse(server.page())
    wait_until(lambda: page.js("window.socket?.readyState") == 3, "it is closed")
    assert page.js("socket.seen") == [{"type": "close", "code": 4403, "reason": ""}]
    assert server.do()["upgrades"] == 1


def test_later(server, browse):
    server.do(set={"refusing": {"refused": 503, "retry_ms": 700}})
    page = browse(server.page())
    wait_until(lambda: page.js("window.socket?.seen.length") == 1, "it waits")
    assert page.js("socket.seen[0].code") == 1013
    server.do(set={"refusing": None})
    wait_seen(page, "away", "open")


def test_a_token_that_expires(server, visit):
    server.do(set={"tokens": {"one": 3000, "two": 2000, "three": 100000}})
    page = visit(tokens=["one", "two", "three"])
    wait_until(lambda: server.do()["renewed"] == ["one", "two", "three"], "each comes before the end of the one before")
    assert seen(page) == ["open"]
    assert server.do()["upgrades"] == 1


@pytest.mark.parametrize("path, upgrades", [("/plain", 2), ("/any", 2)])
def test_another_server(server, browse, path, upgrades):
    page = browse(server.page(path=path, timeout=2000))
    page.expect_console(NOISE)
    wait_until(lambda: page.js("window.socket?.readyState") == 1, "it is open")
    assert server.do()["upgrades"] == upgrades
    page.js("socket.send('\\u0001{}'); return 0;")
    wait_until(lambda: heard(page) == ["\1{}"], "an echo")
    assert seen(page) == ["open", "message"]
    server.do(cut=None)
    page.js("socket.send('later'); return 0;")
    wait_until(lambda: heard(page)[1:] == ["later"], "what was sent while away")
    assert seen(page, "away") == ["open", "message", "open", "lost", "message"]


def test_the_page_of_the_readme(server, browse):
    [html] = re.findall(r"^```html\n(.*?)^```$", (ROOT / "sdk/web/README.md").read_text(), re.M | re.S)
    server.do(page=html)
    page = browse(server.url)
    page.expect_console(NOISE)

    def state(text):
        wait_until(lambda: page.text("#state") == text, f"{text!r}, but it is {page.text('#state')!r}")
    state("connected")
    page.find("#say").send_keys("good morning\n")
    wait_until(lambda: page.text("#heard") == "good morning\n", "an answer")
    state("the host has it")
    server.do(listen=False, cut=None)
    wait_until(lambda: page.text("#state").startswith("no connection"), "it is away")
    page.find("#say").send_keys("is anybody there?\n")
    server.do(listen=True)
    wait_until(lambda: page.text("#heard") == "good morning\nis anybody there?\n", "it has arrived, once")
    state("the host has it")
