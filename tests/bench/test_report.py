"""What the benchmark prints must be what it has measured, and a run that failed must not look like one that did not."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("TOVA_BUILD", "build")).resolve()
sys.path.insert(0, str(ROOT / "tests/bench"))

import figures  # noqa: E402
import growth  # noqa: E402
import readme  # noqa: E402
import run  # noqa: E402
from servers import Server  # noqa: E402


def test_cells_and_ratios():
    assert figures.cell([3.0, 1.0, 2.0]) == "2 (1–3)"
    assert figures.cell([1234.4]) == "1,234"
    assert figures.cell([]) == "-"
    assert figures.cell([1.0, None]) == "**FAILED**"
    # Of each round, not of the medians: 2, 2 and 8.
    assert figures.ratio([2.0, 20.0, 8.0], [1.0, 10.0, 1.0]) == "2.00"
    assert figures.ratio([2.0, None], [1.0, 1.0]) == figures.ratio([], []) == "-"


def test_rows_are_for_who_can_do_them():
    fork, far = Server("f", forks=True, most_idle=500), Server("p", publisher="/publish/bench")
    rows = {r.name: r for r in run.MAIN + run.EXTRA}
    assert rows["memory of an idle connection"].load_for(fork)[-1] == "500"
    assert rows["memory of an idle connection"].load_for(far)[-1] == "19900"
    assert "--forks" in rows["connect, echo, close"].load_for(fork) and "--forks" not in rows["connect, echo, close"].load_for(far)
    assert "--publisher" in rows["fan-out, 1,000 members, 1 in flight"].load_for(far)
    assert len({r.name for r in run.MAIN + run.EXTRA}) == len(run.MAIN + run.EXTRA)


def test_a_figure_that_was_not_measured_is_a_dash():
    results, (curve, *_) = growth.Results(), [c for c in growth.curves() if c.name == "rooms"]
    results.runs["rooms", "tova-host", 1] = [{"ok": True, "join_us": 0.5, "room_bytes": 0.0}]
    text = growth.curve_table(curve, [], results, [1])
    assert text.splitlines()[2].startswith("| 1 | 0.5 | ") and text.splitlines()[2].endswith(" - |")


def test_the_readme_has_a_place_for_each_table(tmp_path):
    text = readme.README.read_text(encoding="utf-8")
    (tmp_path / "t.md").write_text("| new \\1 |\n")
    for name in ("bench", "bench-reload"):
        changed = readme.put(text, name, tmp_path / "t.md")
        assert f"<!-- {name} -->\n| new \\1 |\n<!-- /{name} -->" in changed
        assert readme.put(changed, name, tmp_path / "t.md") == changed
    with pytest.raises(SystemExit):
        readme.put("nothing", "bench", tmp_path / "t.md")


def bench(script, folder, *more):
    command = ["/usr/bin/python3", "-B", ROOT / "tests/bench" / script, "--rounds", "1", "--seconds", "0.1", "--warmup", "0.05", "--out", folder,
               "--no-plots", *more]
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU for the server, one for the generator")
def test_a_run_from_one_end_to_the_other(tmp_path):
    done = bench("run.py", tmp_path, "--rows", "echo, 100 connections;a lone event", "--servers", "bare,tova-host")
    assert done.returncode == 0, done.stderr
    lines = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| echo, 100 connections")]
    assert all(float(figure) > 0 for figure in lines[0][3:5]) and float(lines[1][2]) > 0, done.stdout
    assert (tmp_path / "README-table.md").read_text() == done.stdout and "FAILED" not in done.stdout
    # The two rows of a lone event share a run.
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 4
    done = bench("growth.py", tmp_path, "--curves", "size", "--quick", "--servers", "bare")
    assert done.returncode == 0 and (tmp_path / "growth.md").read_text() == done.stdout, done.stderr


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU for the server, one for the generator")
def test_a_failed_run_fails_everything(tmp_path, monkeypatch, capsys):
    liar = Server("liar", {"echo": ["/bin/false"]})
    monkeypatch.setattr(run, "choose", lambda names: ([liar], []))
    monkeypatch.setattr(sys, "argv", ["run.py", "--rounds", "1", "--rows", "echo, 100", "--out", str(tmp_path), "--no-plots"])
    assert run.main() == 1
    assert "**FAILED**" in capsys.readouterr().out
    assert json.loads((tmp_path / "results.jsonl").read_text())["why"] == "the server does not answer"
