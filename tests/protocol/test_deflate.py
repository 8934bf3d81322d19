"""permessage-deflate (RFC 7692), with Python's zlib as the other side."""
import itertools
import os
import random
import zlib

import pytest

from certificates import Certificates, tls
from control import stats_of
from deflate import TAIL, parse
from probe import WRAPPED, Host, Probe, ProbeClient, plugin
from tova_host import wait_until
from wsclient import BINARY, CLOSE, CONT, PING, TEXT, Closed, connect, frame

PD = "permessage-deflate"
SNCT, CNCT = "; server_no_context_takeover", "; client_no_context_takeover"
LIMIT = 256 * 1024
MIN = 40
MOUNTS = ["--plugin", "/echo=echo", "--plugin", f"/probe={plugin('probe')}", "--deflate", "--deflate-min", str(MIN),
          "--max-message", str(LIMIT)]


@pytest.fixture(scope="module")
def shared():
    """Keeps no window for anybody."""
    with Host(*MOUNTS) as host:
        yield host


@pytest.fixture(scope="module")
def keeps():
    with Host(*MOUNTS, "--deflate-takeover", "both") as host:
        yield host


@pytest.fixture(params=["shared", "keeps"])
def host(request):
    return request.getfixturevalue(request.param)


def opened(host, offer=PD, target="/echo", **how):
    return connect("127.0.0.1", host.port, target, deflate=offer, **how)


