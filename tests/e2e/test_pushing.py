"""sdk/PUSHING.md, followed as a reader would: each program pushes to a real host."""
import os
import re
import shutil
import subprocess

import pytest

from api import TOKENS, address
from tova_host import BUILD, IMPATIENT, PATIENCE, ROOT, Host
from wsclient import connect

PAGE = ROOT / "sdk/PUSHING.md"
# The block's language, the file that it becomes, what runs it; the first word is the program that has to be there.
LANGUAGES = {
    "curl": ("curl", "sh", "push.sh", ["sh"]),
    "PHP": ("php", "php", "push.php", ["php"]),
    "Ruby": ("ruby", "ruby", "push.rb", ["ruby"]),
    "Go": ("go", "go", "push.go", ["go", "run"]),
}


def program(title):
    section = PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    return re.search(r"^```(\w+)\n(.*?)^```$", section, re.M | re.S).groups()


@pytest.fixture
def host(tmp_path):
    token = tmp_path / "web.token"
    token.write_text(TOKENS["publish"] + "\n")
    token.chmod(0o600)
    with Host("--plugin", BUILD / "plugins/relay.so", "--api", "127.0.0.1:0", "--api-token", f"publish={token}", *IMPATIENT) as running:
        yield running


@pytest.fixture(params=LANGUAGES)
def run(request, tmp_path, host):
    needs, block, name, command = LANGUAGES[request.param]
    language, text = program(request.param)
    assert language == block
    if shutil.which(needs) is None:
        pytest.skip(f"{needs} is not installed: make test-deps brings what Debian has that is small")
    (tmp_path / name).write_text(text)

    def start(token):
        env = {**os.environ, "TOVA_API": f"http://{address(host)}", "TOVA_TOKEN": token, "HOME": str(tmp_path)}
        return subprocess.run([*command, tmp_path / name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=4 * PATIENCE)

    return start


def test_it_pushes(host, run):
    with connect("127.0.0.1", host.port, "/room/lobby") as ws:
        ws.roundtrip()
        done = run(TOKENS["publish"])
        assert done.returncode == 0 and done.stdout.strip() in ("1 have been told", '{"receivers":1}'), done.stdout
        assert ws.recv_text() == "from elsewhere"


def test_what_the_host_says_is_told(host, run):
    done = run("wrong-0123456789abcdef")
    assert done.returncode != 0 and "the token is wrong" in done.stdout, done.stdout


def test_every_language_is_here():
    assert [line[3:] for line in PAGE.read_text().splitlines() if line.startswith("## ")] == [*LANGUAGES, "What goes wrong"]
