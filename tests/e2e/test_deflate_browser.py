"""A browser that has agreed on compression: what it sends and gets is the same as without."""
import pytest

import control
from conftest import plugin
from tova_host import IMPATIENT, Host, wait_until

PAGE = "<!doctype html><title>sockets</title><link rel=icon href=data:,>"
OPEN = """
    window.heard = [];
    window.sockets = [1, 2].map(i => {
        const ws = new WebSocket(`ws://${location.host}/relay/room/a?echo=1`);
        ws.binaryType = "arraybuffer";
        ws.onmessage = e => heard.push([i, typeof e.data === "string" ? e.data : [...new Uint8Array(e.data)].join()]);
        return ws;
    });
    return 0;"""
SEND = """
    for (let n = 0; n < 5; n++) {
        sockets[n % 2].send(`${n}: ` + "naïve words of the same kind, ".repeat(300));
        sockets[n % 2].send(new Uint8Array([n, ...new Array(2000).fill(7)]));
        sockets[n % 2].send("short");
    }
    return 0;"""


@pytest.mark.parametrize("takeover", ["none", "both"])
def test_messages_and_broadcasts(tmp_path, request, takeover):
    (tmp_path / "index.html").write_text(PAGE)
    with Host("--static", tmp_path, *plugin("/relay", "relay"), "--deflate", "--deflate-takeover", takeover, *IMPATIENT) as host:
        page = request.getfixturevalue("browse")(host.url + "/")
        page.js(OPEN)
        wait_until(lambda: page.js("sockets.every(ws => ws.readyState === 1)"), "both are open")
        expected = "permessage-deflate" + ("; server_no_context_takeover; client_no_context_takeover" if takeover == "none" else "")
        assert page.js("sockets.map(ws => ws.extensions)") == [expected] * 2
        page.js(SEND)
        wait_until(lambda: page.js("heard.length") == 30, "all has come")
        heard = page.js("heard")
        text, few = "naïve words of the same kind, " * 300, ",7" * 2000
        for who in (1, 2):
            got = [data for socket, data in heard if socket == who]
            assert sorted(got) == sorted([f"{n}: {text}" for n in range(5)] + [f"{n}{few}" for n in range(5)] + ["short"] * 5)
            for first in (0, 1):  # what one of them sends stays in its order
                assert [data[:2] for data in got if data[0] in "01234"[first::2]] == [f"{n}{c}" for n in range(first, 5, 2) for c in ":,"]
        stats = control.stats(host.control_socket)
        assert stats["deflated"] == 10 and stats["deflated_to"] < stats["deflated_from"] / 10
        assert stats["bytes_in"] < 20000, "the browser compresses, too"
        page.leave()