def words(n, seed=1):
    """Text that repeats itself over short and long distances."""
    rng = random.Random(seed)
    some = [rng.choice(["room", "message", "the", "naïve", "0123456789", "€"]) + rng.choice(" \n,") for _ in range(n // 4 + 9)]
    return "".join(some)[:n]


# --- what is agreed on --------------------------------------------------------------------------------------------------------

OFFERS = [  # what is offered, and what is answered without and with --deflate-takeover both
    (PD, PD + SNCT + CNCT, PD),
    (PD + "; client_max_window_bits", PD + SNCT + CNCT, PD),
    (PD + SNCT, PD + SNCT + CNCT, PD + SNCT),
    (PD + CNCT, PD + SNCT + CNCT, PD + CNCT),
    (PD + "; client_max_window_bits=10; server_max_window_bits=9", PD + SNCT + CNCT + "; server_max_window_bits=9; client_max_window_bits=10",
     PD + "; server_max_window_bits=9; client_max_window_bits=10"),
    (PD + '; server_max_window_bits="12"', PD + SNCT + CNCT + "; server_max_window_bits=12", PD + "; server_max_window_bits=12"),
    (PD + "; server_max_window_bits=8", None, None),
    (PD + "; server_max_window_bits=8, " + PD, PD + SNCT + CNCT, PD),
    (PD + "; server_max_window_bits", None, None),
    (PD + "; server_max_window_bits=16", None, None),
    (PD + "; client_max_window_bits=08", None, None),
    (PD + SNCT + SNCT, None, None),
    (PD + SNCT + "=1", None, None),
    (PD + "; mode=best", None, None),
    (PD + "; mode=best, x, " + PD + SNCT, PD + SNCT + CNCT, PD + SNCT),
    ("x-webkit-deflate-frame", None, None),
]


def test_offers(shared, keeps):
    for offer, without, with_takeover in OFFERS:
        for host, expected in ((shared, without), (keeps, with_takeover)):
            with opened(host, offer) as ws:
                assert ws.answer.get("Sec-WebSocket-Extensions") == expected, offer
                ws.send_text(words(100))  # whatever was agreed on, plain messages are good
                assert ws.recv_text() == words(100)


def test_a_malformed_offer_is_no_handshake(shared):
    """As without compression: the grammar of extensions is RFC 6455's."""
    with pytest.raises(AssertionError, match="400"):
        opened(shared, PD + "; =1")


def test_nobody_is_compressed_for_who_did_not_ask(host):
    with connect("127.0.0.1", host.port, "/echo") as ws:
        ws.send_text(words(5000))
        assert ws.recv_message().packed == 0
        ws.send_frame(TEXT, "\0", rsv=4)
        ws.expect_closed(1002)


# --- messages there and back --------------------------------------------------------------------------------------------------

def test_messages_of_every_size(host):
    with opened(host) as ws:
        for size in (0, 1, 10, MIN - 1, MIN, 125, 126, 127, 1000, 65535, 65536, LIMIT):
            for opcode in (TEXT, BINARY):
                data = words(size, size).encode()[:size].decode(errors="ignore").encode()
                ws.send_packed(opcode, data)
                got = ws.recv_message()
                assert (got.opcode, got.data) == (opcode, data)
                assert (got.packed > 0) == (len(data) >= 125) or MIN <= len(data) < 125, size
                assert len(data) >= MIN or not got.packed, "below --deflate-min"


def test_what_does_not_shrink_is_sent_as_it_is(host):
    with opened(host) as ws:
        for size in (MIN, 1000, 100_000):
            for _ in range(2):
                ws.send_packed(BINARY, noise := os.urandom(size))
                got = ws.recv_message()
                assert got.data == noise and got.packed == 0
                ws.send_packed(TEXT, words(1000))  # and those behind it are right
                assert ws.recv_text() == words(1000)


def test_random_conversations(shared, keeps):
    """Compressed and not, in fragments with pings between, cut at random: everything comes back in order."""
    for seed, offer in enumerate([PD, PD + "; client_max_window_bits=9; server_max_window_bits=9", PD + CNCT, PD + SNCT]):
        for host in (shared, keeps):
            rng = random.Random(seed)
            with opened(host, offer) as ws:
                expected, stream = [], b""
                for _ in range(20):
                    opcode, size = rng.choice([TEXT, BINARY]), rng.choice([0, 1, 30, 500, 5000, 60000])
                    data = rng.choice([words(size, seed), words(size, rng.random())]).encode()[:size].decode(errors="ignore").encode()
                    if opcode == BINARY and rng.random() < 0.3:
                        data = rng.randbytes(len(data))
                    packed = rng.random() < 0.8
                    payload = ws.deflate.pack(data) if packed else data
                    cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.randrange(4)))
                    pieces = [payload[a:b] for a, b in zip([0] + cuts, cuts + [len(payload)])]
                    for i, piece in enumerate(pieces):
                        stream += frame(CONT if i else opcode, piece, rsv=4 if packed and not i else 0, fin=i == len(pieces) - 1)
                        if rng.random() < 0.2:
                            stream += frame(PING, b"between")
                    expected.append((opcode, data))
                received, at = [], 0
                ws.answer_pings = False
                while len(received) < len(expected):
                    n = rng.choice([1, 7, 300, 20000])
                    if at < len(stream):
                        ws.send(stream[at:at + n])
                        at += n
                    else:
                        got = ws.recv_message()
                        received.append((got.opcode, got.data))
                assert received == expected
                ws.end()


def test_takeover_refers_back(shared, keeps):
    text = words(3000)

    def twice(host, offer):
        with opened(host, offer) as ws:
            sizes = []
            for _ in range(2):
                ws.send_packed(TEXT, text)
                got = ws.recv_message()
                assert got.text == text
                sizes.append(got.packed)
            return sizes

    first, second = twice(keeps, PD)
    assert second < first / 4
    assert twice(keeps, PD + SNCT)[0] == twice(keeps, PD + SNCT)[1]
    assert twice(shared, PD)[0] == twice(shared, PD)[1]


@pytest.mark.parametrize("bits", [9, 10, 12, 15])
def test_windows(host, bits):
    """Python's zlib refuses what refers back too far, and sends nothing that does."""
    with opened(host, f"{PD}; server_max_window_bits={bits}; client_max_window_bits={bits}") as ws:
        assert ws.deflate.in_bits == ws.deflate.out_bits == bits
        for size in (300, 2000, 50000):
            for _ in range(2):
                ws.send_packed(TEXT, words(size))
                got = ws.recv_message()
                assert got.text == words(size) and got.packed > 0


def test_a_client_that_refers_back_too_far(keeps):
    with opened(keeps, PD + "; client_max_window_bits=9") as ws:
        ws.deflate.out_bits = 15
        data = words(500).encode() + os.urandom(3000)
        ws.send_packed(BINARY, data)
        assert ws.recv_binary() == data
        ws.send_packed(BINARY, data[:500])
        ws.expect_closed(1007)


