"""An installed host: everything is where it belongs, and a plugin can be built with nothing else."""
import json
import os
import re
import shutil
import subprocess
import tarfile

import pytest

from conftest import PREFIX, ROOT, STAGE
from tova_host import BUILD, Host
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


def make(*words, code=0):
    """Standard output and error of make in the tree, which has to end with that code."""
    done = subprocess.run(["make", "--no-print-directory", f"BUILD={os.environ.get('TOVA_BUILD', 'build')}", *words], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")})
    assert done.returncode == code, done.stdout
    return done.stdout


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
                "lib/pkgconfig/tova-plugin.pc": 0o644, "lib/pkgconfig/tova-worker.pc": 0o644, "bin/tova-ctl": 0o755, "bin/tova-worker": 0o755,
                "share/man/man1/tova-ctl.1": 0o644, "lib/libtova-worker.a": 0o644, "include/tova_worker.h": 0o644,
                "lib/libtova-client.a": 0o644, "include/tova_client.h": 0o644, "lib/pkgconfig/tova-client.pc": 0o644, "lib/systemd/system/tova-host.service": 0o644,
                "share/bash-completion/completions/tova-ctl": 0o644, "share/tova/web/tova.js": 0o644, "share/tova/web/index.d.ts": 0o644,
                "lib/libtova-test.a": 0o644, "include/tova_test.h": 0o644, "lib/pkgconfig/tova-test.pc": 0o644}
    expected.update({f"share/tova/{name}": 0o644 for name in ("core-dump.conf", "grafana-dashboard.json", "logrotate.conf", "prometheus-rules.yml", "sysctl.conf", "tova-host.conf", "tova-host.socket")})
    expected["lib/sysusers.d/tova-host.conf"] = 0o644
    expected.update({f"lib/tova/plugins/{name}.so": 0o644 for name in plugins})
    there = modes(PREFIX)
    assert {name: there.get(name) for name in expected} == expected


def test_no_place_of_the_build_is_left():
    prefix = "/" + str(PREFIX.relative_to(STAGE))
    unit = (PREFIX / "lib/systemd/system/tova-host.service").read_text()
    assert f"ExecStart={prefix}/bin/tova-host " in unit
    for name in ("lib/pkgconfig/tova-plugin.pc", "lib/pkgconfig/tova-worker.pc", "lib/pkgconfig/tova-client.pc", "share/man/man1/tova-host.1"):
        text = (PREFIX / name).read_text()
        assert prefix in text and str(STAGE) not in text and not re.search("@[A-Z]+@", text)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_keeps_what_it_can_from_the_host():
    unit = str(PREFIX / "lib/systemd/system/tova-host.service")
    said = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", unit], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert not any(word in verified.stderr for word in ("Unknown", "Failed to parse", "Invalid")), verified.stderr
    assert not re.search(r"Command (?!\S*/tova-host )\S+ is not executable", verified.stderr), verified.stderr


def test_the_example_settings_are_good():
    said = subprocess.run([PREFIX / "bin/tova-host", "--config", PREFIX / "share/tova/tova-host.conf", "--check"], cwd=PREFIX / "lib/tova/plugins", capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_it_runs():
    with Installed("--plugin", PREFIX / "lib/tova/plugins/echo.so") as host, connect("127.0.0.1", host.port, "/") as ws:
        ws.send_text("hello")
        assert ws.recv_text() == "hello"


def test_a_plugin_is_built_with_pkg_config(tmp_path):
    env = {**os.environ, "PKG_CONFIG_PATH": str(PREFIX / "lib/pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": str(STAGE)}
    flags = subprocess.run(["pkg-config", "--cflags", "tova-plugin"], env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    source, library = tmp_path / "names.c", tmp_path / "names.so"
    source.write_text(PLUGIN)
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", *flags, str(source), "-o", str(library)], check=True)
    with Installed("--plugin", library) as host, connect("127.0.0.1", host.port, "/") as ws:
        ws.send_text("whose?")
        assert ws.recv_text() == "mine"


def test_uninstall_takes_away_what_install_brought(tmp_path):
    make("install", f"DESTDIR={tmp_path}")
    assert modes(tmp_path) == modes(STAGE)
    make("uninstall", f"DESTDIR={tmp_path}")
    assert modes(tmp_path) == {}


def test_nothing_is_compiled_by_install(tmp_path):
    """It may be root's, with another environment: what is there stays as it is, and what does not fit is refused with a sentence."""
    flags = BUILD / "flags"
    before = flags.read_text(), flags.stat().st_mtime_ns
    make("install", f"DESTDIR={tmp_path}", "CC=no-such-compiler")
    assert "build for that first, with make PREFIX=/opt" in make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt", code=2)
    assert "build first" in make("install", f"DESTDIR={tmp_path}", f"BUILD={tmp_path}/nothing", code=2)
    assert (flags.read_text(), flags.stat().st_mtime_ns) == before


def test_the_tarball_is_the_tree():
    version = re.search(r"^VERSION := (.*)", (ROOT / "Makefile").read_text(), re.M).group(1)
    tarball = BUILD / f"tova-host-{version}.tar.gz"
    assert subprocess.run(["sha256sum", "--check", f"{tarball.name}.sha256"], cwd=BUILD, stdout=subprocess.DEVNULL, check=False).returncode == 0
    with tarfile.open(tarball) as tar:
        names = tar.getnames()
        assert all(n.startswith(f"tova-host-{version}/") for n in names)
        for file in ("LICENSE", "Makefile", "host/main.c", "sdk/python/tova/__init__.py"):
            assert tar.extractfile(f"tova-host-{version}/{file}").read() == (ROOT / file).read_bytes()
    assert not any("/build/" in n or n.endswith(".pyc") for n in names)


def test_there_is_one_version():
    version = re.search(r"^VERSION := (.*)", (ROOT / "Makefile").read_text(), re.M).group(1)
    said = subprocess.run([PREFIX / "bin/tova-host", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    assert said[0] == f"tova-host {version}"
    assert said[1].startswith("features: ") and {"plugins", "workers", "scripts", "tls"} <= set(said[1].split())
    assert json.loads((ROOT / "sdk/node/package.json").read_text())["version"] == version
    for file in ("sdk/python/pyproject.toml", "sdk/python/tova/__init__.py"):
        assert f'version = "{version}"' in (ROOT / file).read_text().replace("__version__", "version")
