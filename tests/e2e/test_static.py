"""The example pages as --static serves them: whole, alone, and without a word of complaint from the browser."""
import pytest

from conftest import plugin
from tova_host import Host, wait_until

PAGES = [("chat", "#general – Chat"), ("dashboard", "Dashboard")]


@pytest.mark.parametrize("path", ["{}/", "{}/index.html"])
@pytest.mark.parametrize("name, title", PAGES)
def test_page_loads(host, browse, name, title, path):
    page = browse(f"{host.url}/{path.format(name)}")
    page.wait_state("open")
    wait_until(lambda: page.driver.title == title, f"title {title!r}, but it is {page.driver.title!r}")
    assert page.js("document.characterSet") == "UTF-8"
    assert page.js("document.compatMode") == "CSS1Compat"
    assert page.js("link.socket.url") == f"{host.ws_url}/{name}"
    # One file each, and the host's own library: nothing else is fetched beside the page, from here or elsewhere.
    others = page.js("performance.getEntriesByType('resource').filter(e => e.initiatorType !== 'other').map(e => e.name)")
    assert [name for name in others if name.startswith("http")] == [f"{host.url}/.tova/tova.js"]
    assert page.console_errors() == []


def test_another_path_by_query(browse):
    with Host("--static", "examples", *plugin("/elsewhere/talk", "chat")) as host:
        page = browse(f"{host.url}/chat/?ws=/elsewhere/talk")
        page.wait_state("open")
        assert page.js("link.socket.url") == f"{host.ws_url}/elsewhere/talk"
        wait_until(lambda: "Welcome to the chat!" in page.text("#log"), "the host there answers")
        page.leave()


def test_a_page_at_the_root(browse):
    with Host("--static", "examples/chat", *plugin("/", "chat")) as host:
        page = browse(f"{host.url}/")
        page.wait_state("open")
        assert page.js("link.socket.url") == f"{host.ws_url}/"
        wait_until(lambda: "Welcome to the chat!" in page.text("#log"), "the host there answers")
        page.leave()


def test_a_query_can_not_lead_elsewhere(host, browse):
    """?ws= names a path. A link that somebody passes on must not make the page talk to another host."""
    page = browse(f"{host.url}/chat/?ws=//example.invalid/chat")
    page.expect_console("WebSocket connection to")
    assert page.js("new URL(link.socket.url).host") == f"127.0.0.1:{host.port}"
    page.open(f"{host.url}/chat/?ws=wss://example.invalid/chat")
    assert page.js("link.socket.url") == f"{host.ws_url}/chat"


def test_missing_files(host, browse):
    page = browse(f"{host.url}/chat/nothing-here.html")
    page.expect_console("404")
    assert page.js("document.querySelector('#state')") is None
    assert page.js("performance.getEntriesByType('navigation')[0].responseStatus") == 404
