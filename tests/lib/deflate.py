"""permessage-deflate (RFC 7692) by zlib as Python has it: the client's side, for tests."""
import zlib

NAME = "permessage-deflate"
TAIL = b"\x00\x00\xff\xff"


def parse(answer):
    """The parameters of an answer: {"server_max_window_bits": 10, "client_no_context_takeover": None}; AssertionError for what none may be."""
    name, *params = [word.strip() for word in answer.split(";")]
    assert name == NAME, answer
    got = {}
    for param in params:
        key, _, value = param.partition("=")
        assert key not in got, f"{key} twice in {answer!r}"
        if key in ("server_no_context_takeover", "client_no_context_takeover"):
            assert not value, answer
            got[key] = None
        else:
            assert key in ("server_max_window_bits", "client_max_window_bits") and 8 <= int(value) <= 15 and value[0] != "0", answer
            got[key] = int(value)
    return got


class Deflate:
    """One connection's compressor and what inflates for it, as was agreed on."""

    def __init__(self, answer, level=6):
        self.params = parse(answer)
        self.out_bits = max(9, self.params.get("client_max_window_bits", 15))
        self.in_bits = self.params.get("server_max_window_bits", 15)
        self.keep_out = "client_no_context_takeover" not in self.params
        self.keep_in = "server_no_context_takeover" not in self.params
        self.level = level
        self._out = self._in = None

    def pack(self, data):
        """Payload of a message's frame, which may be cut into several."""
        if self._out is None or not self.keep_out:
            self._out = zlib.compressobj(self.level, zlib.DEFLATED, -self.out_bits)
        if not data:
            return b"\0"
        packed = self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(TAIL)
        return packed[:-4]

    def unpack(self, payload):
        """The message; a window larger than what was agreed on is an error of zlib's."""
        if self._in is None or not self.keep_in:
            self._in = zlib.decompressobj(-self.in_bits)
        return self._in.decompress(payload + TAIL)
