"""Rooms that remember, as plugins meet them: in the host, isolated, with several loops. The rest is in tests/e2e/test_history.py."""
import pytest

from probe import KINDS, Host, Probe, escape, kind_args, plugin

OK, E_ROOM, E_ARG = 0, -1, -4
LAST, SINCE_OR_LAST, SINCE_OR_FAIL = 1, 2, 3


@pytest.fixture(scope="module", params=[(kind, threads) for kind in KINDS for threads in ("1", "3")], ids=lambda p: "-".join(p))
def remembering(request):
    kind, threads = request.param
    with Host("--plugin", f"/probe={plugin('probe')}", "--history", "5", "--threads", threads, *kind_args(kind)) as host:
        yield host


@pytest.fixture
def probe(remembering):
    with Probe(remembering) as p:
        yield p


def asked(ws, room, since="*", limit=0):
    return ws.ask_json(f"query history 7 {since} {limit} {escape(room)}")


def test_joins(probe, request):
    room = request.node.name
    a, b = probe.clients(2)
    a.script(*(f"to {escape(room)} {n}" for n in range(1, 8)), "send done")
    assert a.recv_text() == "done"
    b.script(f"to {escape(room)} 8", f"to_unkept {escape(room)} unkept", f"join_last 3 {escape(room)}", f"to {escape(room)} 9",
             f"to_unkept {escape(room)} typing", "send done")
    assert [b.recv_text() for _ in range(6)] == ["6", "7", "8", "9", "typing", "done"]
    reply = asked(b, room)
    epoch = reply["epoch"]
    assert epoch > 0 and (reply["first"], reply["last"], reply["count"]) == (5, 9, 5)
    a.script(f"join_since 7 {epoch} {SINCE_OR_LAST} {escape(room)}", "send done")
    assert [a.recv_text() for _ in range(3)] == ["8", "9", "done"]
    a.script(f"join_since 1 {epoch} {SINCE_OR_LAST} {escape(room)}", "send done")
    assert [a.recv_text() for _ in range(6)] == ["5", "6", "7", "8", "9", "done"]
    observer = probe.observer()
    a.script("send never", f"join_since 1 {epoch} {SINCE_OR_FAIL} {escape(room)}")
    assert "fail" in observer.event("error")["text"]
    a.script(f"join_since 0 0 {SINCE_OR_FAIL} new{escape(room)}", "send done")
    assert a.recv_text() == "done"


def test_what_is_wrong_fails_the_callback(probe):
    a, observer = probe.client(), probe.observer()
    for line, code in ((f"join_since 3 0 {SINCE_OR_LAST} r", E_ARG), ("join_since 3 1 9 r", E_ARG), ("join_since 3 1 0 r", E_ARG), ("join_last 3 ", E_ROOM)):
        a.script("send never", line)
        assert observer.event("error"), line
        assert a.results()[1] == code
    a.script("join_last 3 r")
    assert a.results()[0] == OK


def test_queries(probe, request):
    room = request.node.name
    a = probe.client()
    nothing = asked(a, "ghost")
    assert (nothing["count"], nothing["epoch"], nothing["first"], nothing["last"], nothing["complete"], nothing["messages"]) == (0, 0, 0, 0, 1, [])
    a.script(f"to {escape(room)} one", f"tob {escape(room)} two", f"to {escape(room)} ä€𝄞", "send done")
    assert a.recv_text() == "done"
    assert asked(a, room)["messages"] == [[1, 1, "one", 1], [2, 2, "two", 1], [3, 1, "ä€𝄞", 1]]
    assert [m[0] for m in asked(a, room, limit=2)["messages"]] == [2, 3]
    page = asked(a, room, since=0, limit=2)
    assert [m[0] for m in page["messages"]] == [1, 2] and page["more"] == 1 and page["complete"] == 1
    assert [m[0] for m in asked(a, room, since=2)["messages"]] == [3]
    assert asked(a, room, since=9)["complete"] == 0
