"""nginx and HAProxy in front, as the README says to set them up."""
import json
import re
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from api import TOKENS, address, tokens
from patience import unhurried
from supervised import Supervised
from tova_host import BUILD, ROOT, Host, free_port, wait_until
from wsclient import PING, PONG, WebSocket, connect, http_get, refused

SOURCE = "127.0.0.77"


def example(language):
    return re.search(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)


def replaced(text, old, new):
    assert old in text, f"{old!r} is not in {text}"
    return text.replace(old, new)


@pytest.fixture
def host():
    with Host("--plugin", f"/chat={BUILD / 'tests/plugins/probe.so'}", "--trusted-proxy", "127.0.0.1",
              listen=["127.0.0.1:0", "127.0.0.1:0,proxy"]) as running:
        yield running


@pytest.fixture
def front(directory):
    """Starts a program that listens at a port, and ends it."""
    started = []

    def start(command, port):
        process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(process)

        def listens():
            assert process.poll() is None, process.stdout.read().decode()
            try:
                connection = WebSocket("127.0.0.1", port)
            except ConnectionRefusedError:
                return False
            connection.drop()
            return True

        wait_until(listens, f"{command[0]} listens")

    yield start
    for process in started:
        process.terminate()
        process.wait()


def check(port, said, **how):
    """A client with an invented header, whose page is of the host that it asks for."""
    name = f"127.0.0.1:{port}"
    with connect("127.0.0.1", port, "/chat?request=1", source=SOURCE, host_header=name, headers=[("X-Forwarded-For", '"203.0.113.9')],
                 **how) as ws:
        request = json.loads(ws.recv_text())
        assert request["remote_addr"] == SOURCE, request
        assert said is None or ["X-Forwarded-Proto", said] in request["headers"]
        ws.send_text("send " + "x" * 100000)
        assert ws.recv_text() == "x" * 100000
        ws.end()
        return request


def nginx(front, directory, location):
    """Serves that location at the port that comes back."""
    port = free_port()
    return nginx_of(front, directory, port, f"server {{ listen 127.0.0.1:{port}; {location} }}")


def nginx_of(front, directory, port, servers):
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    Path(directory, "nginx.conf").write_text(f"daemon off; pid {directory}/pid; error_log stderr; events {{}} http {{ access_log off; {temporary}"
                                             f" {servers} }}")
    front(["/usr/sbin/nginx", "-e", "stderr", "-c", f"{directory}/nginx.conf"], port)
    return port


def haproxy(front, directory, text):
    Path(directory, "haproxy.cfg").write_text(text)
    front(["/usr/sbin/haproxy", "-db", "-f", f"{directory}/haproxy.cfg"], int(re.search(r"bind 127.0.0.1:(\d+)", text).group(1)))


def test_nginx(host, front, directory):
    port = nginx(front, directory, replaced(example("nginx"), "127.0.0.1:8080", f"127.0.0.1:{host.port}"))
    check(port, "http", origin=f"http://127.0.0.1:{port}")


def test_haproxy(host, front, directory):
    port = free_port()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
                    "-keyout", "key.pem", "-out", "cert.pem"], cwd=directory, capture_output=True, check=True)
    Path(directory, "site.pem").write_bytes(Path(directory, "cert.pem").read_bytes() + Path(directory, "key.pem").read_bytes())
    text = replaced(example("haproxy"), "bind :443", f"bind 127.0.0.1:{port}")
    text = replaced(text, "/etc/haproxy/site.pem", f"{directory}/site.pem")
    text = replaced(text, "127.0.0.1:8080", host.listening[1])
    haproxy(front, directory, "defaults\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n" + text)
    trusting = ssl.create_default_context(cafile=f"{directory}/cert.pem")
    trusting.set_alpn_protocols(["http/1.1"])
    request = check(port, None, origin=f"https://127.0.0.1:{port}", wrap=lambda s: trusting.wrap_socket(s, server_hostname="localhost"))
    assert (request["local_addr"], request["local_port"]) == ("127.0.0.1", port)


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
                                 "send-proxy-v2 check check-send-proxy inter 100ms"])
