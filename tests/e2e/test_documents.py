"""What stands in the code blocks of documents: by which tests it is run, and those of it that need no story of their own."""
import json
import re
import shlex
import shutil
import subprocess
from collections import Counter

import pytest

from control import ctl
from test_readme import BLOCK, blocks, commands
from tokens import Keys
from tova_host import BUILD, IMPATIENT, PATIENCE, ROOT, Host, wait_until
from tova_v1 import Client
from wsclient import connect

# Of each page: the kinds of its blocks with how many there are, and the tests that run them. Who adds a block adds its test.
RUN = {
    "README.md": ({"c": 2, "sh": 13, "tova": 1, "html": 2, "python": 1, "js": 2, "bash": 1, "text": 2, "": 4, "nginx": 1, "haproxy": 1, "conf": 1, "yaml": 1},
                  ["e2e/test_readme.py", "e2e/test_tova_recipes.py", "e2e/test_resume_browser.py", "interop/test_proxies.py", "install/test_install.py", "e2e/test_documents.py"]),
    "host/API.md": ({"sh": 5}, ["e2e/test_api_queries.py"]),
    "host/METRICS.md": ({"yaml": 1}, ["e2e/test_documents.py"]),
    "host/cluster/README.md": ({"": 1}, ["e2e/test_cluster.py"]),
    "host/PRODUCTION.md": ({"sh": 1, "nginx": 1, "haproxy": 1, "caddy": 1},
                           ["deb/clean_root.sh", "interop/test_proxies.py", "e2e/test_production_page.py", "e2e/test_documents.py"]),
    "host/SECURITY.md": ({"": 2}, ["e2e/test_security_page.py"]),
    "sdk/PUSHING.md": ({"sh": 2, "php": 1, "ruby": 1, "go": 1}, ["e2e/test_pushing.py"]),
    "sdk/README.md": ({"c": 9, "sh": 3, "": 1, "cpp": 1}, ["e2e/test_readme.py", "e2e/test_crash.py"]),
    "sdk/SCRIPTS.md": ({"bash": 1, "sh": 1, "python": 1, "": 1}, ["e2e/test_scripts.py", "e2e/test_documents.py"]),
    "sdk/c/README.md": ({"c": 2}, ["e2e/test_sdk_c.py", "e2e/test_sdk_readmes.py"]),
    "sdk/node/README.md": ({"js": 8, "sh": 1}, ["e2e/test_sdk_readmes.py", "install/test_harness.py", "e2e/test_documents.py"]),
    "sdk/python/README.md": ({"python": 7, "sh": 1, "js": 1}, ["e2e/test_sdk_readmes.py", "install/test_harness.py", "e2e/test_documents.py"]),
    "sdk/test/README.md": ({"c": 2, "sh": 1}, ["install/test_harness.py"]),
    "sdk/tova/README.md": ({"tova": 6, "sh": 1}, ["e2e/test_tova_recipes.py", "e2e/test_documents.py"]),
    "sdk/web/README.md": ({"js": 5, "html": 1, "sh": 1}, ["e2e/test_web_browser.py", "e2e/test_documents.py"]),
    "sdk/web/TOVA-V1.md": ({"": 3}, ["e2e/test_documents.py"]),
    "tests/README.md": ({"sh": 1, "python": 1}, ["e2e/test_readme.py"]),
}
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.md") if not {"build", "node_modules"} & set(path.relative_to(ROOT).parts))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run(page):
    kinds = dict(Counter(kind for kind, _ in BLOCK.findall((ROOT / page).read_text())))
    wanted, tests = RUN.get(page, ({}, []))
    assert kinds == wanted, f"{page} has other blocks than test_documents.py knows: run each in a test, and write it down there"
    assert all((ROOT / "tests" / test).exists() for test in tests)


def headings(path):
    text = BLOCK.sub("", path.read_text())
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", path.read_text())):
        if target.startswith("http"):
            continue
        file, _, heading = target.partition("#")
        where = path.parent / file if file else path
        assert where.exists(), target
        assert not heading or heading in headings(where), target


def text_of(page):
    return (ROOT / page).read_text()


def first(page, kind, containing=""):
    return next(text for text in blocks(ROOT / page, kind) if containing in text)


def started(folder, command):
    """The host of a command line that a page shows, on a port of its own, in a folder with a checkout's."""
    for name, target in (("sdk", ROOT / "sdk"), ("examples", ROOT / "examples"), ("build", BUILD)):
        if not (folder / name).exists():
            (folder / name).symlink_to(target)
    name, *options = shlex.split(command)
    assert name in ("build/tova-host", "tova-host")
    return Host(*options, *IMPATIENT, cwd=folder)


# --- commands ---------------------------------------------------------------------------------------------------------------------


def test_the_first_program(tmp_path):
    """The command line of sdk/tova/README.md, in the folder where the program was saved."""
    (tmp_path / "chat.tova").write_text(blocks(ROOT / "sdk/tova/README.md", "tova")[0])
    command, = commands(ROOT / "sdk/tova/README.md")
    with started(tmp_path, command) as host, connect("127.0.0.1", host.port, "/") as ws:
        assert ws.recv_text() == "Welcome!"