def refers_back(host, **how):
    """A client of the kind that takes over though the answer says that it must not, as some libraries do."""
    ws = opened(host, **how)
    assert "client_no_context_takeover" in ws.deflate.params
    ws.deflate.keep_out = True
    return ws


@pytest.mark.parametrize("threads", ["1", "3"])
def test_clients_that_refer_back_unasked_are_served(threads):
    """Each message alone can not be inflated. What is kept of them is counted, and given back."""
    with Host(*MOUNTS, "--threads", threads) as host:
        crowd = [refers_back(host) for _ in range(8)]
        for n in range(12):
            for ws in crowd:
                text = words(400 if n % 3 else 40_000, n % 4)
                if n % 4 == 1:
                    packed = ws.deflate.pack(text.encode())
                    ws.send_frame(TEXT, packed[:50], rsv=4, fin=False)
                    ws.roundtrip()
                    ws.send_frame(CONT, packed[50:])
                else:
                    ws.send_packed(TEXT, text)
                assert ws.recv_text() == text
        wait_until(lambda: stats_of(host)["deflate_memory"] >= 8 * 32768, "it is counted")
        for ws in crowd:
            ws.end()
        wait_until(lambda: stats_of(host)["deflate_memory"] == 0, "nothing is kept of who is gone")


def test_who_does_as_told_costs_nothing():
    with Host(*MOUNTS) as host:
        crowd = [opened(host) for _ in range(10)]
        for n in range(6):
            for ws in crowd:
                text = '{"type":"message","n":%d,"text":"%s"}' % (n, words(500, 7).replace("\n", " "))
                ws.send_packed(TEXT, text)
                assert ws.recv_text() == text
            assert (stats_of(host)["deflate_memory"] > 10 * 500) == (n < 3), n
        assert stats_of(host)["deflate_memory"] == 0
        for ws in crowd:
            ws.end()


def test_no_room_for_who_refers_back_unasked():
    """Its window costs more than is left: 1007, and a line that says what to do. The others go on."""
    with Host(*MOUNTS, "--deflate-memory", "1m") as host:
        served = []
        for n in range(20):
            ws = refers_back(host)
            ws.send_packed(TEXT, words(5000))
            assert ws.recv_text() == words(5000)
            ws.send_packed(TEXT, words(5000))
            if ws.recv_frame().opcode == CLOSE:
                break
            served.append(ws)
        assert 5 <= n < 19
        line = host.wait_log(lambda line: line.get("kind") == "conn.protocol" and "--deflate-takeover" in line["message"], "which option")
        assert "--deflate-memory" in line["message"] and line["remote"] == "127.0.0.1"
        assert stats_of(host)["deflate_memory"] <= 1 << 20
        for ws in served:
            ws.send_packed(TEXT, words(5000))
            assert ws.recv_text() == words(5000)
            ws.end()


def test_a_small_window_is_told_to_who_asked():
    """One client takes a server_max_window_bits that it did not offer for an error."""
    with Host(*MOUNTS, "--deflate-window", "10") as host:
        for offer, bits in ((PD, None), (PD + "; server_max_window_bits=12", 10), (PD + "; client_max_window_bits", None)):
            with opened(host, offer) as ws:
                assert ws.deflate.params.get("server_max_window_bits") == bits
                ws.send_packed(TEXT, words(9000))
                got = ws.recv_message()
                assert got.text == words(9000) and got.packed > 0


def test_fragments_and_pings(host):
    with opened(host) as ws:
        for _ in range(2):
            packed = ws.deflate.pack(words(2000).encode())
            ws.send_frame(TEXT, packed[:1], rsv=4, fin=False)
            ws.roundtrip()
            ws.send_frame(CONT, "", fin=False)
            for at in range(1, len(packed), 50):
                ws.send_frame(CONT, packed[at:at + 50], fin=False)
            ws.roundtrip()
            ws.send_frame(CONT, "")
            assert ws.recv_text() == words(2000)


