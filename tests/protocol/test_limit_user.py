"""--limit-user: how many connections one user may have at a mount, as the sub of its token says."""
import json
import signal

import pytest
from tova_v1 import Client

from control import ctl_json
from probe import KINDS, Host, kind_args, plugin
from tokens import SECRET, claims, hs256
from tova_host import wait_until
from wsclient import connect, refused, upgrade_headers


def shows(user):
    return [("Authorization", "Bearer " + hs256(claims(sub=user)))]


@pytest.fixture(params=[(kind, threads) for kind in KINDS for threads in ("1", "3")], ids=lambda p: "-".join(p))
def host(request, tmp_path):
    kind, threads = request.param
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin", f"/other={plugin('probe')}", "--plugin", f"/open={plugin('probe')}",
              "--jwt-key", str(key), "--jwt-key", "/open=", "--limit-user", "2", "--limit-user", "/other=0", "--resume", "30s",
              "--threads", threads, *kind_args(kind)) as running:
        yield running


def stat(host, name):
    return ctl_json(host.control_socket, "stats")["stats"][name]


def plain(host, user="ann", path="/probe"):
    return connect("127.0.0.1", host.port, path, headers=shows(user))


def test_one_more_gets_429(host):
    first, second = plain(host), plain(host)
    no = refused("127.0.0.1", host.port, "/probe", upgrade_headers(extra=shows("ann")))
    assert no.status == 429 and no.get("Retry-After")
    line = host.wait_log(lambda line: "--limit-user" in line.get("message", ""))
    assert line["subject"] == "ann" and line["mount"] == "/probe" and line["connections"] == 2
    assert stat(host, "limited") == 1
    kept = [plain(host, "bob"), *(plain(host, path="/other") for _ in range(3)), *(connect("127.0.0.1", host.port, "/open") for _ in range(3))]
    first.close(1000)
    first.recv_close()
    wait_until(lambda: stat(host, "connections") == 8, "there is room")
    third = plain(host)
    third.send_text("send here")
    assert third.recv_text() == "here"
    del second, kept


def test_handlers_are_not_asked(host):
    kept = [plain(host), plain(host)]
    assert refused("127.0.0.1", host.port, "/probe?refuse=418", upgrade_headers(extra=shows("ann"))).status == 429  # not what it would say
    del kept


def test_it_is_told_so_that_browsers_see_it(host):
    kept = [plain(host), plain(host)]
    ws = connect("127.0.0.1", host.port, "/probe", subprotocols=["tova.v1"], headers=shows("ann"))
    assert json.loads(ws.recv_text()[1:])["refused"] == 429 and ws.recv_close()[0] == 4429
    del kept


def test_those_that_are_away_count_and_give_way(host):
    """A return is none more; the one that is longest away ends for a new one."""
    away = [Client(host.port, "/probe", headers=shows("ann")) for _ in range(2)]
    for n, c in enumerate(away):
        c.drop()
        wait_until(lambda n=n: stat(host, "away") == n + 1, "it is away")
    assert away[1].back()["resumed"]
    new = plain(host)
    new.send_text("send here")
    assert new.recv_text() == "here"
    ws = connect(*away[0].where, headers=shows("ann"), subprotocols=["tova.v1", f"tova.resume.{away[0].token}.0"])
    assert json.loads(ws.recv_text()[1:])["refused"] == 429  # its session is over, and there are two


def test_who_is_there_when_it_begins_counts(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    config = tmp_path / "host.conf"
    config.write_text("")
    with Host("--plugin", f"/probe={plugin('probe')}", "--jwt-key", str(key), "--config", str(config)) as host:
        there = [plain(host) for _ in range(3)]
        config.write_text("limit-user = 2;")
        host.signal(signal.SIGHUP)
        host.wait_log(lambda line: line.get("message") == "the settings were read again")
        assert refused("127.0.0.1", host.port, "/probe", upgrade_headers(extra=shows("ann"))).status == 429
        for ws in there[:2]:
            ws.close(1000)
            ws.recv_close()
        wait_until(lambda: stat(host, "connections") == 1, "they are gone")
        late = plain(host)
        assert refused("127.0.0.1", host.port, "/probe", upgrade_headers(extra=shows("ann"))).status == 429
        config.write_text("")
        host.signal(signal.SIGHUP)
        wait_until(lambda: sum(line.get("message") == "the settings were read again" for line in host.lines) == 2, "it is off again")
        more = [plain(host) for _ in range(3)]
        del late, more
