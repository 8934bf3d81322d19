"""An installed host: everything is where it belongs, and a plugin can be built with nothing else."""
import os
import shutil
import subprocess

import pytest

from conftest import PREFIX, ROOT, STAGE
from tova_host import Host
from wsclient import connect

# Its functions have names that the host uses inside.
PLUGIN = """
#include "tova_plugin.h"

int span_eq(void);
const char *session_id_text(void);

int span_eq(void)
{
	return 7;
}

const char *session_id_text(void)
{
	return span_eq() == 7 ? "mine" : "not mine";
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	(void)message;
	return tova_send(m, ws, session_id_text());
}

TOVA_PLUGIN = {TOVA_PLUGIN_HEAD("names", "1.0"), .on_message = on_message};
"""


class Installed(Host):
    def __init__(self, *args):
        super().__init__(*args)
        self.binary = PREFIX / "bin" / "tova-host"


def modes(folder):
    """{path below the stage: mode}"""
    return {str(p.relative_to(folder)): p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()}


def test_every_file_is_there():
    plugins = sorted(p.stem for p in (ROOT / "plugins").glob("*.c"))
    expected = {"bin/tova-host": 0o755, "include/tova_plugin.h": 0o644, "share/man/man1/tova-host.1": 0o644,
                "share/pkgconfig/tova-plugin.pc": 0o644, "lib/systemd/system/tova-host.service": 0o644}
    expected.update({f"lib/tova/plugins/{name}.so": 0o644 for name in plugins})
    there = modes(PREFIX)
    assert {name: there.get(name) for name in expected} == expected


def test_no_place_of_the_build_is_left():
    prefix = "/" + str(PREFIX.relative_to(STAGE))
    unit = (PREFIX / "lib/systemd/system/tova-host.service").read_text()
    assert f"ExecStart={prefix}/bin/tova-host " in unit
    for name in ("share/pkgconfig/tova-plugin.pc", "share/man/man1/tova-host.1"):
        text = (PREFIX / name).read_text()
        assert prefix in text and str(STAGE) not in text and "@" not in text.replace("\\(", "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_keeps_what_it_can_from_the_host():
    unit = str(PREFIX / "lib/systemd/system/tova-host.service")
    said = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=25", unit], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert not any(word in verified.stderr for word in ("Unknown", "Failed to parse", "Invalid")), verified.stderr


def test_it_runs():
    with Installed("--plugin", PREFIX / "lib/tova/plugins/echo.so") as host, connect("127.0.0.1", host.port, "/") as ws:
        ws.send_text("hello")
        assert ws.recv_text() == "hello"


def test_a_plugin_is_built_with_pkg_config(tmp_path):
    env = {**os.environ, "PKG_CONFIG_PATH": str(PREFIX / "share/pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": str(STAGE)}
    flags = subprocess.run(["pkg-config", "--cflags", "tova-plugin"], env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    source, library = tmp_path / "names.c", tmp_path / "names.so"
    source.write_text(PLUGIN)
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", *flags, str(source), "-o", str(library)], check=True)
    with Installed("--plugin", library) as host, connect("127.0.0.1", host.port, "/") as ws:
        ws.send_text("whose?")
        assert ws.recv_text() == "mine"