def test_final_blocks(host):
    """7.2.3.4 and 7.2.3.5: blocks with BFINAL, and several in a message."""
    with opened(host) as ws:
        whole = zlib.compressobj(6, zlib.DEFLATED, -15)
        final = whole.compress(b"Hello, Hello") + whole.flush()
        for payload in (final + b"\0", final, final + final + b"\0", b"\xf2\x48\x05\0\0\0\xff\xff\xca\xc9\xc9\x07\0"):
            ws.send_frame(TEXT, payload, rsv=4)
        assert [ws.recv_text() for _ in range(4)] == ["Hello, Hello"] * 2 + ["Hello, Hello" * 2] + ["Hello"]


def test_empty_messages(host):
    with opened(host) as ws:
        for payload in (b"\0", b"\x02\0", b""):
            ws.send_frame(TEXT, payload, rsv=4)
            assert ws.recv_text() == ""
        ws.send_frame(BINARY, "", rsv=4, fin=False)
        ws.send_frame(CONT, "\0")
        assert ws.recv_binary() == b""


# --- what is refused ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sent", [
    frame(TEXT, b"\0", rsv=2), frame(TEXT, b"\0", rsv=1), frame(TEXT, b"\0", rsv=6), frame(TEXT, b"\0", rsv=7), frame(PING, b"", rsv=4),
    frame(CLOSE, b"", rsv=4), frame(TEXT, b"\0", rsv=4, fin=False) + frame(CONT, b"", rsv=4), frame(TEXT, b"a", fin=False) + frame(CONT, b"\0", rsv=4)])
def test_reserved_bits(shared, sent):
    with opened(shared) as ws:
        ws.send(sent)
        ws.expect_closed(1002)


@pytest.mark.parametrize("payload", [b"\x07", b"no deflate at all, this", b"\x00\x05\x00\xfa\xfe", zlib.compress(b"with a head of zlib"),
                                     b"\xf2\x48\xcd\xc9", b"\xf2\x00\x11\x00\x00", b"\xf2\x48\xcd\xc9\xc9\x07\x00" + TAIL])
def test_bad_data(host, payload):
    with opened(host) as ws:
        ws.send_frame(BINARY, payload, rsv=4)
        ws.expect_closed(1007)


def test_bad_text_fails_fast(host):
    with opened(host) as ws:
        ws.send_packed(TEXT, b"\xe2\x82" + words(100).encode())
        ws.expect_closed(1007)
    with opened(host) as ws:
        ws.send_frame(TEXT, ws.deflate.pack(b"good \xff") + TAIL, rsv=4, fin=False)
        ws.expect_closed(1007)
    with opened(host) as ws:
        ws.send_packed(TEXT, "€".encode()[:2])
        ws.expect_closed(1007)


def test_a_bomb_costs_nothing(host):
    """100 MiB of zeroes in 100 KB, at once and in parts."""
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = (block.compress(bytes(1 << 20)) + block.flush(zlib.Z_FULL_FLUSH)) * 100
    before = host.rss
    for _ in range(3):
        with opened(host) as ws:
            ws.send_frame(BINARY, bomb, rsv=4)
            ws.expect_closed(1009)
        with opened(host) as ws:
            ws.send_frame(BINARY, bomb[:50], rsv=4, fin=False)
            ws.roundtrip()
            ws.send_frame(CONT, bomb[50:])
            ws.expect_closed(1009)
    assert WRAPPED or host.rss - before < 4 << 20
    with opened(host) as ws:
        ws.send_packed(BINARY, bytes(LIMIT))
        assert ws.recv_binary() == bytes(LIMIT)
        ws.send_packed(BINARY, bytes(LIMIT + 1))
        ws.expect_closed(1009)


def test_the_limit_is_of_what_comes_out(shared):
    """What does not shrink takes more on its way than it is."""
    with opened(shared) as ws:
        ws.deflate.level = 0
        data = os.urandom(LIMIT)
        assert len(ws.deflate.pack(data)) > LIMIT
        ws.send_packed(BINARY, data)
        assert ws.recv_binary() == data


# --- to many ------------------------------------------------------------------------------------------------------------------

SETTINGS = [None, PD, PD, PD + "; server_max_window_bits=9", PD + "; server_max_window_bits=9", PD + SNCT, PD + "; server_max_window_bits=11"]