def test_the_first_script(tmp_path):
    (tmp_path / "room.sh").write_text(first("sdk/SCRIPTS.md", "bash"))
    command, = commands(ROOT / "sdk/SCRIPTS.md")
    with started(tmp_path, command) as host, connect("127.0.0.1", host.port, "/") as ws:
        assert ws.recv_text() == "Hello! Say something."


def test_a_script_that_wants_to_know(tmp_path):
    """`events away back`, as SCRIPTS.md writes it."""
    line, = blocks(ROOT / "sdk/SCRIPTS.md", "")
    (tmp_path / "who.sh").write_text(f"echo '{line.strip()}' >&3\nwhile read -r line; do echo \"\\\"$(printf %s \"$line\" | tr -d '\\\"\\\\\\\\')\\\"\"; done\n")
    with started(tmp_path, "build/tova-host --resume 60s --script-lines json --script 'sh who.sh'") as host:
        c = Client(host.port)
        c.send("x")
        assert c.recv() == "x"
        c.drop()
        c.back()
        wait_until(lambda: c.recv().startswith("{back:"), "it is told that its client is back")


@pytest.mark.parametrize("page, file, kind", [("sdk/python/README.md", "hello.py", "python"), ("sdk/node/README.md", "hello.mjs", "js")])
def test_the_first_worker(page, file, kind, tmp_path, browse):
    """As it is typed, and then the lines for a browser's console."""
    (tmp_path / file).write_text(first(page, kind, "serve("))
    *before, command = commands(ROOT / page)
    for line in before:
        if shutil.which(line.split()[0]) is None:
            pytest.skip(f"needs {line.split()[0]}")
        (tmp_path / "sdk").symlink_to(ROOT / "sdk")
        subprocess.run(line + " --offline --no-audit", shell=True, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    with started(tmp_path, command) as host:
        page_of_host = browse(f"{host.url}")
        page_of_host.expect_console("")  # it says that there is no page
        connecting, saying = first(page, "js", "new WebSocket(").replace(":8080", f":{host.port}").splitlines()
        page_of_host.js(f"window.heard = []; const log = console.log; console.log = (text) => heard.push(text); {connecting}; return 0;")
        wait_until(lambda: page_of_host.js("ws.readyState") == 1, "it is open")
        page_of_host.js(f"{saying}; return 0;")
        wait_until(lambda: "you have said 1 things" in page_of_host.js("heard"), "an answer")


def test_ctl(tmp_path):
    """The lines of README.md, against a host with a worker."""
    (tmp_path / "worker.py").write_text(first("README.md", "python"))
    lines = first("README.md", "", "tova-ctl broadcast_to").splitlines()
    with started(tmp_path, f"build/tova-host --worker 'PYTHONPATH=sdk/python python3 worker.py' --control {tmp_path}/control") as host, connect("127.0.0.1", host.port, "/") as ws:
        assert ws.recv_text() == "Hello! Say something."
        said = [ctl(tmp_path / "control", *shlex.split(line)[1:]) for line in lines]
        assert ws.recv_text() == "Maintenance in ten minutes" and len(said) == 3


def test_a_host_for_pages_that_come_back(tmp_path):
    """README.md's and sdk/web/README.md's line for `--resume`."""
    for page, folder in (("README.md", "FOLDER"), ("sdk/web/README.md", "hello")):
        command = next(c for c in commands(ROOT / page) if "--resume" in c)
        (tmp_path / folder).mkdir()
        with started(tmp_path, command) as host:
            c = Client(host.port)
            assert c.welcome["session"] and c.welcome["keep_ms"] == 60000
            c.send("x")
            assert c.recv() == "x"
            c.drop()


def test_addresses_and_certificates(tmp_path):
    """README.md's line of options, which --check takes."""
    options = first("README.md", "", "-l 0.0.0.0:443").split()
    for name in ("site", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}.example", "-addext",
                        f"subjectAltName=DNS:{name}.example", "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"], check=True, stderr=subprocess.DEVNULL)
    done = subprocess.run([BUILD / "tova-host", "--plugin", BUILD / "plugins/echo.so", *(o.replace(":443", ":0").replace(":8080", ":0") for o in options), "--check"],
                          cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- settings of others -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
@pytest.mark.parametrize("page", ["README.md", "host/METRICS.md"])
def test_prometheus_takes_its_settings(page, tmp_path):
    (tmp_path / "tova.token").write_text("x" * 32)
    (tmp_path / "prometheus.yml").write_text(first(page, "yaml").replace("/etc/prometheus/tova.token", str(tmp_path / "tova.token")))
    done = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("caddy") is None, reason="needs caddy")
