"""The operator's side with the real program: options, the config file, --check, the manual page, and a log that nothing stops."""
import fcntl
import json
import os
import re
import signal
import subprocess

import pytest

from certificates import Certificates
from tova_host import BUILD, PATIENCE, ROOT, Host, wait_until
from wsclient import Stream, connect

HOST = BUILD / "tova-host"
F_SETPIPE_SZ = 1031


def run(*args, cwd=None):
    """The program where it ends by itself."""
    return subprocess.run([str(HOST), *map(str, args)], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, text=True)


@pytest.fixture
def started(tmp_path):
    """started(*args, stderr=...) runs a host that listens on a Unix socket, and returns once it does. For tests that want the
    log elsewhere than where Host reads it."""
    processes = []

    def start(*args, stderr=subprocess.DEVNULL):
        path = tmp_path / "socket"
        process = subprocess.Popen([str(HOST), "-l", f"unix:{path}", "-p", "echo", "--drain", "0", *map(str, args)], stderr=stderr,
                                   stdin=subprocess.DEVNULL, cwd=ROOT)
        processes.append(process)

        def answers():
            assert process.poll() is None, f"the host ended with {process.returncode}"
            try:
                Stream(f"unix:{path}").drop()
            except OSError:
                return False
            return True

        wait_until(answers, "the host listens")
        return process, f"unix:{path}"

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def echoes(address, port=None, path="/"):
    with connect(address, port, path) as ws:
        ws.send_text("hello")
        assert ws.recv_text() == "hello"


