"""What a test asks the HTTP API of a host.

    with Host("--plugin", "echo", "--api", "127.0.0.1:0", ...) as host, Api(host, token="...") as api:
        assert api.post("broadcast_to", room="general", data="hi") == (200, {"receivers": 2})
"""
import json
import re

import openapi
from tova_host import Host
from wsclient import Http

TOKENS = {"publish": "publish-secret-0123456789", "read": "read-secret-0123456789", "admin": "admin-secret-0123456789"}


def address(host, door="api"):
    """Where it listens: "127.0.0.1:43211" or "unix:/path"."""
    return next(line[door] for line in host.lines if line.get("kind") == "listen" and door in line)


def tokens(folder, *scopes):
    """Options for tokens with these scopes, such as "publish@/chat", whose secrets are those above."""
    options = []
    for n, scope in enumerate(scopes):
        path = folder / f"token-{n}"
        path.write_text(TOKENS[scope.partition("@")[0]] + "\n")
        path.chmod(0o600)
        options += ["--api-token", f"{scope}={path}"]
    return options


_says = []  # what a host of this build says of its API


def document():
    """The API as it describes itself at --admin, where all of it is."""
    if not _says:
        with Host("--plugin", "echo", "--admin", "127.0.0.1:0") as host, Http("127.0.0.1", int(address(host, "admin").rpartition(":")[2])) as http:
            http.send(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            _says.append(openapi.document(http.response("GET").body.decode()))
    return _says[0]


class Api(Http):
    """One connection to the API. What it answers is held against what it says of itself."""

    def __init__(self, host, door="api", token=None, **stream):
        where = address(host, door)
        port = None if where.startswith("unix:") else int(re.search(r":(\d+)$", where)[1])
        super().__init__(where if port is None else "127.0.0.1", port, **stream)
        self.headers = [("Authorization", f"Bearer {token}")] if token else []

    def ask(self, method, target, body=None, headers=()):
        """The whole response."""
        lines = [*self.headers, *headers]
        if body is not None and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in lines):
            lines.append(("Content-Length", str(len(body))))
        head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *(f"{n}: {v}" for n, v in lines)]) + "\r\n\r\n"
        self.send(head.encode() + (body or b""))
        answer = self.response(method)
        if answer.get("Content-Type") == "application/json" and method != "HEAD":
            document().judge(method, target, answer.status, answer.body)
        return answer

    def get(self, target, **more):
        return judge(self.ask("GET", target, **more))

    def post(self, command, _body=None, _headers=(), **members):
        body = json.dumps(members).encode() if _body is None else _body
        return judge(self.ask("POST", f"/api/v1/{command}", body, _headers))


def judge(answer):
    """Its status and what its JSON says; what each answer owes is there."""
    assert answer.get("Cache-Control") == "no-store" and answer.get("X-Content-Type-Options") == "nosniff", answer
    assert answer.get("Content-Type") == "application/json", answer
    said = json.loads(answer.body)
    assert answer.status < 400 or answer.status == 503 or isinstance(said["error"], str), said
    return answer.status, said
