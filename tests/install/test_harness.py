"""sdk/test/README.md and the pages of the libraries, followed with nothing but what is installed: the tests pass, and those of a wrong
handler do not."""
import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import PREFIX, ROOT, STAGE

NAMED = re.compile(r"`([\w./-]+\.(?:c|py|mjs))`[^`\n]*:\n\n```(?:\w+)\n(.*?)^```$", re.M | re.S)


def files(page, folder):
    for name, text in NAMED.findall((ROOT / page).read_text()):
        (folder / name).write_text(text)


def edit(file, old, new, last=False):
    text = file.read_text()
    assert old in text
    file.write_text(new.join(text.rsplit(old, 1)) if last else text.replace(old, new))


def run(*command, cwd, **env):
    return subprocess.run(command, cwd=cwd, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)


@pytest.mark.parametrize("old, new", [
    (None, None),
    ("if (message->len > 200)\n\t\treturn tova_fail", "if (message->len > 2000)\n\t\treturn tova_fail"),  # what should fail does not
    ('tova_cancel_timer(m, ws, "hint");', ""),
    ('"lobby", ws, "{', '"lobby", TOVA_NONE, "{'),
    ("tova_quote(m, message->data)", '(const char *)message->data'),
    ("me->said++;", "me->said += 2;"),
])
def test_a_plugin(tmp_path, old, new):
    files("sdk/test/README.md", tmp_path)
    if old:
        edit(tmp_path / "counter.c", old, new)
    env = {"PKG_CONFIG_PATH": str(PREFIX / "lib/pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": str(STAGE)}
    built = run("sh", "-c", re.search(r"^cc .*$", (ROOT / "sdk/test/README.md").read_text(), re.M).group(), cwd=tmp_path, **env)
    assert built.returncode == 0, built.stdout
    done = run("./counter_test", cwd=tmp_path)
    assert (done.returncode == 0) == (old is None), done.stdout


@pytest.mark.parametrize("old, new", [(None, None), ("exclude=ws", "exclude=None"), ('"lobby", f"somebody', '"lobbi", f"somebody'), ("ws.state = (", "ws.x = (")])
def test_a_worker_in_python(tmp_path, old, new):
    files("sdk/python/README.md", tmp_path)
    if old:
        edit(tmp_path / "hello.py", old, new)
    done = run(sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_hello.py", cwd=tmp_path, PYTHONPATH=str(ROOT / "sdk/python"))
    assert (done.returncode == 0) == (old is None), done.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("old, new", [(None, None), ("message, ws)", "message)"), ("?? 0) + 1", "?? 0) + 2")])
def test_a_worker_in_javascript(tmp_path, old, new):
    files("sdk/node/README.md", tmp_path)
    end, = re.findall(r"^```js\n(\};\n.*?)^```$", (ROOT / "sdk/node/README.md").read_text(), re.M | re.S)
    edit(tmp_path / "hello.mjs", "serve({", "export const handlers = {")
    edit(tmp_path / "hello.mjs", "});\n", end, last=True)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/tova").symlink_to(ROOT / "sdk/node")
    if old:
        edit(tmp_path / "hello.mjs", old, new)
    done = run("node", "--test", "hello.test.mjs", cwd=tmp_path)
    assert (done.returncode == 0) == (old is None), done.stdout


# --- a plugin and workers outside of the tree -----------------------------------------------------------------------------------

OUTSIDE = ROOT / "tests/install/outside"
sys.path.insert(0, str(OUTSIDE))
from wrong import COMMANDS, WRONG  # noqa: E402


@pytest.mark.parametrize("kind, old, new", [(kind, old, new) for kind, wrong in WRONG.items() for old, new in [(None, None), *wrong]])
def test_a_guest(tmp_path, kind, old, new):
    """Rollback, timers, away and back."""
    if kind == "mjs" and shutil.which("node") is None:
        pytest.skip("needs node")
    for file in OUTSIDE.glob(f"*.{kind}"):
        if file.name != "wrong.py":
            shutil.copy(file, tmp_path)
    if kind == "mjs":
        (tmp_path / "node_modules").mkdir()
        (tmp_path / "node_modules/tova").symlink_to(ROOT / "sdk/node")
    if old:
        edit(tmp_path / f"guest.{kind}", old, new)
    env = {"PKG_CONFIG_PATH": str(PREFIX / "lib/pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": str(STAGE), "PYTHONPATH": str(ROOT / "sdk/python")}
    *before, last = COMMANDS[kind]
    for command in before:
        built = run("sh", "-c", command, cwd=tmp_path, **env)
        assert built.returncode == 0, built.stdout
    done = run("sh", "-c", last, cwd=tmp_path, **env)
    assert (done.returncode == 0) == (old is None), done.stdout
