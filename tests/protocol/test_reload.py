"""Reload on HUP: a new library between two events, connections and their data kept, a broken one not taken."""
import os
import shutil
import threading
from pathlib import Path

import pytest

from probe import KINDS, Host, Probe, kind_args, opened, plugin
from tova_host import wait_until
from wsclient import connect


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "probe.so"
    shutil.copy(plugin("probe"), path)
    return path


def replace(path, name):
    """As an installer would: a new file under the old name."""
    fresh = path.with_suffix(".new")
    shutil.copy(plugin(name), fresh)
    os.replace(fresh, path)


def overwrite(path, data):
    """As a careless copy would: the same file truncated and written again, while the old library is mapped."""
    with open(path, "wb") as file:
        file.write(data)


def reload(host):
    """Asks for a reload and waits until the host says how it went with the handlers."""
    mark = host.reload()
    return host.wait_log(lambda line: line.get("kind") == "reload" and "mount" in line and "option" not in line, "how the reload went",
                         after=mark)


def version(ws):
    return ws.ask_json("about")["plugin"]


def refused(host, probe, ws, path, name, reason=""):
    """A reload into this file fails, says why, and changes nothing."""
    host.expect(lambda line: line.get("level") == "error" and line.get("kind") in ("reload", "plugin"))
    replace(path, name)
    mark = host.reload()
    host.wait_log(lambda line: line.get("kind") in ("reload", "worker.output") and reason in str(line), f"why it was not taken: {reason}",
                  after=mark)
    host.wait_log(lambda line: line.get("kind") == "reload" and line.get("level") == "error", "that it was not taken", after=mark)
    assert version(ws) == version(probe.client())
    return version(ws)


def test_a_new_version_keeps_connections_rooms_data_and_timers(library, kind):
    with Host("--plugin", f"/probe={library}", *kind_args(kind)) as host, Probe(host) as probe:
        a, b = probe.clients(2)
        observer = probe.observer()
        a.script("join r", "data 0 kept", "timer t 77 400 0", "send ready")
        assert a.recv_text() == "ready"
        ids = a.id, b.id
        assert version(a) == "1.0"
        replace(library, "probe_v2")
        reload(host)
        assert version(a) == version(b) == version(probe.client()) == "2.0"
        assert (a.ask("myid"), b.ask("myid")) == ids
        assert bytes.fromhex(a.ask("getdata")).startswith(b"kept") and a.rooms() == {"r"}
        b.script("to r still a member")
        assert a.recv_text() == "still a member"
        assert observer.event("timer")["id"] == 77
        host.wait_log(lambda line: "probe 1.0 stops" in str(line), "the old library's stop")


def test_the_same_file_again(library, kind):
    """It is left alone: neither it nor its processes are started anew."""
    with Host("--plugin", f"/probe={library}", *kind_args(kind)) as host, Probe(host) as probe:
        a = probe.client()
        a.script("data 0 kept", "send ready")
        assert a.recv_text() == "ready"
        processes = host.children
        for _ in range(5):
            assert "left alone" in reload(host)["message"]
        assert host.children == processes and not any("probe 1.0 stops" in str(line) for line in host.lines)
        assert bytes.fromhex(a.ask("getdata")).startswith(b"kept")
        assert version(a) == "1.0"


def test_many_reloads_leave_nothing_behind(library):
    """Old code is unmapped and its private copies are gone."""
    with Host("--plugin", f"/probe={library}") as host, Probe(host) as probe:
        a = probe.client()

        def mapped():
            with open(f"/proc/{host.pid}/maps") as maps:
                return len({line.split(None, 5)[5] for line in maps if ".so" in line or "memfd" in line or "deleted" in line})

        for name in ("probe_v2", "probe"):
            replace(library, name)
            reload(host)
            a.settle()
        before, descriptors = mapped(), host.descriptors
        for i in range(10):
            replace(library, "probe_v2" if i % 2 == 0 else "probe")
            reload(host)
            assert version(a) == ("2.0" if i % 2 == 0 else "1.0")
        assert mapped() <= before and host.descriptors == descriptors


BROKEN = [("bad_abi_major", "2.0"), ("bad_abi_minor", "needs plugin interface 1."), ("bad_no_symbol", "tova_plugin_entry"), ("bad_undefined", "nobody_defines"),
          ("bad_start", "closed on sundays"), ("probe_bad_start", "not this one")]


@pytest.mark.parametrize("name, reason", BROKEN)
def test_a_library_that_does_not_load_keeps_the_old_one(library, kind, name, reason):
    with Host("--plugin", f"/probe={library}", *kind_args(kind)) as host, Probe(host) as probe:
        check_that_it_is_kept(host, probe, library, name, reason)


