#!/usr/bin/env python3
"""Writes the first inputs of the fuzz targets into tests/fuzz/seeds/. Run again after a change; the result is
committed, so that a check needs nothing but the files."""
import base64
import hashlib
import hmac
import pathlib
import struct
import zlib

ROOT = pathlib.Path(__file__).resolve().parent / "seeds"


def save(target, name, data):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def frame(first, payload=b"", mask=b"\x11\x22\x33\x44", length=None, announced=None):
    """One frame; length: bytes the length is written in (7 bits, 2 or 8), announced: another length than the payload's."""
    n = len(payload) if announced is None else announced
    if length is None:
        length = 0 if n < 126 else 2 if n < 65536 else 8
    head = bytes([first, (n if length == 0 else 126 if length == 2 else 127) | (0x80 if mask else 0)])
    head += {0: b"", 2: struct.pack(">H", n & 0xFFFF), 8: struct.pack(">Q", n)}[length]
    if mask:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return head + (mask or b"") + payload


TEXT, BINARY, CLOSE, PING, PONG, LAST = 0x81, 0x82, 0x88, 0x89, 0x8A, 0x80
EURO = "\u20ac".encode()

FRAMES = {
    "text": frame(TEXT, b"hello"),
    "two": frame(TEXT, b"one") + frame(BINARY, b"\xff\x00"),
    "plain-mask": frame(TEXT, b"hello", mask=bytes(4)),
    "empty": frame(TEXT) + frame(BINARY),
    "size-125": frame(BINARY, bytes(125)),
    "size-126": frame(BINARY, bytes(range(126))),
    "size-300": frame(TEXT, b"abc" * 100),
    "size-65536": frame(BINARY, bytes(65536)),
    "cut-header": frame(TEXT, b"x" * 200)[:3],
    "cut-payload": frame(TEXT, b"x" * 200)[:50],
    "fragments": frame(1, b"a") + frame(0, b"") + frame(0, b"b") + frame(LAST, b"c"),
    "fragments-control": frame(2, b"a") + frame(PING, b"p") + frame(LAST, b"b") + frame(PONG),
    "utf8": frame(TEXT, "k\u00f6\u20ac\U0001F600".encode()),
    "utf8-split": frame(1, EURO[:1]) + frame(PING, b"\xff") + frame(LAST, EURO[1:]),
    "utf8-unfinished": frame(TEXT, b"abc" + EURO[:2]),
    "utf8-unfinished-last": frame(1, EURO[:2]) + frame(LAST),
    "utf8-bad": frame(TEXT, b"abc\xed\xa0\x80"),
    "utf8-bad-early": frame(TEXT, b"\xff" + b"a" * 300)[:10],
    "close": frame(CLOSE),
    "close-code": frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"late"),
    "close-reason": frame(CLOSE, b"\x0f\xa0" + EURO),
    "close-half": frame(CLOSE, b"\x03"),
    "close-1005": frame(CLOSE, b"\x03\xed"),
    "close-bad-reason": frame(CLOSE, b"\x03\xe8\xff"),
    "close-inside": frame(1, b"a") + frame(CLOSE, b"\x03\xe9"),
    "ping-125": frame(PING, bytes(125)),
    "ping-126": frame(PING, bytes(126)),
    "ping-fragment": frame(0x09, b"x"),
    "rsv": frame(0xC1, b"x"),
    "opcode-3": frame(0x83, b"x"),
    "opcode-11": frame(0x8B, b"x"),
    "unmasked": frame(TEXT, b"hello", mask=b""),
    "long-2": frame(BINARY, b"abc", length=2),
    "long-8": frame(BINARY, b"a" * 200, length=8),
    "top-bit": frame(BINARY, b"", length=8, announced=1 << 63),
    "huge": frame(BINARY, b"start", length=8, announced=(1 << 63) - 1),
    "stray": frame(LAST, b"x"),
    "twice": frame(1, b"a") + frame(TEXT, b"b"),
}
for name, data in FRAMES.items():
    save("frame", name, b"\x00\x07" + data)
for choice in range(1, 8):
    data = frame(1, b"a" * 120) + frame(0, b"b" * 5) + frame(PING, b"p") + frame(LAST, b"c")
    save("frame", f"limit-{choice}", bytes([choice, 0x55]) + data)
save("frame", "server", b"\x08\x09" + frame(TEXT, b"from a server", mask=b"") + frame(PING, b"", mask=b""))
save("frame", "server-masked", b"\x08\x09" + frame(TEXT, b"hello"))
save("frame", "direct", b"\x00\xff" + frame(BINARY, bytes(range(256)) * 80) + frame(TEXT, b"next"))
save("frame", "direct-text", b"\x00\xf0" + frame(TEXT, ("\u00e4\u20acx" * 4000).encode()) + frame(TEXT, b"next"))

