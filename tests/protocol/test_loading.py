"""Loading plugins, and operator errors: exit code 2 and one sentence that says what is wrong."""
import os
import re
import shutil
import subprocess

import pytest

from probe import BUILD, Host, plugin
from tova_host import ROOT
from wsclient import connect

HOST = BUILD / "tova-host"


def run(*args, cwd=None):
    """The host where it can only end at once: (exit code, what it said)."""
    done = subprocess.run([str(HOST), "-l", "127.0.0.1:0", *map(str, args)], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, text=True)
    return done.returncode, done.stderr


def refused(*args, cwd=None):
    code, said = run(*args, cwd=cwd)
    assert code == 2, (code, said)
    assert "Sanitizer" not in said and "==" not in said
    return said


ABI = ".".join(re.search(rf"^#define TOVA_ABI_{part} (\d+)", (ROOT / "sdk/tova_plugin.h").read_text(), re.M).group(1) for part in ("MAJOR", "MINOR"))


# --- plugins that must be refused ---------------------------------------------------------------------------------------------

def test_another_major_version_names_both():
    said = refused("--plugin", plugin("bad_abi_major"))
    assert "bad_abi_major" in said and "2.0" in said and ABI in said, said


def test_a_newer_minor_version_names_both():
    said = refused("--plugin", plugin("bad_abi_minor"))
    assert "bad_abi_minor" in said and f"1.{int(ABI[2:]) + 7}" in said and ABI in said, said


@pytest.mark.parametrize("name, words", [
    ("bad_size", ["size"]), ("bad_no_symbol", ["tova_plugin_entry"]), ("bad_null_name", ["name"]), ("bad_null_version", ["version"]),
    ("bad_data_size", ["4096"]), ("bad_start", ["the database is closed on sundays"]), ("bad_start_silent", ["start"]),
    ("bad_undefined", ["tova_test_nobody_defines_this"])])
def test_bad_plugins(name, words):
    said = refused("--plugin", plugin(name))
    assert name in said, said
    for word in words:
        assert word in said, said


def test_files_that_are_no_plugins(tmp_path):
    text, empty, cut = tmp_path / "text.so", tmp_path / "empty.so", tmp_path / "cut.so"
    text.write_text("this is not a shared object\n" * 100)
    empty.write_bytes(b"")
    cut.write_bytes(plugin("probe").read_bytes()[:5000])
    for path in (text, empty, cut, tmp_path / "missing.so", tmp_path):
        said = refused("--plugin", path)
        assert path.name in said, said


def test_a_plugin_that_may_not_be_read(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = tmp_path / "secret.so"
    shutil.copy(plugin("silent"), path)
    path.chmod(0)
    assert "ermission" in refused("--plugin", path)


def test_a_bad_plugin_beside_good_ones():
    """All or nothing: the host does not start with half of its mounts."""
    assert "bad_start" in refused("--plugin", f"/a={plugin('silent')}", "--plugin", f"/b={plugin('bad_start')}", "--plugin", "/c=echo")


def test_settings_that_a_plugin_does_not_know():
    said = refused("--plugin", f"/a={plugin('probe_settings')}", "--plugin-set", "/a:greetin=x")
    assert "greetin" in said and "greeting" in said, said


def test_bare_names(tmp_path):
    shutil.copy(plugin("silent"), tmp_path / "mine.so")
    for name in ("mine", "mine.so", "./mine.so", "echo"):
        with Host("--plugin", name, cwd=tmp_path) as host:
            connect("127.0.0.1", host.port).end()
    said = refused("--plugin", "nowhere", cwd=tmp_path)
    assert "nowhere" in said and "plugins" in said, said


# --- operator errors ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, words", [
    (["--nonsense"], ["nonsense"]),
    (["--max-mesage", "1m"], ["max-mesage", "max-message"]),
    (["--max-message"], ["max-message"]),
    (["--max-message", "1x"], ["max-message", "1x"]),
    (["--max-message", "1"], ["max-message"]),
    (["--max-message", "99999g"], ["max-message"]),
    (["--max-message", "-5"], ["max-message"]),
    (["--idle-timeout", "10parsecs"], ["idle-timeout", "10parsecs"]),
    (["--log-level", "loud"], ["loud", "debug"]),
    (["--origin", "not an origin"], ["not an origin"]),
    (["--plugin", "/a=echo", "--plugin", "/a=echo"], ["/a"]),
    (["--plugin", "/a=echo", "--plugin", "/a/=echo"], ["/a"]),
    (["--plugin", "/a="], ["/a"]),
    (["--plugin", "/a=echo", "--plugin-set", "/b:x=1"], ["/b"]),
    (["--plugin", "/a=echo", "--plugin-set", "novalue"], ["novalue"]),
    (["--plugin", "echo", "--static", "/nonexistent/folder"], ["/nonexistent/folder"]),
    (["--plugin", "echo", "--config", "/nonexistent/file"], ["/nonexistent/file"]),
    (["--plugin", "echo", "-l", "127.0.0.1"], ["127.0.0.1"]),
    (["--plugin", "echo", "-l", "127.0.0.1:99999"], ["99999"]),
    (["--plugin", "echo", "-l", "example.invalid:80"], ["example.invalid"]),
    (["--plugin", "echo", "stray"], ["stray"]),
])
def test_bad_usage(args, words):
    said = refused(*args)
    for word in words:
        assert word in said, said


def test_an_address_in_use():
    with Host("--plugin", "echo") as host:
        code, said = run("--plugin", "echo", "-l", f"127.0.0.1:{host.port}")
        assert code in (1, 2) and str(host.port) in said and "in use" in said, said


def test_a_folder_without_permission_for_a_socket():
    code, said = run("--plugin", "echo", "-l", "unix:/nonexistent/folder/socket")
    assert code in (1, 2) and "/nonexistent/folder/socket" in said


def test_a_stale_unix_socket_is_replaced_and_one_in_use_is_not(tmp_path):
    path = tmp_path / "s"
    with Host("--plugin", "echo", listen=f"unix:{path}") as host:
        code, said = run("--plugin", "echo", "-l", f"unix:{path}")
        assert code in (1, 2) and str(path) in said
        with connect(f"unix:{path}") as ws:
            ws.end()
        host.kill()
    assert path.exists()
    with Host("--plugin", "echo", listen=f"unix:{path}"):
        connect(f"unix:{path}").end()
    assert not path.exists()


def test_a_file_in_the_place_of_a_socket_is_not_deleted(tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    code, said = run("--plugin", "echo", "-l", f"unix:{path}")
    assert code in (1, 2) and path.read_text() == "precious"


def test_check_says_all_that_is_wrong():
    code, said = run("--plugin", "echo", "--max-message", "x", "--idle-timeout", "y", "--check")
    assert code == 2 and "max-message" in said and "idle-timeout" in said, said


def test_check_loads_the_plugins():
    assert run("--plugin", plugin("silent"), "--check")[0] == 0
    for name in ("bad_abi_major", "bad_undefined", "bad_no_symbol"):
        code, said = run("--plugin", plugin(name), "--check")
        assert code == 2 and name in said, said


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_information(option):
    done = subprocess.run([str(HOST), option], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, text=True)
    assert done.returncode == 0 and "tova-host" in done.stdout and not done.stderr