@pytest.mark.parametrize("name, reason", [("probe_bigger_nomigrate", ""), ("probe_bigger_badmigrate", "can not migrate from 1.0")])
def test_a_library_that_does_not_take_the_data_keeps_the_old_one(library, name, reason):
    with Host("--plugin", f"/probe={library}") as host, Probe(host) as probe:
        check_that_it_is_kept(host, probe, library, name, reason)


def check_that_it_is_kept(host, probe, library, name, reason):
    a = probe.client()
    a.script("data 0 kept", "join r", "send ready")
    assert a.recv_text() == "ready"
    assert refused(host, probe, a, library, name, reason) == "1.0"
    assert bytes.fromhex(a.ask("getdata")) == b"kept".ljust(64, b"\0") and a.rooms() == {"r"}
    replace(library, "probe_v2")
    reload(host)
    assert version(a) == "2.0"


def loads(host, name):
    """Whether a worker of the host has loaded this library and its start() still works."""
    def has(pid):
        try:
            return f"memfd:{name}" in Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            return False
    return sum(has(pid) for pid in host.children) == 2


@pytest.mark.skipif("isolate" not in KINDS, reason="needs workers")
def test_a_reload_during_a_reload_is_not_lost(library):
    """The first has loaded its file already when that is replaced again."""
    with Host("--plugin", f"/probe={library}", "--plugin-set", "start_stall=200", "--isolate") as host, Probe(host) as probe:
        a = probe.client()
        assert version(a) == "1.0"
        replace(library, "probe_v2")
        host.reload()
        wait_until(lambda: loads(host, library.name), "the new worker has loaded its file")
        replace(library, "probe")
        host.reload()
        host.wait_log(lambda line: "probe 2.0 stops" in str(line), "the second reload")
        wait_until(lambda: version(a) == "1.0", "the newest version")


@pytest.mark.parametrize("data", [b"", b"garbage\n" * 5000, "cut"], ids=["empty", "garbage", "cut"])
def test_a_file_overwritten_in_place_does_not_crash(library, kind, data):
    """The running code is a private copy: truncating the file under it changes nothing."""
    with Host("--plugin", f"/probe={library}", *kind_args(kind)) as host, Probe(host) as probe:
        a = probe.client()
        assert version(a) == "1.0"
        overwrite(library, plugin("probe").read_bytes()[:9000] if data == "cut" else data)
        a.script("on close broadcast x", "on error send x", "join r", "timer t 1 1 0", "query rooms 1 me", "fail x")
        assert a.recv_text() == "x"
        assert version(a) == "1.0"
        host.expect(lambda line: line.get("level") == "error" and line.get("kind") in ("reload", "plugin"))
        mark = host.reload()
        host.wait_log(lambda line: line.get("kind") == "reload" and line.get("level") == "error", "that it is no plugin", after=mark)
        assert version(a) == "1.0"
        overwrite(library, plugin("probe_v2").read_bytes())
        assert version(a) == "1.0"
        reload(host)
        assert version(a) == "2.0"


def test_a_file_that_is_gone(library, kind):
    with Host("--plugin", f"/probe={library}", *kind_args(kind)) as host, Probe(host) as probe:
        a = probe.client()
        library.unlink()
        host.expect(lambda line: line.get("level") == "error" and line.get("kind") in ("reload", "plugin"))
        mark = host.reload()
        host.wait_log(lambda line: line.get("level") in ("error", "warn") and "probe.so" in str(line), "that it is gone", after=mark)
        host.wait_log(lambda line: line.get("kind") == "reload" and line.get("level") == "error", "that the old one goes on", after=mark)
        assert version(a) == "1.0"


def test_more_data_with_a_hook(library):
    with Host("--plugin", f"/probe={library}") as host, Probe(host) as probe:
        clients = probe.clients(20)
        for i, ws in enumerate(clients):
            ws.script(f"data 0 number {i}", "send ready")
            assert ws.recv_text() == "ready"
        replace(library, "probe_bigger")
        reload(host)
        for i, ws in enumerate(clients):
            data = bytes.fromhex(ws.ask("getdata"))
            assert data == f"number {i}".encode().ljust(64, b"\0") + b"m" * 64
            ws.script("data 120 end", "send ready")
            assert ws.recv_text() == "ready"
            ws.script("data 0 lost", "fail x")
            assert bytes.fromhex(ws.ask("getdata"))[:8] == f"number {i}".encode()[:8]
        assert probe.client().ask("getdata") == "00" * 128