def test_haproxy_in_every_form(host, front, directory, how):
    port, mark = free_port(), len(host.lines)
    haproxy(front, directory, f"""defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server host {host.listening[1]} {how}
""")
    check(port, None)
    assert not [line for line in host.lines[mark:] if line["kind"] == "accept"]


# --- with their defaults -----------------------------------------------------------------------------------------------------------------

PATIENCE_OF_PROXY = 2  # seconds, where their defaults are 50 to 60


def behind_nginx(host, front, directory, patience):
    location = replaced(example("nginx"), "127.0.0.1:8080", f"127.0.0.1:{host.port}")
    return nginx(front, directory, re.sub(r"\}\s*$", f"proxy_read_timeout {patience}s; }}", location))


def behind_haproxy(host, front, directory, patience):
    port = free_port()
    haproxy(front, directory, f"""defaults
    mode http
    timeout connect 5s
    timeout client {patience}s
    timeout server {patience}s
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server host 127.0.0.1:{host.port}
""")
    return port


@unhurried
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("proxy", [behind_nginx, behind_haproxy])
def test_idle_clients_outlive_the_patience_of_a_proxy(front, directory, proxy, threads, ms):
    """Who says nothing for several times as long as the proxy waits is still there."""
    with Host("--plugin", f"/chat={BUILD / 'tests/plugins/probe.so'}", "--ping-interval", ms(1000), "--threads", str(threads)) as host:
        port = proxy(host, front, directory, PATIENCE_OF_PROXY * ms.times)
        clients = [connect("127.0.0.1", port, "/chat", host_header=f"127.0.0.1:{port}") for _ in range(40)]
        for _ in range(3 * PATIENCE_OF_PROXY):
            for ws in clients:
                frame = ws.recv_frame()
                assert frame.opcode == PING
                ws.send_frame(PONG, frame.payload)
        for ws in clients:
            ws.send_text("send still here")
            while (frame := ws.recv_frame()).opcode == PING:
                ws.send_frame(PONG, frame.payload)
            assert frame.payload == b"still here"
            ws.drop()


def test_a_proxy_that_takes_the_upgrade_away(host, front, directory):
    """nginx passes neither Upgrade nor Connection on unless it is told to: who set it up hears of that in the answer and in the log."""
    port = nginx(front, directory, f"location / {{ proxy_pass http://127.0.0.1:{host.port}; proxy_http_version 1.1; }}")
    answer = refused("127.0.0.1", port, "/chat", host_header=f"127.0.0.1:{port}")
    assert answer.status == 426 and b"proxy" in answer.body
    line = host.wait_log(lambda line: line.get("status") == 426, "why")
    assert "proxy" in line["message"] + line.get("error", "") and line["path"] == "/chat"


# --- health and the API ------------------------------------------------------------------------------------------------------------------

def servers_up(directory):
    """Of HAProxy's one backend, as it says itself."""
    with socket.socket(socket.AF_UNIX) as stats:
        wait_until(lambda: stats.connect_ex(f"{directory}/stats") == 0, "it listens where it is asked")
        stats.sendall(b"show stat\n")
        rows = stats.makefile().read().splitlines()
    return [row.split(",")[17].split()[0] for row in rows if row.startswith("b,host,")] == ["UP"]


@pytest.mark.parametrize("check", ["option httpchk GET /up", "option httpchk\n    http-check send meth OPTIONS uri /up\n    http-check expect status 204",
                                   "option httpchk HEAD /up HTTP/1.1\\r\\nHost:\\ localhost"])
