"""host/SECURITY.md says what is so: its config file is a good one, its options and defaults are those of the host, its files are there."""
import os
import re
import subprocess
import sys
from pathlib import Path

from certificates import Certificates
from tokens import Keys
from tova_host import BUILD, ROOT

PAGE = (ROOT / "host/SECURITY.md").read_text()
TABLE = subprocess.run([BUILD / "tova-host", "--help-markdown"], capture_output=True, text=True, check=True).stdout


def check(text, folder):
    """With files of its own in the place of those it names, and a program that is there."""
    (folder / "worker.mjs").touch()
    text = text.replace("/usr/bin/node", sys.executable)
    for path in set(re.findall(r'[":\s](/(?:etc/tova|run/tova|srv|var/lib/tova)/[^"\s]+)"', text)):
        text = text.replace(path, str(folder / Path(path).name))
    (folder / "tova-host.conf").write_text(text)
    return subprocess.run([BUILD / "tova-host", "--config", folder / "tova-host.conf", "--check"], capture_output=True, text=True, check=False)


def test_the_config_files_are_good(tmp_path):
    blocks = re.findall(r"```\n(listen = .*?)```", PAGE, re.S)
    assert len(blocks) == 2
    Keys(tmp_path).make("ec", "jwt")
    os.rename(Certificates(tmp_path).make("tls", "example.com").cert("tls"), tmp_path / "tls.pem")
    whole = blocks[0].replace('user = "tova";', 'user = "nobody";' if os.geteuid() == 0 else "")
    assert whole != blocks[0]
    done = check(whole, tmp_path)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    done = check(blocks[1] + "".join(whole.splitlines(keepends=True)[3:]), tmp_path)
    assert done.returncode == 0, done.stderr


def test_options_and_their_defaults():
    for name in set(re.findall(r"--([a-z][a-z0-9-]+)", PAGE)) - {"config"}:
        assert f"`--{name}" in TABLE, f"there is no --{name}"
    limits = re.findall(r"^\| `--([a-z-]+)` \| ([^ ]+) \|", PAGE, re.M)
    assert len(limits) > 10
    for name, default in limits:
        row = re.search(rf"`--{name} .*", TABLE).group(0)
        assert f"default {default})" in row or (default == "none" and "default" not in row), f"--{name}: {default} is not what {row} says"


def test_files_and_fuzz_targets_are_there():
    for name in set(re.findall(r"`((?:base|settings|ws|tls|net|auth|hub|threads|handler|ops|host/dist|sdk/common)/[a-z_./-]+)`", PAGE)):
        assert (ROOT / name).exists() or (ROOT / "host" / name).exists(), name
    rows = re.findall(r"^\|.*\.c`.*\| ((?:`[a-z0-9]+`(?:, )?)+) \|$", PAGE, re.M)
    targets = {name for row in rows for name in re.findall("`([a-z0-9]+)`", row)}
    have = {path.stem.removeprefix("fuzz_") for path in (ROOT / "tests/fuzz").glob("fuzz_*.c")}
    assert targets and targets <= have, f"listed and not there: {targets - have}"
