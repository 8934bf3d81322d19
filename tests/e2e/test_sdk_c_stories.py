"""The C worker library, with the real host: the stories of all worker libraries."""
import signal

import pytest

import example_workers
from presence_stories import *  # noqa: F401,F403
from sdk_stories import *  # noqa: F401,F403
from sdk_stories import Client, certificate
from tova_host import BUILD, IMPATIENT, PATIENCE, Host, free_port

# A program, which takes no file's name.
example_workers.INTERPRETERS["c"] = (str(BUILD / "tests/e2e/stories"), "c")


@pytest.fixture
def kind():
    return "c"


def test_over_tls(attached, tmp_path):  # noqa: F811
    """As that of the others; libnng does not say why it finds no host."""
    cert, key = certificate(tmp_path)
    (tmp_path / "both.pem").write_text(cert.read_text() + key.read_text())
    url = f"tls+tcp://localhost:{free_port()}"
    with Host("--attach", f"/w={url.replace('localhost', '127.0.0.1')}", "--attach-cert", cert, "--attach-key", key,
              "--attach-client-ca", cert, *IMPATIENT) as host:
        for trusted, own in (("/etc/ssl/certs/ca-certificates.crt", tmp_path / "both.pem"), (cert, "")):
            stranger = attached.start(url, TOVA_CA_FILE=str(trusted), **({"TOVA_CERT_FILE": str(own)} if own else {}))
            assert "can not reach the host" in stranger.stderr.readline()
            stranger.kill()
        worker = attached.start(url, SSL_CERT_FILE=str(cert), TOVA_CERT_FILE=str(tmp_path / "both.pem"))
        client = Client(host)
        assert client.ask("count")["pid"] == worker.pid
        client.send("echo", data="x" * 1_000_000)
        assert client.text() == "x" * 1_000_000
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