def test_data_where_there_was_none(library):
    replace(library, "silent")
    with Host("--plugin", f"/probe={library}") as host:
        with connect("127.0.0.1", host.port, "/probe") as ws:
            ws.roundtrip()
            replace(library, "probe_bigger")
            reload(host)
            ws.send_text("getdata")
            assert ws.recv_text() == "6d" * 128
            ws.end()


def test_data_with_pointers_is_reloaded_into_the_same_size(library):
    replace(library, "probe_local")
    with Host("--plugin", f"/probe={library}") as host, Probe(host) as probe:
        a = probe.client()
        a.script("data 0 kept", "send ready")
        assert a.recv_text() == "ready"
        reload(host)
        assert bytes.fromhex(a.ask("getdata")).startswith(b"kept")
        assert refused(host, probe, a, library, "probe_bigger_nomigrate") == "4.0"


def test_nothing_is_lost_while_reloading_under_traffic(library, kind):
    """Each message is answered once and in order, whatever version answers it."""
    with Host("--plugin", f"/probe={library}", *kind_args(kind)) as host, Probe(host) as probe:
        ws = probe.client()
        answers = []

        def read():
            for _ in range(2000):
                answers.append(ws.recv_text())

        reader = threading.Thread(target=read)
        reader.start()
        for i in range(2000):
            ws.script(f"send {i}")
            if i % 400 == 100:
                replace(library, "probe_v2" if i % 800 == 100 else "probe")
                reload(host)
        reader.join()
        assert answers == [str(i) for i in range(2000)]
        host.wait_log(lambda line: "probe 2.0 stops" in str(line), "a reload in between")


def test_a_bad_config_file_keeps_the_settings(tmp_path, library):
    config = tmp_path / "tova.conf"
    config.write_text('max-message = "2k";\n')
    with Host("--plugin", f"/probe={library}", "--config", config) as host, Probe(host) as probe:
        a = probe.client()
        config.write_text('max-message = "nonsense";\n')
        host.expect(lambda line: line.get("level") == "error")
        mark = host.reload()
        host.wait_log(lambda line: "nonsense" in str(line) or "max-message" in str(line), "what is wrong", after=mark)
        a.settle()
        b = probe.client()
        b.send_binary(bytes(2049))
        b.expect_closed(1009)
        config.write_text('max-message = "4k";\n')
        reload(host)
        c = probe.client()
        c.send_binary(bytes(2049))
        assert c.recv_binary() == bytes(2049)


def test_origins_are_read_again(tmp_path):
    config = tmp_path / "tova.conf"
    config.write_text('origin = ["https://a.example"];\n')
    with Host("--plugin", "echo", "--config", config) as host:
        connect("127.0.0.1", host.port, origin="https://a.example").end()
        config.write_text('origin = ["https://c.example", "https://b.example"];\n')
        reload(host)
        connect("127.0.0.1", host.port, origin="https://b.example").end()
        with pytest.raises(AssertionError):
            connect("127.0.0.1", host.port, origin="https://a.example")


def test_a_new_librarys_settings(library):
    """start() of the new one sees the settings, and fails with them: the old one goes on."""
    with Host("--plugin", f"/probe={library}", "--plugin-set", "greeting=hello") as host, Probe(host) as probe:
        a = probe.client(opened("setting greeting"))
        assert a.recv_text() == "hello"
        replace(library, "probe_settings")
        reload(host)
        assert a.ask("setting greeting") == "hello" and a.ask("setting optional") == "(null)"
        wait_until(lambda: version(a) == "1.0", "it answers")


def test_code_that_can_not_be_unmapped_is_not_found_again(library):
    """C++ makes libraries that stay for good. Neither a newer one nor another mount's may be taken for one that stayed."""
    replace(library, "cpp_unique_1")
    with Host("--plugin", "/longer=echo", "--plugin", f"/u={library}") as host:
        with connect("127.0.0.1", host.port, "/u") as ws, connect("127.0.0.1", host.port, "/longer") as echo:
            for name in "1", "2", "3", "1", "2", "3":
                replace(library, f"cpp_unique_{name}")
                mark = host.reload()
                for mount in "/u", "/longer":
                    host.wait_log(lambda line: line.get("kind") == "reload" and line.get("mount") == mount, mount, after=mark)
                ws.send_text("who")
                assert ws.recv_text() == name
                echo.send_text("who")
                assert echo.recv_text() == "who"
            ws.end()
            echo.end()