UTF8 = {
    "ascii": b"plain text, longer than one step of the check",
    "mixed": "a\u00e9\u20ac\U0001F600".encode() * 8,
    "edges": b"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
    "cut-2": b"a\xc3", "cut-3": b"a\xe2\x82", "cut-4": b"a\xf0\x9f\x98",
    "overlong-2": b"\xc0\xaf", "overlong-3": b"\xe0\x9f\xbf", "overlong-4": b"\xf0\x8f\xbf\xbf",
    "surrogate": b"\xed\xa0\x80", "above": b"\xf4\x90\x80\x80", "five": b"\xf8\x88\x80\x80\x80", "tail": b"\x80",
    "late": b"x" * 31 + b"\xe2\x82\xac" + b"y" * 13 + b"\xff", "step": b"x" * 15 + "\u20ac".encode() + b"y" * 17,
}
for name, data in UTF8.items():
    save("utf8", name, data)

CRLF = b"\r\n"


def head(line, *headers):
    return CRLF.join((line,) + headers) + CRLF + CRLF


GET = b"GET / HTTP/1.1"
HOST = b"Host: example.com"
REQUESTS = {
    "plain": head(GET, HOST),
    "upgrade": head(b"GET /chat?room=a&b=%20 HTTP/1.1", HOST, b"Connection: keep-alive, Upgrade", b"Upgrade: websocket",
                    b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==") + b"\x81\x80....",
    "post": head(b"POST /x HTTP/1.1", HOST, b"Content-Length: 5") + b"hello",
    "chunked": head(b"POST /x HTTP/1.1", HOST, b"Transfer-Encoding: chunked"),
    "smuggle": head(b"POST /x HTTP/1.1", HOST, b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "http10": head(b"GET / HTTP/1.0"),
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "absolute": head(b"GET http://other:81/p?q HTTP/1.1", HOST),
    "absolute-bare": head(b"GET wss://[::1]:8080 HTTP/1.1", HOST),
    "star": head(b"OPTIONS * HTTP/1.1", HOST),
    "authority": head(b"CONNECT h:443 HTTP/1.1", HOST),
    "dots": head(b"GET /a/%2e%2E/b HTTP/1.1", HOST),
    "escape": head(b"GET /%C3%A4%2f%41+ HTTP/1.1", HOST),
    "escape-bad": head(b"GET /%4 HTTP/1.1", HOST),
    "escape-nul": head(b"GET /%00 HTTP/1.1", HOST),
    "escape-utf8": head(b"GET /%ED%A0%80 HTTP/1.1", HOST),
    "cookies": head(GET, HOST, b"Cookie: b=1; a=2;c", b"Cookie: a=3"),
    "lists": head(GET, HOST, b"Connection: ,a ,\"b,\\\"c\" , close,", b"Upgrade:"),
    "folded": head(GET, HOST, b" more"),
    "space-colon": head(GET, b"Host : a"),
    "bare-lf": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    "bare-cr": head(GET, HOST, b"X: a\rb"),
    "control": head(GET, HOST, b"X: \x01"),
    "latin": head(GET, HOST, b"X: \xfc\t\xe4 "),
    "two-hosts": head(GET, HOST, HOST),
    "no-host": head(GET),
    "many": head(GET, HOST, *[b"H%d: %d" % (i, i) for i in range(99)]),
    "too-many": head(GET, HOST, *[b"H%d: %d" % (i, i) for i in range(100)]),
    "long-path": head(b"GET /" + b"a" * 2050 + b" HTTP/1.1", HOST),
    "long-target": b"GET /" + b"a" * 9000,
    "long-head": head(GET, HOST, b"X: " + b"a" * 9000),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "proxy": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "proxy-2": b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c" + bytes(12),
    "empty-lines": b"\r\n\r\n" + head(GET, HOST),
    "half-an-empty-line": b"\r",
    "begun": b"GET / HTTP/1.1\r\nHost: exa",
}
for name, data in REQUESTS.items():
    save("request", name, b"\x00\x33" + data)
for choice in (3, 4, 5, 8, 12):
    save("request", f"limit-{choice}", bytes([choice, 0x21]) + REQUESTS["upgrade"])

LENGTH, CHUNKS = 0, 1
BODIES = {
    "length": (LENGTH, b"0123456789abcdef and more"),
    "length-short": (LENGTH, b"0123"),
    "chunks": (CHUNKS, b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n"),
    "extension": (CHUNKS, b"5;a=b;c=\"d\"\r\nhello\r\n0;last\r\n\r\n"),
    "trailers": (CHUNKS, b"1\r\na\r\n0\r\nX: y\r\nZ:\r\n\r\n"),
    "trailer-folded": (CHUNKS, b"0\r\nX: y\r\n z\r\n\r\n"),
    "trailer-long": (CHUNKS, b"0\r\nX: " + b"y" * 5000 + b"\r\n\r\n"),
    "bare-lf": (CHUNKS, b"5\nhello\n0\n\n"),
    "sign": (CHUNKS, b"+5\r\nhello\r\n0\r\n\r\n"),
    "space": (CHUNKS, b"5 \r\nhello\r\n0\r\n\r\n"),
    "overflow": (CHUNKS, b"5\r\nhello\r\nfffffffffffffffb\r\n"),
    "digits": (CHUNKS, b"00000000000000001\r\na\r\n0\r\n\r\n"),
    "begun": (CHUNKS, b"10\r\n0123"),
}
for name, (kind, data) in BODIES.items():
    save("body", name, bytes([kind, 0x33]) + data)

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = b"Sec-WebSocket-Version: 13"
UPGRADES = {
    "bare": (1, []),
    "all": (0, [b"Connection: Upgrade", b"Upgrade: websocket", KEY, VERSION]),
    "whole": (3, [GET, HOST, b"connection: x, upgrade", b"upgrade: WebSocket", KEY, VERSION]),
    "none": (0, [b"X: y"]),
    "version-8": (2, [KEY, b"Sec-WebSocket-Version: 8"]),
    "version-list": (2, [KEY, b"Sec-WebSocket-Version: 13, 8"]),
    "key-twice": (1, [KEY]),
    "key-short": (2, [VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="]),
    "key-bad": (2, [VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ*=="]),
    "body": (1, [b"Content-Length: 3"]),
    "protocols": (1, [b"Sec-WebSocket-Protocol: a, b", b"Sec-WebSocket-Protocol: c"]),
    "protocols-twice": (1, [b"Sec-WebSocket-Protocol: a, b, a"]),
    "protocols-bad": (1, [b"Sec-WebSocket-Protocol: a b"]),
    "protocols-many": (1, [b"Sec-WebSocket-Protocol: " + b",".join(b"p%d" % i for i in range(65))]),
    "extensions": (1, [b"Sec-WebSocket-Extensions: permessage-deflate; a; b=c, x;y=\"z\\z\""]),
    "extensions-bad": (1, [b"Sec-WebSocket-Extensions: a; b=\"c d\""]),
    "origin-same": (1, [b"Origin: http://example.com:8080"]),
    "origin-default": (0, [b"Origin: https://EXAMPLE.com:443"]),
    "origin-ip6": (2, [b"Origin: http://[::1]:80"]),
    "origin-below": (1, [b"Origin: https://a.b.example.com"]),
    "origin-other": (1, [b"Origin: https://example.com.evil.org"]),
    "origin-null": (1, [b"Origin: null"]),
    "origin-star": (1, [b"Origin: https://*.example.com"]),
    "origin-twice": (1, [b"Origin: http://a", b"Origin: http://a"]),
    "origin-bad": (1, [b"Origin: http://u@example.com/"]),
}
for name, (beginning, headers) in UPGRADES.items():
    save("upgrade", name, bytes([beginning]) + CRLF.join(headers))

JSON = {
    "scalars": b'[0,-0,1.5,-1e3,1E+2,9007199254740991,true,false,null]',
    "strings": b'["","plain","\\"\\\\\\/\\b\\f\\n\\r\\t","\\u0000\\u20ac","\\ud83d\\ude00","\xe2\x82\xac"]',
    "surrogates": b'["\\ud800","\\udc00\\ud800","\\ud800x","\\ud800\\u0041"]',
    "objects": b' { "a" : { } , "b":[ ],\t"c":{"d":[1,2,{"e":null}]} ,"\\u0061":1}\r\n',
    "deep": b"[" * 33 + b"]" * 33,
    "too-deep": b"[" * 34 + b"]" * 34,
    "long": b'"' + b"0123456789abcdef" * 20 + b'\\n"',
    "latin": b'"caf\xe9"',
    "control": b'"a\x1fb"',
    "cut": b'{"a":[1,"b',
    "zero": b"01", "plus": b"+1", "dot": b"1.", "exponent": b"1e", "minus": b"-", "comma": b"[1,]", "word": b"nul", "two": b"1 2",
    "escape": b'"\\x"', "hex": b'"\\u12g4"', "nul": b"\x00", "big": b"123456789012345678901234567890",
}
for name, data in JSON.items():
    save("json", name, data)

SCRIPT_LINES = {
    "string": b'"hello \\n\\u20ac \xf0\x9f\x98\x80"', "empty": b'""', "blank": b'  "a"\t', "bin": b'{"bin":"AP8K"}', "bin-1": b'{"bin":"YQ=="}',
    "bin-2": b' { "bin" : "YW\\u0049=" } ', "bin-bad": b'{"bin":"YQ="}', "bin-space": b'{"bin":"Y Q="}', "bin-empty": b'{"bin":""}',
    "bin-twice": b'{"bin":"","bin":""}', "other": b'{"text":"a"}', "number": b"1", "list": b'["a"]', "behind": b'"a" "b"', "cut": b'"a',
    "surrogate": b'"\\ud800"', "latin": b'"caf\xe9"',
}
for name, data in SCRIPT_LINES.items():
    save("script", f"line-{name}", b"\x00\x05" + data)
SCRIPT_WORDS = {
    "join": b"join general", "quoted": b'broadcast_to "team private" hello  you', "escape": b'leave "a\\"\\u20ac"', "spaces": b"  join   a ",
    "empty": b'join ""', "open": b'join "a', "behind": b'join "a"b', "space": b"close 4000 ", "nothing": b"",
}
for name, data in SCRIPT_WORDS.items():
    save("script", f"words-{name}", b"\x01\x00" + data)
for name, data in {"text": b"a\nb\"\\\x01\x00", "binary": bytes(range(256)), "long": b"\x01" * 3073 + b"\xff", "piece": b"abc" * 1024, "nothing": b""}.items():
    save("script", f"write-{name}", b"\x02\x07" + data)

CONN = b"ESIzRFVmd4gAAAAAAAAABQ"
CODEC = {
    "hello": b'[{"t":"hello","v":1,"token":"x","events":["open","message","upgrade"],"name":"n","mount":"/"}]',
    "hello-push": b'[{"t":"hello","v":1},{"t":"push","commands":[{"c":"broadcast","data":"x"}]}]\n',
    "ack": b'[{"t":"ack","link":"L","s":7,"commands":[{"c":"send","data":"h\\u00e9"},{"c":"broadcast_to","room":"a","bin":3,"exclude":true}]}]\nxyz',
    "all": b'[{"t":"ack","s":1,"commands":[{"c":"send","conn":"' + CONN + b'","bin":1},{"c":"join","room":"r"},{"c":"leave","room":"r"},'
           b'{"c":"broadcast","data":"","exclude":"' + CONN + b'"},{"c":"close","code":1000,"reason":"x"},{"c":"set","state_bin":2},'
           b'{"c":"timer","name":"t","id":1,"delay":2,"period":3},{"c":"cancel","name":"t"}]}]\nabc',
    "nack": b'[{"t":"nack","s":1,"error":"\\ud800","retry_ms":500},{"t":"pong"},{"t":"bye","error":"e"}]',
    "push": b'[{"t":"push","source":"s","n":1,"ref":5,"commands":[]}]',
    "query": b'[{"t":"query","q":1,"what":"members","room":"r"},{"t":"query","q":2,"what":"rooms","conn":"' + CONN + b'"}]',
    "control": b'[{"t":"control","q":1,"do":"replay","id":"7"}]',
    "accept": b'[{"t":"ack","s":3,"commands":[{"c":"broadcast","bin":1}],"accept":{"subprotocol":"p","headers":[["X-A","b"]],"state_bin":2}}]\nabc',
    "refuse": b'[{"t":"ack","s":3,"refuse":{"status":403,"type":"text/plain","bin":2,"headers":[["Retry-After","5"]]}}]\nno',
    "refuse-lines": b'[{"t":"ack","s":3,"refuse":{"status":403,"type":"a\\r\\nb: c","headers":[["X","a\\r\\n\\r\\nb"]]}}]',
    "order": b'[{"commands":[{"bin":1,"exclude":null,"c":"broadcast"}],"s":1,"x":[{}],"t":"ack"}]\n\x00',
    "twice": b'[{"t":"ack","s":1,"commands":[{"c":"send","bin":1}],"commands":[{"c":"send","bin":2}]}]\nabc',
    "lie-more": b'[{"t":"ack","s":1,"commands":[{"c":"send","bin":9007199254740991}]}]\na',
    "lie-less": b'[{"t":"pong"}]\nabc',
    "twice-cut": b'[{"t":"push","commands":[{"c":"broadcast_to","c":"l',
    "empty": b"[]", "no-type": b"[{}]", "version": b'[{"t":"hello","v":2}]', "behind": b'[{"t":"pong"}] ', "cut": b'[{"t":"ack","s":1,"comm',
}
for name, data in CODEC.items():
    save("codec", name, b"r" + data)
for name, data in {"text": b"hello \"you\"\n\x00\x1f\x7f", "utf8": "a\u00e9\u20ac\U0001F600".encode(), "binary": bytes(range(256)),
                   "latin": b"caf\xe9 au lait", "nothing": b""}.items():
    save("codec", f"write-{name}", b"w" + data)

ASKED = {
    "command": (b"c", b'{"mount":"/a","room":"x","data":"hi \\u20ac","key":"k","exclude":"AAAAAAAAAAAAAAAAAAAAAA"}\n'),
    "command-bytes": (b"c", b'{"room":"x","bin":3}\n\x00\n}'),
    "command-unknown": (b"c", b'{"room":"x","dtaa":"y"}'),
    "list": (b"l", b'{"mount":"/","commands":[{"c":"join","conn":"AAAAAAAAAAAAAAAAAAAAAA","room":"x"},{"c":"close","conn":"AAAAAAAAAAAAAAAAAAAAAA","code":4000}]}'),
    "list-wrong": (b"l", b'{"commands":[{"c":"broadcast","data":"x"},{"c":"zzz"}]}'),
    "list-bytes": (b"l", b'{"commands":[{"c":"broadcast","bin":2},{"c":"set","conn":"AAAAAAAAAAAAAAAAAAAAAA","state_bin":1,"if_state_bin":1}]}\nabcd'),
}
for name, (kind, data) in ASKED.items():
    save("codec", f"asked-{name}", kind + data)

SP_HELLO = b"\x00SP\x00\x00\x10\x00\x00"


def sp_message(body, kind=1, announced=None):
    return bytes([kind]) + struct.pack(">Q", len(body) if announced is None else announced) + body


SP = {
    "hello": SP_HELLO,
    "messages": SP_HELLO + sp_message(b"one") + sp_message(b"") + sp_message(b"two"),
    "most": SP_HELLO + sp_message(b"x" * 300),
    "too-long": SP_HELLO + sp_message(b"ok") + sp_message(b"x", announced=301),
    "longest": SP_HELLO + sp_message(b"x", announced=(1 << 64) - 1),
    "kind": SP_HELLO + sp_message(b"ok") + sp_message(b"x", kind=2),
    "cut-hello": SP_HELLO[:5],
    "cut-head": SP_HELLO + sp_message(b"ok") + sp_message(b"x")[:4],
    "cut-body": SP_HELLO + sp_message(b"hello")[:-1],
    "pair1": b"\x00SP\x00\x00\x11\x00\x00" + sp_message(b"x"),
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "nothing": b"",
}
for name, data in SP.items():
    save("sp", name, b"\x00" + data)
    save("sp", f"{name}-pieces", b"\x07" + data)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


PROXY_IP4 = b"\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x34\x00\x50"
PROXY_IP6 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + bytes(10) + b"\xff\xff\xc0\x00\x02\x02\x12\x34\x00\x50"


def proxy_v2(first, family, body, announced=None):
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([first, family]) + struct.pack(">H", len(body) if announced is None else announced) + body


def proxy_tlv(kind, value):
    return bytes([kind]) + struct.pack(">H", len(value)) + value


def proxy_summed(body):
    zero = proxy_v2(0x21, 0x11, body + proxy_tlv(3, bytes(4)))
    return zero[:-4] + struct.pack(">I", crc32c(zero))


PROXY = {
    "v1-tcp4": b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\r\nGET / HTTP/1.1\r\n",
    "v1-tcp6": b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 4660 80\r\n",
    "v1-unknown": b"PROXY UNKNOWN a b c\r\n", "v1-cut": b"PROXY TCP4 192.0.2.1 192", "v1-long": b"PROXY UNKNOWN " + b"x" * 100,
    "v1-bare-lf": b"PROXY UNKNOWN\n", "v1-port": b"PROXY TCP4 192.0.2.1 192.0.2.2 04660 80\r\n", "http": b"GET / HTTP/1.1\r\n\r\n",
    "v2-tcp4": proxy_v2(0x21, 0x11, PROXY_IP4) + b"GET", "v2-tcp6": proxy_v2(0x21, 0x21, PROXY_IP6),
    "v2-unix": proxy_v2(0x21, 0x31, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")),
    "v2-local": proxy_v2(0x20, 0, b""), "v2-unspec": proxy_v2(0x21, 0, b"abc"), "v2-udp": proxy_v2(0x21, 0x12, PROXY_IP4),
    "v2-short": proxy_v2(0x21, 0x11, PROXY_IP4[:11]), "v2-cut": proxy_v2(0x21, 0x11, PROXY_IP4)[:20],
    "v2-extensions": proxy_v2(0x21, 0x11, PROXY_IP4 + proxy_tlv(4, b"xx") + proxy_tlv(0xE0, b"") + proxy_tlv(2, b"host")),
    "v2-sum": proxy_summed(PROXY_IP4 + proxy_tlv(4, b"x")), "v2-sum-bad": proxy_summed(PROXY_IP4)[:-1] + b"\0",
    "v2-ssl": proxy_v2(0x21, 0x11, PROXY_IP4 + proxy_tlv(0x20, b"\x01\0\0\0\0" + proxy_tlv(0x21, b"TLSv1.3"))),
    "v2-beyond": proxy_v2(0x21, 0x11, PROXY_IP4 + b"\x04\x00\x09x"), "v2-longest": proxy_v2(0x20, 0, b"", 16385),
}
for name, data in PROXY.items():
    save("proxy", name, data)

FORWARDED = {
    "nothing": b"", "x": b"X-Forwarded-For: 198.51.100.7, 10.0.0.1\r\n", "x-open": b"X-Forwarded-For: 198.51.100.7",
    "x-port": b"X-Forwarded-For: 198.51.100.7:80, [2001:db8::1]:90\r\n", "x-quote": b'X-Forwarded-For: "198.51.100.7',
    "x-facts": b"X-Forwarded-Proto: http, https\r\nX-Forwarded-Host: a, b:80\r\n", "x-commas": b"X-Forwarded-For: , ,",
    "rfc": b'Forwarded: for="[2001:db8::1]:80";by=_x;proto=https;host="a:1", for=10.0.0.1\r\n',
    "rfc-open": b"Forwarded: for=198.51.100.7;proto=http", "rfc-quote": b'Forwarded: for="198.51.100.7',
    "rfc-escape": b'Forwarded: for="\\"a\\""', "rfc-names": b"Forwarded: for=unknown, for=_hidden;for=x, =, ;, for",
    "both": b"X-Forwarded-For: 10.0.0.9\r\nForwarded: for=10.0.0.9\r\n", "lines": b"X-Forwarded-For: a\r\nX-Forwarded-For: fd00::1\r\n",
}
for name, data in FORWARDED.items():
    save("forwarded", name, data)


def packed(data, level=6, bits=15, flush=zlib.Z_SYNC_FLUSH, strategy=0, compressor=None):
    """What a frame with RSV1 carries (RFC 7692 7.2.1)."""
    with_what = compressor or zlib.compressobj(level, zlib.DEFLATED, -bits, 8, strategy)
    done = with_what.compress(data) + with_what.flush(flush)
    return done + b"\0" if flush == zlib.Z_FINISH else done[:-4]


def bare(first, payload):
    return frame(first, payload, mask=b"")


def in_parts(data, opcode=1, size=3):
    pieces = [data[i:i + size] for i in range(0, len(data), size)]
    return b"".join(bare((opcode | 0x40 if i == 0 else 0) | (0x80 if i == len(pieces) - 1 else 0), piece)
                    for i, piece in enumerate(pieces))


def taken_over(*messages, bits=15):
    with_what = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return b"".join(bare(0xC1, packed(m, compressor=with_what)) for m in messages)


PD = b"permessage-deflate"
WORDS = b"the quick brown fox jumps over the lazy dog, the quick brown fox again; " * 3
OFFERS = {
    "plain": PD, "chrome": PD + b"; client_max_window_bits", "both-no": PD + b"; server_no_context_takeover; client_no_context_takeover",
    "bits": PD + b"; server_max_window_bits=10; client_max_window_bits=\"1\\2\"", "eight": PD + b"; server_max_window_bits=8, " + PD,
    "twice": PD + b"; client_max_window_bits; client_max_window_bits", "unknown": b"x, " + PD + b"; y=z, " + PD,
    "bad": PD + b"; server_max_window_bits=010",
}
for i, (name, data) in enumerate(OFFERS.items()):
    save("deflate", f"offer-{name}", bytes([0, i * 37 & 255, 0]) + data)
for i, data in enumerate([b"a", WORDS, bytes(3000), bytes(range(256)) * 2]):
    save("deflate", f"message-{i}", bytes([1, i * 41, 0]) + data)
PACKED = {
    "hello": bare(0xC1, packed(b"Hello")), "stored": bare(0xC2, packed(WORDS, level=0)), "final": bare(0xC1, packed(WORDS, flush=zlib.Z_FINISH)),
    "fixed": bare(0xC1, packed(WORDS, strategy=zlib.Z_FIXED)), "huffman": bare(0xC1, packed(WORDS, strategy=zlib.Z_HUFFMAN_ONLY)),
    "empty": bare(0xC1, b"\0") + bare(0xC2, b""), "empty-block": bare(0xC1, b"\2\0"), "zeroes": bare(0xC2, packed(bytes(60000))),
    "parts": in_parts(packed(WORDS)), "parts-final": in_parts(packed(WORDS, flush=zlib.Z_FINISH), 2, 7),
    "takeover": taken_over(WORDS, WORDS, b"again, " + WORDS), "takeover-9": taken_over(WORDS, WORDS[9:], bits=9),
    "mixed": bare(0xC1, packed(WORDS)) + bare(0x81, b"plain") + bare(0x89, b"p") + in_parts(packed(b"abc" * 20)),
    "full-flush": bare(0xC2, packed(WORDS, flush=zlib.Z_FULL_FLUSH)), "utf8": bare(0xC1, packed("k\u00f6\u20ac\U0001F600".encode() * 9)),
    "utf8-bad": bare(0xC1, packed(b"abc\xff")), "utf8-open": bare(0xC1, packed(EURO[:2])), "bad-block": bare(0xC1, b"\7"),
    "bad-cut": bare(0xC1, packed(WORDS)[:-3]), "bad-tail": bare(0xC1, packed(b"Hello") + b"\0\0\xff\xff"), "bad-far": bare(0xC1, b"\xf2\0\x11\0\0"),
    "two-finals": bare(0xC1, packed(b"one ", flush=zlib.Z_FINISH)[:-1] + packed(b"two", flush=zlib.Z_FINISH)), "rsv-inside": bare(0x41, b"") + bare(0xC0, b"\0"),
    "rsv-2": bare(0xE1, b"\0"), "rsv-ping": bare(0xC9, b""), "noise": bare(0xC2, bytes(i * i * 7 >> 3 & 255 for i in range(120))),
}
for i, (name, data) in enumerate(PACKED.items()):
    for choice in (0, 70, 133, i % 7 | 128):  # without takeover, gathered, with takeover, with a smaller window
        save("deflate", f"read-{name}-{choice}", bytes([2, choice, (i % 3) * 8]) + data)
for i, data in enumerate([WORDS * 4, bytes(range(256)) * 20, WORDS[:70] * 90, bytes(i * i * 7 >> 3 & 255 for i in range(40000))]):
    for choice in (0, 32, 65):
        save("deflate", f"disobedient-{i}-{choice}", bytes([3, choice, i]) + data)
for limit in range(1, 8):
    save("deflate", f"limit-{limit}", bytes([2, 0, limit]) + in_parts(packed(bytes(5001), level=9)))


# Tokens: [0, beginning] and headers, [1 or 2] and a token, [3] and what it holds, [4] and keys.
def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(header=b'{"alg":"HS256"}', claims=b'{"sub":"ada","exp":1700009999,"aud":"chat"}', key=b"0123456789abcdef" * 2):
    signed = b64(header) + b"." + b64(claims)
    return signed + b"." + b64(hmac.new(key, signed, hashlib.sha256).digest())


GOOD = token()
for name, lines in {
    "none": b"", "header": b"Authorization: Bearer " + GOOD, "header-other": b"Authorization: Basic YTpi", "header-bare": b"Authorization: Bearer",
    "cookie": b"Cookie: a=1; session=" + GOOD + b"; b=2", "cookie-only": b"Cookie: session=" + GOOD, "cookie-last": b"Cookie: b=2;session=x.y.z",
    "subprotocol": b"Sec-WebSocket-Protocol: a, tova.jwt." + GOOD + b" , tova.jwt", "subprotocol-only": b"Sec-WebSocket-Protocol:tova.jwt.a.b.c",
    "two": b"Authorization: Bearer a\r\nCookie: session=b", "long": b"Cookie: session=" + b"a" * 9000,
}.items():
    for front in (0, 1):
        head = b"GET /?a&b=c HTTP/1.1\r\nHost: a\r\n" if front else b""
        save("token", f"request-{name}-{front}", bytes([0, front]) + head + (lines + b"\r\n" if lines else b"") + b"\r\n")
for query in (b"token=a.b.c", b"token=a.b.c&x", b"x&token=a.b.c", b"x&token=a&token=b", b"token=", b"&&token=a&&"):
    save("token", "query-" + query.decode().replace("&", "-"), b"\0\1GET http://h/?" + query + b" HTTP/1.1\r\nHost: a\r\n\r\n")
for name, text in {
    "good": GOOD, "none": b64(b'{"alg":"none"}') + b"." + GOOD.split(b".")[1] + b".", "cut": GOOD[:-1], "empty": b"..", "one": b"a", "padded": GOOD + b"=",
    "expired": token(claims=b'{"exp":5}'), "rsa": b64(b'{"alg":"RS256"}') + b"." + GOOD.split(b".")[1] + b"." + b64(bytes(range(256))),
    "ec": b64(b'{"alg":"ES256"}') + b"." + GOOD.split(b".")[1] + b"." + b64(bytes(range(64))), "ec-short": b64(b'{"alg":"ES256"}') + b".e30." + b64(bytes(63)),
    "long": b"a" * 9000, "nbf": token(claims=b'{"exp":1700009999,"nbf":1700009000,"aud":["x","web"]}'),
}.items():
    save("token", f"token-{name}", b"\1" + text)
    save("token", f"token-{name}-keys", b"\2" + text)
for name, text in {
    "good": b'{"sub":"ada","exp":1700009999,"aud":"chat"}', "list": b'{"exp":1.7e9,"aud":["chat",1]}', "float": b'{"exp":1700009999.5,"aud":["web"]}',
    "twice": b'{"exp":1700009999,"exp":1}', "deep": b'{"exp":1700009999,"aud":"web","x":' + b"[" * 15 + b"]" * 15 + b"}", "deeper": b"[" * 500,
    "huge": b'{"exp":1e300}', "string": b'{"exp":"1700009999"}', "nul": b'{"exp":1700009999,"sub":"a\\u0000"}', "utf8": b'{"exp":1700009999,"sub":"\xff"}',
    "header": b'{"alg":"HS256","typ":"JWT","kid":"1"}\0{"exp":1700009999,"aud":"web"}', "crit": b'{"alg":"HS256","crit":["b64"]}\0{"exp":1700009999,"aud":"web"}',
    "none": b'{"alg":"none"}\0{}', "array": b"[]", "junk": b"{}x",
}.items():
    save("token", f"content-{name}", b"\3" + text)
PEM = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
"""
for name, text in {
    "secret": b"0123456789abcdef" * 2 + b"\n", "short": b"x" * 31, "pem": PEM, "two": PEM + b"text\n" + PEM, "cut": PEM[:60], "bare": PEM[27:-25],
    "der": base64.b64decode(PEM[27:-25]), "jwk": b'{"kty":"oct"}', "private": PEM.replace(b"PUBLIC", b"PRIVATE"), "many": PEM * 9, "ssh": b"ssh-rsa AAAA",
}.items():
    save("token", f"keys-{name}", b"\4" + text)

# tova.v1: headers of an upgrade behind an odd byte, control messages behind an even one.
TOKEN = b"A" * 21 + b"w"
for name, value in {"offer": b"tova.v1", "beside": b"chat.v1, tova.v1,chat.v2", "return": b"tova.v1, tova.resume." + TOKEN + b".17",
                    "only-return": b"tova.resume." + TOKEN + b".17", "no-count": b"tova.v1, tova.resume." + TOKEN,
                    "long-count": b"tova.v1, tova.resume." + TOKEN + b".99999999999999999999", "near": b"tova.v10, Tova.v1, tova.resumes"}.items():
    save("tova_v1", name, b"\1Sec-WebSocket-Protocol: " + value + b"\r\nX: y")
save("tova_v1", "twice", b"\1sec-websocket-protocol: a,tova.v1\r\nX: y\r\nSec-WebSocket-Protocol:tova.resume." + TOKEN + b".3 , b\r\nY: tova.v1")
for name, text in {"got": b'{"got":12}', "both": b'{"ping":1,"got":3}', "bye": b'{"bye":1}', "token": b'{"token":"a\\u0041.b"}', "negative": b'{"got":-1}',
                   "unknown": b'{"x":[1,{"y":null}]}', "list": b"[]", "half": b'{"got":', "behind": b'{"got":1} x'}.items():
    save("tova_v1", "said-" + name, b"\0" + text)

# The cluster: what a Redis server says behind a byte for the size of pieces, a URL behind a u; what hosts publish.
for name, text in {"ok": b"+OK\r\n:1\r\n", "message": b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\na\r\n\r\n", "nil": b"$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n",
                   "error": b"-OOM command not allowed\r\n", "nested": b"*1\r\n" * 9 + b":1\r\n", "long": b"*99999999\r\n", "negative": b"$-2\r\n"}.items():
    save("resp", name, b"\3" + text)
for name, text in {"url": b"redis://me@[::1]:6379/3", "unix": b"unix://me@/run/redis.sock?db=1", "bad": b"redis://a:b@c"}.items():
    save("resp", name, b"u" + text)


def published(kind, rest, flags=0):
    return b"tv" + struct.pack(">BBBQQQQ", 1, kind, flags, 7, 1, 2, 0) + rest


def names(*all):
    return struct.pack(">H", len(all)) + b"".join(bytes([len(n)]) + n for n in all)


AMONG = b"\0" + names(b"a", b"b") + names(b"u") + names()
for name, data in {"room": published(1, b"hi"), "binary": published(2, b"\0\xff", 3), "among": published(3, struct.pack(">I", len(AMONG)) + AMONG + b"x"),
                   "close": published(4, struct.pack(">I", len(AMONG)) + AMONG + b"\x0f\xa1over"), "mark": published(5, struct.pack(">Q", 9)),
                   "host": published(6, b"\1a\0030.2\1m\0\3fit\0\1\0\1c" + struct.pack(">QQ", 1, 5)), "none": b"tv\1\0"}.items():
    save("envelope", name, data)
