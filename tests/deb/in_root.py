"""What a clean root has to be able to do: the host as its unit starts it, as the user tova; with `handlers`, one of each kind."""
import base64
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile


def started(*args, user="tova"):
    """A host that has said READY=1, and where it is told."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o777)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(f"{folder}/notify")
    os.chmod(f"{folder}/notify", 0o666)
    notify.settimeout(30)

    def become():
        who = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(who.pw_gid)
        os.setuid(who.pw_uid)
    process = subprocess.Popen(["/usr/bin/tova-host", *args, "--control", f"{folder}/control", "--drain", "0"], preexec_fn=become, stderr=subprocess.PIPE,
                               text=True, env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": f"{folder}/notify", "XDG_RUNTIME_DIR": folder})
    until(process, notify, "READY=1")
    return process, notify


def until(process, notify, word):
    try:
        while not notify.recv(4096).decode().startswith(word):
            pass
    except socket.timeout:
        process.kill()
        sys.exit(f"no {word}: {process.stderr.read()}")


def stopped(process):
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read()
    if process.wait(30) != 0:
        sys.exit(f"the host ended with {process.returncode}: {said}")
    return said


def talk(port, path, text):
    """A WebSocket in a few lines: the answer to one message."""
    with socket.create_connection(("127.0.0.1", port), 30) as s:
        s.sendall((f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n").encode())
        reader = s.makefile("rb")
        assert b" 101 " in reader.readline()
        while reader.readline() != b"\r\n":
            pass
        s.sendall(bytes((0x81, 0x80 | len(text))) + bytes(4) + text.encode())
        head = reader.read(2)
        return reader.read(head[1]).decode()


def service():
    process, notify = started("--config", "/etc/tova/tova-host.conf")
    assert talk(8080, "/echo", "hello") == "hello"
    process.send_signal(signal.SIGHUP)
    until(process, notify, "RELOADING=1")
    until(process, notify, "READY=1")
    assert talk(8080, "/echo", "again") == "again"
    stopped(process)
    activated()


def activated():
    """Through systemd's own tool: the socket is there before the host is, which is started by the first client."""
    process = subprocess.Popen(["systemd-socket-activate", "-l", "127.0.0.1:8091", "--fdname=web", "/usr/bin/tova-host", "--listen", "systemd:web", "--plugin", "echo.so",
                                "--drain", "0"], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "Listening" in line:
            break
    heard = talk(8091, "/", "by socket")
    said = stopped(process)
    assert heard == "by socket", said


PLUGIN = """
#include <tova_plugin.h>
static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	return tova_sendf(m, ws, "C heard %s", tova_quote(m, message->data));
}
TOVA_PLUGIN = {TOVA_PLUGIN_HEAD("heard", "1.0"), .on_message = on_message};
"""
TEST = """
#include <assert.h>
#include <tova_test.h>
#include "heard.c"
int main(void)
{
	tova_test *t = tova_test_new(&tova_plugin_entry, NULL);
	tova_ws ws = tova_test_open(t, NULL);
	assert(tova_test_message(t, ws, "x") == 0 && tova_test_got(t, ws, "C heard \\"x\\""));
	tova_test_free(t);
	return 0;
}
"""
PYTHON = """
from tova import serve


def on_message(ws, message):
    ws.send(f"Python heard {message}")


if __name__ == "__main__":
    serve(globals())
"""
PYTHON_TEST = """
import worker
from tova.testing import Host
with Host(worker) as host:
    ann = host.connect()
    ann.send("x")
    assert ann.receive() == "Python heard x"
"""
TOVA = 'server { ws { on_message fn(ws, message) { ws.send("Tova heard {message}") } } }'
NODE = """
import { serve } from "/usr/share/nodejs/tova/index.mjs";
serve({ on_message(ws, message) { ws.send(`Node heard ${message}`); } });
"""


def handlers():
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    for name, text in (("heard.c", PLUGIN), ("heard_test.c", TEST), ("worker.py", PYTHON), ("worker_test.py", PYTHON_TEST), ("worker.mjs", NODE), ("heard.tova", TOVA)):
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)
    for command in ("cc -shared -fPIC heard.c -o heard.so $(pkg-config --cflags tova-plugin)",
                    "cc heard_test.c -o heard_test $(pkg-config --cflags --libs tova-test) && ./heard_test", "python3 worker_test.py"):
        subprocess.run(command, shell=True, cwd=folder, check=True)
    for options, wanted in ((["--plugin", f"{folder}/heard.so"], 'C heard "x"'), (["--plugin", f"{folder}/heard.so", "--isolate"], 'C heard "x"'),
                            (["--worker", f"python3 {folder}/worker.py"], "Python heard x"), (["--worker", f"node {folder}/worker.mjs"], "Node heard x"),
                            ([f"{folder}/heard.tova"], "Tova heard x"), ([f"{folder}/heard.tova", "--isolate"], "Tova heard x")):
        process, _ = started("-l", "127.0.0.1:8090", *options)
        heard = talk(8090, "/", "x")
        said = stopped(process)
        assert heard == wanted, f"{options}: {heard!r}\n{said}"
        assert not re.search(" error ", said), said
    shutil.rmtree(folder)


def guests(source):
    """A plugin and workers with their tests, and each of the faults that these are to find."""
    sys.path.insert(0, source)
    from wrong import COMMANDS, WRONG
    for kind, wrong in WRONG.items():
        for old, new in [(None, None), *wrong]:
            with tempfile.TemporaryDirectory() as folder:
                for name in os.listdir(source):
                    if name.endswith(f".{kind}") and name != "wrong.py":
                        shutil.copy(f"{source}/{name}", folder)
                if kind == "mjs":
                    os.mkdir(f"{folder}/node_modules")
                    os.symlink("/usr/share/nodejs/tova", f"{folder}/node_modules/tova")
                if old:
                    with open(f"{folder}/guest.{kind}") as file:
                        text = file.read()
                    assert old in text, (kind, old)
                    with open(f"{folder}/guest.{kind}", "w") as file:
                        file.write(text.replace(old, new))
                *before, last = COMMANDS[kind]
                for command in before:
                    subprocess.run(command, shell=True, cwd=folder, check=True)
                done = subprocess.run(last, shell=True, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
                assert (done.returncode == 0) == (old is None), (kind, old, done.stdout)
    with tempfile.TemporaryDirectory() as folder:  # a program that pushes links what the package brings
        with open(f"{folder}/push.c", "w") as file:
            file.write('#include <tova_client.h>\nint main(void) { return tova_client_connect == NULL; }\n')
        subprocess.run("cc push.c -o push $(pkg-config --cflags --libs tova-client)", shell=True, cwd=folder, check=True)


if __name__ == "__main__":
    {"handlers": handlers, "guests": lambda: guests(sys.argv[2])}.get("".join(sys.argv[1:2]), service)()
