"""A page that uses the library from the host that serves it, behind a network that breaks."""
import time

import pytest

from network import Network
from tokens import SECRET
from tova_host import Host, wait_until

NOISE = "WebSocket"
PAGE = """<!doctype html><title>resume</title><link rel="icon" href="data:,"><script type="module">
import { TovaSocket } from "/.tova/tova.js";
const socket = window.socket = new TovaSocket("/chat/echo");
socket.seen = [];
for (const type of ["open", "message", "away", "resume", "lost", "close"])
	socket.addEventListener(type, (e) => socket.seen.push(type === "message" ? e.data : type === "lost" ? { lost: e.missed, messages: e.messages } : type));
</script>"""


@pytest.fixture
def host(tmp_path):
    (tmp_path / "index.html").write_text(PAGE)
    with Host("--plugin", "/chat=echo", "--static", str(tmp_path), "--resume", "30s") as running:
        yield running


@pytest.fixture
def network(host):
    running = Network(host.port)
    yield running
    running.close()


@pytest.fixture
def page(network, browse):
    shown = browse(network.url)
    shown.expect_console(NOISE)
    wait_until(lambda: shown.js("window.socket?.readyState") == 1, "it is open")
    shown.js("Math.random = () => 0; return 0;")  # no waiting
    return shown


def seen(page):
    return page.js("socket.seen")


def test_the_network_breaks(network, page):
    page.js("window.n = 0; window.timer = setInterval(() => socket.send(`${n++}`), 5); return 0;")
    for cuts in range(1, 6):
        wait_until(lambda: len([s for s in seen(page) if s not in ("open", "away", "resume")]) > 20 * cuts, "it goes on")
        network.cut()
        wait_until(lambda: seen(page).count("resume") == cuts, "it is back")
    page.js("clearInterval(timer); socket.sent().then(() => window.settled = true); return 0;")
    wait_until(lambda: page.js("window.settled"), "all is settled")
    sent = page.js("n")
    wait_until(lambda: seen(page)[-1] == str(sent - 1) or str(sent - 1) in seen(page), "all has come back")
    assert [s for s in seen(page) if s not in ("open", "away", "resume")] == [str(i) for i in range(sent)]
    assert seen(page).count("open") == 1


def test_said_while_it_is_away(network, page):
    network.up = False
    network.cut()
    wait_until(lambda: "away" in seen(page), "it knows")
    page.js("socket.send('late'); return 0;")
    network.up = True
    page.js("dispatchEvent(new Event('online')); return 0;")
    wait_until(lambda: seen(page)[-1] == "late", "it has arrived")
    assert "lost" not in str(seen(page)) and seen(page).count("open") == 1


def test_the_host_begins_anew(host, network, page):
    page.js("socket.send('one'); return 0;")
    wait_until(lambda: "one" in seen(page), "it echoes")
    host.stop()
    host.start()
    network.port = host.port
    page.js("socket.reconnect(); return 0;")
    wait_until(lambda: seen(page).count("open") == 2, "a session of its own")
    wait_until(lambda: any(isinstance(s, dict) for s in seen(page)), "it knows what is lost")
    page.js("socket.send('two'); return 0;")
    wait_until(lambda: seen(page)[-1] == "two", "it goes on")


STORED = """<!doctype html><title>tabs</title><link rel="icon" href="data:,"><script type="module">
import { TovaSocket } from "/.tova/tova.js";
const socket = window.socket = new TovaSocket("/chat", [], STORE);
socket.seen = [];
for (const type of ["message", "away", "resume", "lost", "close"])
	socket.addEventListener(type, (e) => socket.seen.push(type === "message" ? JSON.parse(e.data) : type));
socket.addEventListener("open", (e) => socket.seen.push(e.resumed ? "resumed" : "open"));
</script>"""