def members_of(host, probe, room):
    members = [probe.client(deflate=offer) for offer in SETTINGS]
    for ws in members:
        ws.script(f"join {room}", "send in")
        assert ws.recv_text() == "in"
    return members


def test_a_broadcast_reaches_all_settings(host):
    with Probe(host) as probe:
        members = members_of(host, probe, "all")
        for n, (size, how) in enumerate(itertools.product((10, 300, 8000), ("to all {}", "broadcast {}", "to_others all {}"))):
            text = words(size, n).replace("\n", " ").replace("%", "")
            members[n % len(members)].script(how.format(text))
            wire = {}
            for i, ws in enumerate(members):
                if "others" in how and i == n % len(members):
                    continue
                got = ws.recv_message()
                assert got.text == text
                assert (got.packed > 0) == (ws.deflate is not None and len(text.encode()) >= 300), (SETTINGS[i], size)
                wire.setdefault(SETTINGS[i], set()).add(got.packed)
            assert all(len(sizes) == 1 for sizes in wire.values())


def test_a_broadcast_is_compressed_once_for_each_window(host):
    with Probe(host) as probe:
        members = members_of(host, probe, "once")
        stats = stats_of(host)
        members[0].script("to once " + words(8000, 5).replace("\n", " "))
        assert all(len(ws.recv_message().data) > 7000 for ws in members)
        after = stats_of(host)
        assert after["deflated"] - stats["deflated"] == 3  # of 15, 9 and 11 bits
        assert 0 < after["deflated_to"] - stats["deflated_to"] < after["deflated_from"] - stats["deflated_from"]
        members[0].script("to once " + words(230, 5).replace("\n", " "))  # a window of 9 bits is as good as any other
        assert all(len(ws.recv_message().data) > 200 for ws in members)
        assert stats_of(host)["deflated"] - after["deflated"] == 1


def test_own_and_shared_messages_in_turn(host):
    """A compressor of one's own must not refer back to before a message that it has not seen."""
    with Probe(host) as probe:
        members = members_of(host, probe, "turn")
        rng = random.Random(4)
        text = words(2000, 6).replace("\n", " ")
        for n in range(40):
            ws = rng.choice(members)
            lines = rng.choices([f"send {text}", f"to turn {text}", f"sendb {text}", "send short"], k=rng.randrange(1, 4))
            ws.script(*lines)
            shared = [line for line in lines if line.startswith("to ")]
            for other in members:
                for line in lines if other is ws else shared:
                    assert other.recv_message().data.decode() == line.split(" ", 1 if not line.startswith("to ") else 2)[-1]


