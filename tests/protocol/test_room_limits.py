"""--max-rooms, --max-mount-rooms, --max-room-name: a join beyond fails its event (rule 8), all of which is undone; the connection stays."""
import pytest

from probe import KINDS, Host, Probe, kind_args, plugin

HANDLER = 1  # the kind of the error


@pytest.mark.parametrize("kind", KINDS)
def test_joins_beyond_fail_their_event(kind):
    limits = ["--max-rooms", "2", "--max-mount-rooms", "4", "--max-room-name", "9"]
    with Host("--plugin", f"/probe={plugin('probe')}", *kind_args(kind), *limits) as host, Probe(host) as probe:
        observer = probe.observer()  # has a room, too
        a, b = probe.clients(2)
        assert a.ask("join one", "join two", "join one", "send fine") == "fine"
        assert b.ask("join two", "join three", "send fine") == "fine"
        for ws, lines, why in ((a, ("send never", "join three"), "more rooms than --max-rooms"),
                               (b, ("leave two", "join four", "to one never"), "more rooms than --max-mount-rooms"),
                               (b, ("leave two", "join tenletters"), "longer name than --max-room-name")):
            rooms = ws.rooms()
            ws.script(*lines)
            error = observer.event("error", ws.id)
            assert error["kind"] == HANDLER and why in error["text"], error
            assert ws.rooms() == rooms
        assert a.ask("leave one", "join three", "send moved") == "moved"
        assert a.rooms() == {"two", "three"}