def test_haproxy_asks_for_health(front, directory, check):
    """It gives clients to a host whose handler is ready, and to nobody while it is not."""
    go, port = Path(directory, "go"), free_port()
    body = f"def on_start():\n    while not os.path.exists({str(go)!r}): time.sleep(0.02)\ndef on_message(ws, message): ws.send(message)"
    with Supervised(Path(directory), body, "--health", "/up").host as host:
        haproxy(front, directory, f"""global
    stats socket {directory}/stats
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    {check}
    server host 127.0.0.1:{host.port} check inter 100ms fall 1 rise 1
""")
        if "OPTIONS" not in check:  # which says only that somebody is there
            wait_until(lambda: not servers_up(directory), "nobody is given to it")
            assert refused("127.0.0.1", port, "/").status == 503
        go.touch()
        wait_until(lambda: servers_up(directory), "it is well")
        with connect("127.0.0.1", port, "/") as ws:
            ws.send_text("hello")
            assert ws.recv_text() == "hello"
            ws.end()


def test_nginx_gives_clients_to_a_host_that_is_well(front, directory):
    """As host/PRODUCTION.md sets it up: one of two hosts drains, and then it is gone. No client that comes notices either."""
    port, says = free_port(), "def on_message(ws, message): ws.send({!r})"
    one, two = Path(directory, "one"), Path(directory, "two")
    one.mkdir(), two.mkdir()
    text = re.search(r"```nginx\n(.*?)```", (ROOT / "host/PRODUCTION.md").read_text(), re.S).group(1)
    with Supervised(one, says.format("one"), "--health", "/up", "--drain", "10m").host as goes, Supervised(two, says.format("two"), "--health", "/up").host as stays:
        for old, new in (("10.0.0.1:8080", f"127.0.0.1:{goes.port}"), ("10.0.0.2:8080", f"127.0.0.1:{stays.port}"), ("listen 80", f"listen 127.0.0.1:{port}")):
            text = replaced(text, old, new)
        nginx_of(front, directory, port, text)

        def who():
            with connect("127.0.0.1", port, "/", host_header=f"127.0.0.1:{port}") as ws:
                ws.send_text("who?")
                name = ws.recv_text()
                ws.end()
                return name

        assert {who() for _ in range(4)} == {"one", "two"}
        clients = [connect("127.0.0.1", goes.port) for _ in range(50)]
        goes.signal(signal.SIGTERM)
        wait_until(lambda: http_get("127.0.0.1", goes.port, "/up").status == 503, "it says that it stops")
        assert {who() for _ in range(4)} == {"two"} and http_get("127.0.0.1", port, "/up").status == 200
        goes.signal(signal.SIGTERM)
        assert goes.wait_exit() == 0
        assert {who() for _ in range(4)} == {"two"}
        for ws in clients:
            ws.drop()


def test_nginx_passes_on_what_is_pushed(front, directory):
    """As a web application behind it pushes: with a token, connections that are used again, and a body of a megabyte."""
    (token,) = tokens(Path(directory), "publish")[1:]
    with Host("--plugin", BUILD / "plugins/relay.so", "--api", "127.0.0.1:0", "--api-token", token, "--max-queue", "4m", "--api-max-body", "2m") as host:
        upstream = f"location /push/ {{ proxy_pass http://{address(host)}/api/v1/; proxy_http_version 1.1; proxy_set_header Connection \"\"; client_max_body_size 2m; proxy_request_buffering off; }}"
        port = nginx(front, directory, upstream)
        with connect("127.0.0.1", host.port, "/room/x") as ws:
            ws.roundtrip()
            for data in ("hi", "again", "x" * 1000000):
                answer = subprocess.run(["curl", "-sS", "-H", f"Authorization: Bearer {TOKENS['publish']}", "--data-binary", "@-", f"http://127.0.0.1:{port}/push/broadcast_to"],
                                        input=json.dumps({"room": "x", "data": data}), capture_output=True, text=True, check=True).stdout
                assert answer == '{"receivers":1}' and ws.recv_text() == data
            assert http_get("127.0.0.1", port, "/push/broadcast_to", method="POST").status == 401
            ws.end()