@pytest.mark.parametrize("policy", ["drop-oldest", "conflate", "close"])
def test_what_is_given_up_is_not_referred_to(tmp_path, policy):
    """Where messages to a slow client may be given up, no window is kept for it, and what comes through is right."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--slow-policy", policy, "--max-queue", "64k", "--deflate", "--deflate-takeover", "both",
              "--close-timeout", "100ms", listen=["127.0.0.1:0", f"unix:{tmp_path}/web"]) as host, Probe(host) as probe:
        slow, sender = ProbeClient(f"unix:{tmp_path}/web").handshake("/probe/", deflate=PD), probe.client(deflate=PD)
        assert ("server_no_context_takeover" in slow.deflate.params) == (policy != "close") and slow.deflate.keep_out
        assert slow.ask("join news", "send in") == "in"
        texts = [f"{n} " + random.Random(n).randbytes(2000).hex() for n in range(400)]
        for at in range(0, 400, 20):
            sender.script("key k", *[f"to news {text}" for text in texts[at:at + 20]])
        sender.settle()
        seen = []
        while not seen or seen[-1] != 399:
            try:
                got = slow.recv_message()
            except (AssertionError, Closed) as closed:  # the close frame, if there was still time for it
                assert policy == "close" and (isinstance(closed, Closed) or "1013" in str(closed))
                break
            assert got.packed > 0 and got.text in texts
            seen.append(int(got.text.split()[0]))
        assert seen == sorted(seen) and len(seen) < 400
        slow.drop()


# --- beside other things --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("takeover", ["none", "both"])
def test_several_loops(takeover):
    """Each compresses for its own connections."""
    with Host(*MOUNTS, "--deflate-takeover", takeover, "--threads", "3") as host, Probe(host) as probe:
        members = members_of(host, probe, "loops") + members_of(host, probe, "loops")
        for n in range(6):
            text = words(5000, n).replace("\n", " ")
            members[n].script(f"send own {text}", f"to loops {text}")
            assert members[n].recv_text() == "own " + text
            for ws in members:
                got = ws.recv_message()
                assert got.text == text and (got.packed > 0) == (ws.deflate is not None)
        for ws in members:
            ws.settle()


def test_over_tls(tmp_path):
    certs = Certificates(tmp_path)
    certs.make("here", "localhost")
    with Host("--plugin", "/echo=echo", "--deflate", "--deflate-takeover", "both", *certs.args("here")) as host:
        with opened(host, wrap=tls(certs.cert("here"))) as ws:
            for n in range(3):
                ws.send_packed(TEXT, words(50_000, n), pieces=3)
                got = ws.recv_message()
                assert got.text == words(50_000, n) and got.packed > 0
            ws.end()


# --- memory -------------------------------------------------------------------------------------------------------------------

def test_the_budget():
    """When it is used up, connections do without a window of their own; what others give back is used again."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--deflate", "--deflate-takeover", "both", "--deflate-memory", "2200k") as host:
        with Probe(host) as probe:
            first = [probe.client(deflate=PD) for _ in range(6)]
            kept = [ws for ws in first if not ws.deflate.params]
            assert 1 <= len(kept) < 6 and kept == first[:len(kept)]
            assert all("server_no_context_takeover" in ws.deflate.params for ws in first[len(kept):])
            stats = stats_of(host)
            assert 0 < stats["deflate_memory"] <= 2200 << 10 and stats["deflate_denied"] == 6 - len(kept)
            assert stats["deflate_connections"] == 6
            for ws in first:  # all are served
                ws.send_packed(TEXT, "send " + words(3000).replace("\n", " "))
                assert len(ws.recv_text()) == 3000
            kept[0].end()
            assert not probe.client(deflate=PD).deflate.params
            # A window of 9 bits costs so little that there is room for it.
            small = probe.client(deflate=PD + "; server_max_window_bits=9; client_max_window_bits=9")
            assert "server_no_context_takeover" not in small.deflate.params


def test_many_messages_in_parts():
    """More of them than zlib's states may be kept for: the others wait for their end."""
    with Host("--plugin", "/echo=echo", "--deflate", "--deflate-memory", "1m") as host:
        crowd = [opened(host) for _ in range(20)]
        packed = [ws.deflate.pack(words(4000, i).encode()) for i, ws in enumerate(crowd)]
        for ws, payload in zip(crowd, packed):
            ws.send_frame(TEXT, payload[:100], rsv=4, fin=False)
            ws.roundtrip()
        crowd[0].drop()
        for i, (ws, payload) in list(enumerate(zip(crowd, packed)))[1:]:
            ws.send_frame(CONT, payload[100:])
            assert ws.recv_text() == words(4000, i)
            ws.drop()


def test_reload(tmp_path):
    """It changes for those who come; who is there keeps what was agreed on."""
    config = tmp_path / "host.conf"
    config.write_text("deflate = false;")
    with Host("--config", config, "--plugin", "/echo=echo") as host:
        plain = opened(host)
        assert plain.deflate is None
        config.write_text('deflate = true; deflate-takeover = "out"; deflate-level = 9;')
        host.wait_log(lambda line: line["kind"] == "reload", after=host.reload())
        packed = opened(host)
        assert parse(packed.answer.get("Sec-WebSocket-Extensions")) == {"client_no_context_takeover": None}
        config.write_text("deflate = false;")
        host.wait_log(lambda line: line["kind"] == "reload", after=host.reload())
        with opened(host) as late:
            assert late.deflate is None
        for ws in (plain, packed):
            ws.send_text(words(2000))
            got = ws.recv_message()
            assert got.text == words(2000) and (got.packed > 0) == (ws is packed)
            ws.end()