def test_caddy_takes_its_settings(tmp_path):
    (tmp_path / "Caddyfile").write_text(first("host/PRODUCTION.md", "caddy"))
    done = subprocess.run(["caddy", "adapt", "--adapter", "caddyfile", "--config", tmp_path / "Caddyfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "reverse_proxy" in done.stdout, done.stderr


# --- what a host says ---------------------------------------------------------------------------------------------------------------


def test_lines_of_the_log_are_such_lines():
    """Level and kind are in the tables, and what stands behind them is read as the host writes it."""
    kinds = set(re.findall(r"^\| `([\w.]+)` \| \w+ \|", text_of("README.md"), re.M))
    lines = [line for page in ("README.md", "sdk/README.md") for text in blocks(ROOT / page, "") for line in text.splitlines() if line.startswith("20")]
    assert len(lines) == 4
    for line in lines:
        level, kind, rest = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\w+) ([\w.]+): (.+)", line).groups()
        assert level in ("error", "warn", "notice", "info", "debug") and kind in kinds, line
        assert re.fullmatch(r"[^=]*?( [a-z_]+=(\"[^\"]*\"|\S+))*", rest), line


def test_what_tova_v1_says(tmp_path):
    """The messages that sdk/web/TOVA-V1.md shows have the members that a host sends, and its offers are taken."""
    offers, welcome, refused = blocks(ROOT / "sdk/web/TOVA-V1.md", "")
    shown, refusal = (json.loads(text.strip().removeprefix("\\u0001")) for text in (welcome, refused))
    one, two = (re.match(r"Sec-WebSocket-Protocol: (.*?)  ", line).group(1) for line in offers.splitlines())
    assert one == "tova.v1" and two == "tova.v1, tova.resume.TOKEN.17"
    Keys(tmp_path).make("ec", "jwt")
    with Host("--plugin", f"/open={BUILD}/plugins/echo.so", "--plugin", f"/closed={BUILD}/plugins/echo.so", "--resume", "60s", "--jwt-key", f"/closed={tmp_path}/jwt.pem",
              *IMPATIENT) as host:
        c = Client(host.port, "/open")
        assert set(c.welcome) == set(shown)
        c.drop()
        c.back()
        assert c.welcome["resumed"] is True
        c.drop()
        with connect("127.0.0.1", host.port, "/closed", subprotocols=("tova.v1",)) as ws:
            said = json.loads(ws.recv_text().removeprefix("\1"))
            assert said == refusal
            ws.expect_close(4401)


# --- pages and JavaScript -----------------------------------------------------------------------------------------------------------

WEB = "sdk/web/README.md"


def test_what_the_page_of_the_library_shows(tmp_path, browse):
    """Each of its blocks in a page that the host serves; the last is for Node.js."""
    opening, sending, losing, token, _ = blocks(ROOT / WEB, "js")
    (tmp_path / "page").mkdir()
    (tmp_path / "page/index.html").write_text(f"""<!doctype html><title>blocks</title><script type="module">
window.heard = [];
console.log = (text) => heard.push(text);
{opening}
window.socket = socket;
window.load = () => heard.push("loaded");
window.say = async () => {{ {sending} heard.push("sent"); }};
window.lose = () => {{ {losing} socket.onlost({{ messages: ["again"] }}); }};
window.withToken = async () => {{ window.fetch = async (path, how) => new Response(`${{how.method}}${{path}}`); {token} heard.push("with a token"); socket.close(); }};
</script>""")
    with Host("--plugin", f"/chat={BUILD}/plugins/echo.so", "--static", tmp_path / "page", "--resume", "60s", *IMPATIENT) as host:
        page = browse(host.url)
        page.expect_console("")
        wait_until(lambda: "Good morning" in (page.js("window.heard") or []), "what the first block sends comes back")
        page.js("say(); return 0;")
        wait_until(lambda: {'{"buy":"three apples"}', "sent"} <= set(page.js("heard")), "it was handled")
        page.js("lose(); return 0;")
        wait_until(lambda: {"loaded", "again"} <= set(page.js("heard")), "it was said again")
        page.js("withToken(); return 0;")
        wait_until(lambda: "with a token" in page.js("heard"), "the block with a token")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_library_in_node(tmp_path):
    """With a module `ws` that says what it is asked for."""
    modules = tmp_path / "node_modules"
    (modules / "ws").mkdir(parents=True)
    (modules / "ws/package.json").write_text('{"type": "module", "main": "index.mjs"}')
    (modules / "ws/index.mjs").write_text("export default class { constructor(url) { console.log(`connects to ${url}`); process.exit(0); } close() {} }\n")
    (modules / "tova-web").symlink_to(ROOT / "sdk/web")
    (tmp_path / "program.mjs").write_text(blocks(ROOT / WEB, "js")[-1])
    done = subprocess.run(["node", "program.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout == "connects to ws://127.0.0.1:8080/\n", done.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_a_token_from_a_browser(tmp_path):
    """README.md's line, with a WebSocket that says what it is asked for."""
    line = first("README.md", "js", "tova.jwt")
    (tmp_path / "line.mjs").write_text("const token = 'a.b.c';\nclass WebSocket { constructor(...what) { console.log(JSON.stringify(what)); } }\n" + line)
    done = subprocess.run(["node", "line.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert json.loads(done.stdout) == ["wss://example.com/chat", ["tova.jwt", "tova.jwt.a.b.c"]]