@pytest.fixture
def chat(tmp_path):
    for name, options in (("kept", '{ store: "chat" }'), ("plain", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(STORED.replace("STORE", options))
    with Host("--plugin", "/chat=chat", "--static", str(tmp_path), "--resume", "30s") as running:
        yield running


def text(content):
    return {"type": "chat", "user": "somebody", "text": content}


def hears(page, content):
    return any(isinstance(s, dict) and s.get("text") == content for s in seen(page))


def opened(page, how="open"):
    page.expect_console(NOISE)
    wait_until(lambda: page.js("window.socket?.seen.includes(arguments[0])", how), f"it has opened: {how}")
    return page


def says(page, content):
    page.js("socket.send(JSON.stringify(arguments[0])); return 0;", text(content))


def test_a_page_is_loaded_again(chat, browse):
    """With store the session is the tab's: nobody hears that it left, and what was said meanwhile is there. Without, it left."""
    ada, grace = (opened(browse(f"{chat.url}/{page}/")) for page in ("kept", "plain"))
    wait_until(lambda: len(seen(grace)) > 1, "Grace is welcomed")
    before = len(seen(grace))
    ada.open("about:blank")  # the page is gone, the tab is there
    grace.js("socket.send(JSON.stringify(arguments[0])); return socket.sent();", text("meanwhile"))
    opened(ada.open(f"{chat.url}/kept/"), "resumed")
    wait_until(lambda: hears(ada, "meanwhile"), "Ada gets what was said while she was between two pages")
    assert [s for s in seen(ada) if s in ("open", "lost", "away")] == []
    ada.driver.refresh()
    opened(ada, "resumed")
    says(ada, "here")
    wait_until(lambda: hears(grace, "here"), "Grace hears Ada")
    assert [s["text"] for s in seen(grace)[before:]] == ["here"], "nobody left and nobody joined"
    grace.driver.refresh()
    opened(grace)
    wait_until(lambda: any(isinstance(s, dict) and "left" in s["text"] for s in seen(ada)), "Ada is told that Grace left")


def test_two_tabs(chat, browse):
    """Each has its own session, though they share a storage's origin and one was opened by the other. They do not fight."""
    page = opened(browse(f"{chat.url}/kept/"))
    first = page.driver.current_window_handle
    page.js("window.open(location.href); return 0;")  # with a copy of the sessionStorage
    second = next(h for h in page.driver.window_handles if h != first)
    page.driver.switch_to.window(second)
    try:
        opened(page)
        page.driver.refresh()
        opened(page, "resumed")
        says(page, "from the second")
        page.driver.switch_to.window(first)
        wait_until(lambda: hears(page, "from the second"), "the first hears it")
        assert not {"away", "lost", "close", "resumed"} & {s for s in seen(page) if isinstance(s, str)}
        says(page, "from the first")
        page.driver.switch_to.window(second)
        wait_until(lambda: hears(page, "from the first"), "the second hears it")
        assert not {"away", "lost", "close", "open"} & {s for s in seen(page) if isinstance(s, str)}
    finally:
        page.driver.switch_to.window(second)
        page.driver.close()
        page.driver.switch_to.window(first)


MINTING = """<!doctype html><title>token</title><link rel="icon" href="data:,"><script type="module">
import { TovaSocket } from "/.tova/tova.js";
const b64 = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const part = (value) => b64(new TextEncoder().encode(JSON.stringify(value)));
const key = await crypto.subtle.importKey("raw", new TextEncoder().encode("SECRET"), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
window.made = [];
async function token() {
	const exp = Math.floor(Date.now() / 1000) + 3;
	const signed = part({ alg: "HS256", typ: "JWT" }) + "." + part({ sub: "ada", exp });
	made.push(exp);
	return signed + "." + b64(new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(signed))));
}
const socket = window.socket = new TovaSocket("/chat/echo", [], { token });
socket.seen = [];
for (const type of ["open", "message", "away", "resume", "lost", "close"])
	socket.addEventListener(type, (e) => socket.seen.push(type === "message" ? e.data : type));
</script>"""


def test_a_token_that_expires_is_refreshed(tmp_path, browse):
    """Tokens of three seconds: the connection outlives several of them, and nobody notices."""
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text(MINTING.replace("SECRET", SECRET.decode()))
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    with Host("--plugin", "/chat=echo", "--static", str(pages), "--resume", "30s", "--jwt-key", f"/chat={key}",
              "--jwt-leeway", "0s") as host:
        page = opened(browse(host.url + "/"))
        wait_until(lambda: time.time() > page.js("made[0]") + 2, "the first token is over")
        page.js("socket.send('still here'); return 0;")
        wait_until(lambda: "still here" in seen(page), "it goes on")
        assert page.js("made.length") > 1 and [s for s in seen(page) if s != "still here"] == ["open"]