def ends_well(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


# --- what is printed --------------------------------------------------------------------------------------------------------------

def test_help_and_version():
    for option in ("--help", "-h"):
        done = run(option)
        assert done.returncode == 0 and not done.stderr and done.stdout.startswith("usage: tova-host")
    done = run("-V")
    assert done.returncode == 0 and re.match(r"tova-host \d+\.\d+\.\d+\nfeatures: ", done.stdout)


@pytest.mark.parametrize("args, sentence", [
    (["--max-message", "12x"], '--max-message: "12x" is not a size; expected a number with k, m or g, 1k to 1g'),
    (["--max-mesage=1k"], "--max-mesage: unknown option; did you mean --max-message?"),
    (["-l", "nowhere"], '--listen: "nowhere" is not an address; expected ADDR:PORT with a numeric address, [ADDR6]:PORT, PORT, unix:PATH or systemd:NAME, and '
     ',tls, ,tls=NAME, ,plain or ,proxy behind it or not'),
    (["-w", "/a=x", "-x", "/a=y"], '--script: "y": the mount /a already has a handler; expected one handler per mount'),
    (["-a", "/a=tcp://0.0.0.0:7"],
     '--attach: "tcp://0.0.0.0:7" can be dialled from other machines; expected an address of this one, --attach-token'),
    (["-p", "/a=echo", "-p", "/a/=echo"], '--plugin: "echo": the mount /a already has a handler; expected one handler per mount'),
])
def test_a_mistake_is_one_sentence(args, sentence):
    done = run(*args)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == f"tova-host: {sentence}\n"


def test_origins_are_checked():
    done = run("--origin", "https://good.example,example.com/path", "--check")
    assert done.returncode == 2 and '"example.com/path"' in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_mistakes_in_the_file_have_a_line(tmp_path):
    config = tmp_path / "tova.conf"
    config.write_text('drain = 1;\nmax-mesage = "1k";\nbacklog = 0;\n')
    done = run("-c", config)
    assert done.returncode == 2 and done.stderr == f"tova-host: {config}:2: max-mesage: unknown name; did you mean max-message?\n"
    done = run("-c", config, "--check")
    assert done.returncode == 2 and done.stderr.count("\n") == 2 and f"{config}:3: backlog:" in done.stderr


def test_clients_and_tova_ctl_at_one_socket(tmp_path):
    """--check and a start refuse it; by default the host does without a control socket then."""
    at = tmp_path / "tova.sock"
    for more in ([], ["--check"]):
        done = run("--plugin", "echo.so", "--listen", f"unix:{at}", "--control", at, *more)
        assert done.returncode == 2 and f"--control: {at}: clients connect there: --listen has it" in done.stderr
    with Host("--plugin", "echo", listen=f"unix:{at}", env={"XDG_RUNTIME_DIR": str(tmp_path)}) as host:
        line = host.wait_log(lambda line: "no control socket" in line.get("message", ""), "that it has none")
        assert "--listen has it" in line["error"]


def test_check_prints_a_file_that_reads_back(tmp_path):
    config = tmp_path / "tova.conf"
    first = run("-l", "[::1]:0", "-l", f"unix:{tmp_path}/a b", "-p", "/chat=chat", "-p", "echo", "--origin", "https://a.example",
                "--static", "examples", "--max-queue", "3m", "--isolate", "--workers", "3", "-w", "/w=exec cat", "-a", "/w=ipc:///tmp/w", "-x",
                "/x=echo \"$QUERY_STRING\"", "-a", "/y=tcp://127.0.0.1:0", "--hold-bytes", "1m", "--handler-timeout", "150ms", "--idle-timeout", "0", "--log-level", "debug", "--check")
    assert first.returncode == 0 and not first.stderr, first.stderr
    config.write_text(first.stdout)
    second = run("-c", config, "--check")
    assert second.returncode == 0 and second.stdout == first.stdout, second.stderr


def test_manual_page():
    # -o: the program as it is, whatever it was built with; -W: the page anew, since -o hides that the program is newer.
    make = ["make", "-s", "-C", str(ROOT), "-o", str(HOST), "-W", "host/dist/tova-host.1.in", f"BUILD={BUILD}", "dist-files"]
    page = subprocess.run(make, capture_output=True, text=True)
    assert page.returncode == 0, page.stderr
    text = (BUILD / "dist" / "tova-host.1").read_text()
    for option in re.findall(r"--[a-z-]+", run("--help").stdout):
        assert option.replace("-", "\\-") in text, option
    assert not re.search(r"@[A-Z_]+@", text)


def test_example_of_the_manual_page_is_a_config_file(tmp_path):
    text = (ROOT / "host/dist/tova-host.1.in").read_text()
    example = re.search(r"\.nf\n\.RS\n(listen.*?)\.RE\n", text, re.S).group(1).replace("\\-", "-")
    config = tmp_path / "tova.conf"
    config.write_text(example.replace("/run/tova/", f"{tmp_path}/"))
    done = run("-c", config, "--check")
    assert done.returncode == 0 and "interval-ms" in done.stdout, done.stderr


def test_table_of_the_readme_is_the_programs():
    readme = (ROOT / "README.md").read_text()
    assert run("--help-markdown").stdout in readme, "put the output of --help-markdown into README.md"
    assert run("--help-log-kinds").stdout in readme, "put the output of --help-log-kinds into README.md"


# --- the config file at work ------------------------------------------------------------------------------------------------------

def test_mounts_of_the_file_are_served(tmp_path):
    config = tmp_path / "tova.conf"
    config.write_text('mount = ( { path = "/one"; plugin = "echo"; }, { path = "/two/"; plugin = "echo"; } );\nmax-message = "1k";\n'
                      'listen = "127.0.0.1:1";\n')
    with Host("--config", config) as host:  # its own -l wins over port 1
        echoes("127.0.0.1", host.port, "/one")
        echoes("127.0.0.1", host.port, "/two/below")
        with Stream("127.0.0.1", host.port) as stream:
            stream.send(b"GET /three HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            assert stream.read_until(b"\r\n").startswith(b"HTTP/1.1 404 ")
        with connect("127.0.0.1", host.port, "/one") as ws:
            ws.send_text("x" * 1025)
            ws.expect_close(1009)
    with Host("--config", config, "--max-message", "2k", "--plugin", "/three=echo") as host:
        with connect("127.0.0.1", host.port, "/three") as ws:
            ws.send_text("x" * 2048)
            assert len(ws.recv_text()) == 2048


# --- the log ----------------------------------------------------------------------------------------------------------------------

def bad_request(address):
    """Something every host logs; with bytes that a terminal would obey."""
    with Stream(address) as stream:
        stream.send(b"GET /\x1b[31m\xff HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.read_until(b"\r\n").startswith(b"HTTP/1.1 400 ")


def test_log_file_and_rotation(started, tmp_path):
    log, old = tmp_path / "log", tmp_path / "log.1"
    process, address = started("--log-file", log, "--log-format", "json", "--log-level", "debug")
    echoes(address)
    wait_until(lambda: "conn.close" in log.read_text(), "the first connection's lines")
    log.rename(old)
    process.send_signal(signal.SIGUSR1)

    def goes_on():
        echoes(address)
        return log.exists() and "conn.open" in log.read_text()

    wait_until(goes_on, "lines in the new file")
    ends_well(process)
    for line in (old.read_text() + log.read_text()).splitlines():
        assert {"time", "level", "kind", "message"} <= set(json.loads(line)), line


@pytest.mark.parametrize("form", ["text", "json"])
def test_peers_can_not_forge_lines(started, tmp_path, form):
    log = tmp_path / "log"
    process, address = started("--log-file", log, "--log-format", form, "--log-level", "debug")
    before = len(log.read_text().splitlines())
    bad_request(address)
    wait_until(lambda: len(log.read_text().splitlines()) > before, "a line about the bad request")
    ends_well(process)
    data = log.read_bytes()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", data)
    data.decode()
    shape = r'\{"time":"[0-9TZ:.-]+","level":".*\}' if form == "json" else r"[0-9TZ:.-]+ (error|warn|notice|info|debug) [a-z.]+: .+"
    for line in data.decode().splitlines():
        assert re.fullmatch(shape, line), line


def test_full_disk(started):
    process, address = started("--log-file", "/dev/full", "--log-level", "debug")
    for _ in range(20):
        echoes(address)
    ends_well(process)


def test_reader_of_the_log_goes_away(started):
    process, address = started("--log-level", "debug", stderr=subprocess.PIPE)
    process.stderr.readline()
    process.stderr.close()
    process.stderr = None
    for _ in range(20):
        echoes(address)
    ends_well(process)


def test_reader_of_the_log_stands_still(started):
    """The loop must not wait for whoever reads the log; what was lost is told."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    process, address = started("--log-level", "debug", "--log-format", "json", stderr=writer)
    os.close(writer)
    for _ in range(200):
        echoes(address)
    with os.fdopen(reader, "rb") as stream:
        def told():
            echoes(address)
            return b'"lost":' in stream.read1(1 << 16)

        wait_until(told, "a line that tells how many were lost")
        ends_well(process)


def test_log_that_can_not_be_opened(tmp_path):
    for path in (tmp_path / "no" / "folder", tmp_path):
        done = run("-l", "127.0.0.1:0", "-p", "echo", "--log-file", path)
        assert done.returncode == 2 and str(path) in done.stderr and done.stderr.count("\n") == 1, done.stderr


# --- every option of the table ----------------------------------------------------------------------------------------------------


def table():
    """Each option as the program lists it: its name, its argument, its text."""
    for row in run("--help-markdown").stdout.splitlines()[2:]:
        cells = re.split(r"(?<!\\)\|", row)
        name, _, argument = re.search(r"`--([a-z-]+)( ([^`]*))?`", cells[1]).groups()
        yield name, (argument or "").replace("\\", ""), cells[2].replace("\\", "")


NONE = "/nowhere/none"
# Wrong values of what is no number, word or flag, and what has to stand beside them.
WRONG = {
    "emit-lua": [("", [])],
    "plugin": [("none", []), ("/=", []), ("/a b=x", []), (NONE, []), ("/dev/null", [])], "plugin-set": [("x", []), ("a b=1", []), ("nokey=1", [])],
    "worker": [("", []), ("/x=", [])], "script": [("", []), ("/x=", [])],
    "script-dir": [("", []), ("/x=", []), (NONE, []), ("/etc/passwd", [])], "attach": [("", []), ("tcp://0.0.0.0:1", []), ("/x=http://a", []), (f"/x=ipc://{NONE}", [])],
    "dead-letter": [("", []), (NONE, [])], "log-file": [("", []), (NONE, [])], "access-log": [("", []), (NONE, [])], "trace-file": [("", []), (NONE, [])], "trace-sample": [("", []), ("2", []), ("x", [])], "control": [("", []), (NONE, []), ("/dev/null", [])], "control-group": [("", []), ("no such group", [])],
    "static": [("", []), (NONE, [])], "config": [("", []), (NONE, []), ("/", [])],
    "attach-cert": [("", []), (NONE, ["--attach-key", NONE])], "attach-key": [("", [])], "attach-client-ca": [("", [])], "attach-token": [("", []), (NONE, []), ("/dev/null", [])],
    "tls-cert": [("", []), (NONE, []), ("/dev/null", [])], "tls-key": [("", []), (NONE, ["--tls-cert", "{cert}"])],
    "tls-client-ca": [("", []), (NONE, []), (NONE, ["--tls-cert", "{cert}"])],
    "listen": [("", []), ("x", []), ("127.0.0.1", []), ("127.0.0.1:99999", []), ("localhost6:1", []), ("unix:", []), (f"unix:{NONE}", []), ("unix:/dev/null", []), ("192.0.2.1:0", []),
               ("127.0.0.1:0,zzz", []), ("127.0.0.1:0,tls", [])],
    "api": [("", []), ("x", []), ("127.0.0.1", []), ("127.0.0.1:0,tls", []), ("127.0.0.1:0,proxy", []), ("unix:/dev/null", []), ("0.0.0.0:0", []), ("[::]:0", [])],
    "admin": [("", []), ("x", []), (f"unix:{NONE}", []), ("192.0.2.1:0", ["--api-token", "{token}"]), ("0.0.0.0:0", [])],
    "api-token": [("", []), ("x", []), ("all=x", []), ("publish=", []), ("publish@chat=x", []), (f"publish={NONE}", []), (f"publish={NONE}", ["--api", "127.0.0.1:0"]),
                  ("publish=/dev/null", ["--api", "127.0.0.1:0"]), ("read@/none={secret}", ["--api", "127.0.0.1:0"]), ("read={secret}", ["--api", "127.0.0.1:0"])],
    "api-host": [("", []), ("=", []), ("a.example:80", []), ("a b", [])], "health": [("", []), ("health", []), ("/a b", []), ("/a?b", [])],
    "origin": [("", []), ("a b", []), ("https://a.example,,https://b.example", [])], "trusted-proxy": [("", []), ("x", []), ("10.0.0.0/99", [])], "passenv": [("", []), ("A=B", [])],
    "subprotocol": [("", []), ("a b", []), ("a,,b", []), ("tova.v1", []), ("/none=x", []), ("/=a;b", [])],
    "host": [("", []), ("=", []), ("a.example,", []), ("a b", []), ("http://a.example", []), ("a.example:80", []), ("a.example,,b.example", [])],
    "jwt-key": [("", []), (NONE, []), ("/none=x", []), ("/dev/null", [])], "jwt-from": [("", ["--jwt-key", "{secret}"]), ("a,,b", ["--jwt-key", "{secret}"]), ("zzz", ["--jwt-key", "{secret}"]), ("header", [])],
    "jwt-audience": [("a", []), ("", ["--jwt-key", "{secret}"]), ("a,", ["--jwt-key", "{secret}"])],
    "jwt-issuer": [("a", []), ("", ["--jwt-key", "{secret}"]), (",a", ["--jwt-key", "{secret}"])], "user": [("nobody-of-that-name", []), ("", [])], "group": [("x", []), ("", [])],
    "cluster": [("", []), ("x", []), ("http://a", []), ("redis://h:0", []), ("unix://x", [])],
    "cluster-id": [("x", []), ("a b", ["--cluster", "redis://h"])], "cluster-prefix": [("x", []), ("a b", ["--cluster", "redis://h"])],
    "cluster-password": [("", []), (NONE, []), (NONE, ["--cluster", "redis://h"]), ("/dev/null", ["--cluster", "redis://h"])],
    "rate-limit": [("", []), ("x", []), ("5/1s,dorp", []), ("0/1s", []), ("/none=5/1s", [])], "slow-policy": [("zzz", []), ("/none=close", [])], "hold-bytes": [("x", []), ("1", []), ("/none=1m", [])],
}


def wrong_values(name, argument, text):
    if name in WRONG:
        return WRONG[name]
    if not argument:
        return [("=1", [])]
    if re.search(r"\d\S* to \d|[a-z0-9] or [a-z0-9]", text):  # a range, or words
        return [(value, []) for value in ("x", "", "-1", "99999999999999999999", "1.5.5")]
    return None


def complaint(words, value, name, done, check):
    """What is wrong with the way in which a wrong value was refused, or None."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("20")]  # the log
    mine = [line for line in lines if line.startswith(f"tova-host: --{name}: ")]
    said = {value, value.partition("=")[2] if value[:1] in ("=", "/") else value.partition("=")[0]}
    if done.returncode != 2 or done.stdout:
        return "it is not refused"
    if not mine or (len(lines) > 1 and not check):
        return "not one sentence that begins with its name"
    if not any(part in mine[0] for part in said - {""}) and value != "":
        return "the value is not said"
    if not re.search(r"expected|needs|no such|there is no|No such file|Is a directory|Not a directory|can not|is empty|it is no|has no setting|assign|no socket|not found", mine[0]):
        return "what was expected is not said"
    return None


def test_a_wrong_value_of_any_option_is_refused_by_its_name(tmp_path):
    """Exit code 2 and one sentence that names the option, the value, and what was expected or what the system says; --check says the same."""
    (tmp_path / "secret").write_bytes(bytes(range(40)))
    made = Certificates(tmp_path).make("good", "localhost")
    (tmp_path / "token").write_text("a-token-of-the-api\n")
    fill = {"{cert}": made.cert("good"), "{secret}": str(tmp_path / "secret"), "{token}": f"read={tmp_path / 'token'}"}
    problems = []
    for name, argument, text in table():
        cases = wrong_values(name, argument, text)
        assert cases, f"--{name}: say here which values are wrong"
        for value, beside in cases:
            value = value.replace("{secret}", fill["{secret}"])
            words = [f"--{name}{value}"] if value == "=1" else [f"--{name}", value]
            handler = ["-p", "dashboard"] if name == "plugin-set" else [] if name in ("plugin", "worker", "script", "script-dir", "attach") else ["-x", "cat"]
            before = [] if name == "listen" else ["-l", "127.0.0.1:0"]
            for check in ([], ["--check"]):
                done = run(*before, *handler, *(fill.get(w, w) for w in beside), *words, *check)
                why = complaint(words, value, name, done, check)
                problems += [f"{why}: {' '.join(words + check)}: {done.returncode} {done.stderr!r}"] if why else []
    assert not problems, "\n".join(problems)
