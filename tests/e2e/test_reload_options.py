"""What HUP does with each option: what holds at once, with the next worker, with a restart, and that it is said, compared with what runs."""
import json
import os
import re
import shutil
import subprocess

import pytest

from control import workers
from probe import KINDS, kind_args, plugin
from raw_worker import RawWorker
from tova_host import BUILD, IMPATIENT, Host, wait_until
from wsclient import connect, refused

SENTENCES = {"at once": "an option changed", "next worker": "an option changes with the next worker",
             "restart": "an option changes only with a restart"}


class Config:
    """A config file that is written again and read on HUP."""

    def __init__(self, path, **settings):
        self.path, self.settings = path, settings
        self.write()

    def write(self, **settings):
        self.settings.update(settings)
        self.path.write_text("".join(f"{k.replace('_', '-')} = {v};\n" for k, v in self.settings.items() if v is not None))

    def reload(self, host, **settings):
        """Returns what the host said about it."""
        self.write(**settings)
        mark = host.reload()
        host.wait_log(lambda line: line.get("message") in ("the settings were read again", "the settings are wrong, the old ones go on"),
                      "that they were read", after=mark)
        return [line for line in host.lines[mark:] if line.get("kind") == "reload"]


def changes(lines):
    """Of the options that the lines name: what is said about them."""
    return {line["option"]: line for line in lines if "option" in line and line["message"] in SENTENCES.values()}


def string(text):
    return f'"{text}"'


def table():
    """Each option as the program lists it: its name, argument, text, and what HUP does."""
    text = subprocess.run([str(BUILD / "tova-host"), "--help-markdown"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for row in text.splitlines()[2:]:
        cells = re.split(r"(?<!\\)\|", row)
        name, _, argument = re.search(r"`--([a-z-]+)( ([^`]*))?`", cells[1]).groups()
        yield name, argument, cells[2].replace("\\", "").strip(), cells[3].strip()


def another_value(argument, text):
    """One that is not the default, as the config file has it; None: it is no number, word or flag."""
    if argument is None:
        return "true"
    limits = re.search(r"\((\S+) to ([^;,)]+)[^()]*; default (\S+)\)", text)
    if limits:
        least, most, default = limits.groups()
        if "/" in argument:
            return '"7/1s"' if argument == "N/TIME" else None
        return string(most if default == least else least)
    words = re.search(r"\(([a-z0-9., -]+) or ([a-z0-9.-]+); default (\S+)\)", text)
    if words and not argument.startswith("["):
        return string(next(w for w in [*words[1].split(", "), words[2]] if w != words[3]))
    return None


def test_each_option_is_told_as_the_table_says(tmp_path):
    """All numbers, words and flags of the table in one file."""
    config = Config(tmp_path / "config")
    given = {"log-format", "listen", "drain", "threads", "log-level"}  # on the command line of this test's hosts, or hides the lines
    with Host("--config", config.path, "--plugin", "echo") as host:
        values, when = {}, {}
        for name, argument, text, column in table():
            value = another_value(argument, text)
            if value is not None and column != "-" and name not in given:
                values[name], when[f"--{name}"] = value, column
        assert len(values) > 35 and len(set(when.values())) == 3
        told = changes(config.reload(host, **values))
        assert {option: told[option]["message"] for option in told} == {option: SENTENCES[column] for option, column in when.items()}
        # Against what runs: what waits for a restart is said each time, the rest once.
        again = changes(config.reload(host))
        assert {o for o, column in when.items() if column == "restart"} == set(again)
        back = config.reload(host, **{name: None for name in values})
        assert {o for o, column in when.items() if column != "restart"} == set(changes(back))
        assert back[-1]["waiting_for_a_restart"] == 0


def test_what_waits_is_compared_with_what_runs(tmp_path):
    config = Config(tmp_path / "config", backlog=1, mount='( { path = "/a"; plugin = "echo"; } )')
    with Host("--config", config.path) as host:
        for _ in range(2):
            line = changes(config.reload(host, backlog=2, mount='( { path = "/b"; plugin = "echo"; } )'))
            assert (line["--backlog"]["runs"], line["--backlog"]["asked"], line["--backlog"]["level"]) == ("1", "2", "warn")
            assert line["--plugin"]["mount"] == "/b" and line["--plugin"]["message"] == SENTENCES["restart"]
            connect("127.0.0.1", host.port, "/a").end()
        assert changes(config.reload(host, backlog=1, mount='( { path = "/a"; plugin = "echo"; } )')) == {}


# --- workers ----------------------------------------------------------------------------------------------------------------------------


def test_clocks_attempts_and_the_dead_letter_file(tmp_path):
    """A worker that takes longer than the new --handler-timeout is cut off, and with one attempt only its event is set aside, in the new file."""
    config = Config(tmp_path / "config", handler_timeout='"1h"', ready_timeout='"1h"', max_attempts=3, dead_letter=string(tmp_path / "old"))
    url = f"ipc://{tmp_path}/attach"
    with Host("--config", config.path, "--attach", url, *IMPATIENT) as host, RawWorker(url).hello(events=["message"]) as worker:
        ws = connect("127.0.0.1", host.port)
        ws.send_text("poison")
        worker.expect("message")
        host.expect(lambda line: line.get("kind") == "quarantine")
        config.reload(host, handler_timeout='"100ms"', max_attempts=1, dead_letter=string(tmp_path / "new"))
        assert "--handler-timeout" in worker.receive()["error"]
        wait_until(lambda: (tmp_path / "new").exists() and "poison" in (tmp_path / "new").read_text(), "the letter in the new file")
        assert (tmp_path / "old").read_text() == ""
        silent = RawWorker(url)
        config.reload(host, ready_timeout='"100ms"')
        silent.expect_end(error="hello")
        ws.drop()


def test_a_dead_letter_file_that_can_not_be_had_is_not_taken(tmp_path):
    config = Config(tmp_path / "config", dead_letter=string(tmp_path / "old"), static=string(tmp_path))
    with Host("--config", config.path, "--plugin", "echo") as host:
        host.expect(lambda line: line.get("level") == "error")
        lines = config.reload(host, dead_letter=string(tmp_path / "no folder/x"), static=string(tmp_path / "none"))
        failed = {line["option"]: line["error"] for line in lines if line["level"] == "error"}
        assert failed == {"--dead-letter": "No such file or directory", "--static": "No such file or directory"}
        assert changes(config.reload(host, dead_letter=string(tmp_path / "old"), static=string(tmp_path))) == {}, "what runs is the old"
        assert set(changes(config.reload(host, dead_letter=None, static=None))) == {"--dead-letter", "--static"}
        assert set(changes(config.reload(host, dead_letter=string(tmp_path / "third")))) == {"--dead-letter"}
        assert (tmp_path / "third").exists()


def test_a_new_token_of_attached_workers(tmp_path):
    (tmp_path / "token").write_text("old secret\n")
    url = f"ipc://{tmp_path}/attach"
    config = Config(tmp_path / "config")
    with Host("--config", config.path, "--attach", url, "--attach-token", tmp_path / "token", *IMPATIENT) as host:
        there = RawWorker(url).hello("old secret", events=["message"])
        (tmp_path / "token").write_text("new secret\n")
        config.reload(host)
        with RawWorker(url) as stale:
            stale.send({"t": "hello", "v": 1, "token": "old secret", "events": []})
            stale.expect_end(error="token")
        RawWorker(url).hello("new secret", events=[]).bye()
        ws = connect("127.0.0.1", host.port)
        ws.send_text("x")
        there.ack(there.expect("message"), {"c": "send", "data": "y"})
        assert ws.recv_text() == "y", "who is attached stays"
        host.expect(lambda line: line.get("kind") == "reload" and "token" in line["message"])
        (tmp_path / "token").write_text("\n")
        config.reload(host)
        RawWorker(url).hello("new secret", events=[]).bye()
        there.drop()
        ws.drop()


@pytest.mark.parametrize("option, good, bad", [("log-file", "one", "none/x"), ("access-log", "one", "none/x"), ("static", "folder", "none"), ("dead-letter", "one", "none/x"),
                                               ("jwt-key", "key", "short"), ("attach-token", "token", "none")])
def test_what_can_not_be_had_is_not_what_runs(tmp_path, option, good, bad):
    """Each reload tells the same of it, and says that the good one runs; with that, nothing has changed."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "key").write_text("x" * 40)
    (tmp_path / "short").write_text("x")
    (tmp_path / "token").write_text("secret\n")
    os.chmod(tmp_path / "key", 0o600)
    config, log = Config(tmp_path / "config"), tmp_path / "one"
    key = option.replace("-", "_")
    if option != "log-file":  # which takes the lines away that a start waits for
        config.write(**{key: string(tmp_path / good)})
    with Host("--config", config.path, "--plugin", "/echo=echo", "--attach", f"/a=ipc://{tmp_path}/attach") as host:
        def lines():
            return [json.loads(line) for line in log.read_text().splitlines()] if option == "log-file" else list(host.lines)

        def reload(value):
            mark = len(lines())
            config.write(**{key: string(tmp_path / value)})
            host.signal(1)
            wait_until(lambda: any(line["message"] == "the settings were read again" for line in lines()[mark:]), "it is reloaded")
            return lines()[mark:]

        host.expect(lambda line: line.get("kind") == "reload")
        if option == "log-file":
            config.write(log_file=string(log))
            host.signal(1)
            wait_until(lambda: log.exists() and "read again" in log.read_text(), "the log in a file")
        for _ in range(2):
            said = reload(bad)
            told = {(line["option"], line["runs"], line["asked"]) for line in said if line["message"] == "an option changed"}
            assert told == {(f"--{option}", str(tmp_path / good), str(tmp_path / bad))}
            assert any(line["level"] == "error" for line in said)
        assert not any("changed" in line["message"] for line in reload(good)), "the good one ran all the time"


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_whose_file_is_the_same_is_left_alone(tmp_path, kind):
    """By what is in it: a file that was written again, with the same bytes, is the same; another setting is not."""
    library = tmp_path / "probe.so"
    shutil.copy(plugin("probe"), library)
    mount = '( { path = "/"; plugin = "%s"; plugin-set = { greeting = "%s"; }; } )'
    config = Config(tmp_path / "config", mount=mount % (library, "hello"))
    stops = lambda host: sum("probe 1.0 stops" in str(line) for line in host.lines)  # noqa: E731
    with Host("--config", config.path, "--control", tmp_path / "control", *kind_args(kind)) as host:
        running = lambda: sorted(w["pid"] for w in workers(tmp_path / "control"))  # noqa: E731
        before = wait_until(lambda: len(running()) == (kind != "plugin") and (running(), True), "it is ready")[0]
        for change in [lambda: None, lambda: shutil.copy(plugin("probe"), library), library.touch]:
            change()
            lines = config.reload(host, max_message=string("2k"))
            line = next(line for line in lines if line.get("mount") == "/")
            assert "left alone" in line["message"] and running() == before and stops(host) == 0
        config.reload(host, mount=mount % (library, "good bye"))
        wait_until(lambda: stops(host) == 1, "the old one's stop")
        if kind != "plugin":
            wait_until(lambda: running() and running() != before, "another worker")
            config.reload(host, workers=2)
            wait_until(lambda: len(running()) == 2, "two of them")


def test_half_a_plugin_is_not_taken_and_compared_with_what_runs(tmp_path):
    library, other = tmp_path / "probe.so", tmp_path / "half.so"
    shutil.copy(plugin("probe"), library)
    other.write_bytes(plugin("probe_v2").read_bytes()[:9000])
    mount = '( { path = "/"; plugin = "%s"; } )'
    config = Config(tmp_path / "config", mount=mount % library)
    with Host("--config", config.path) as host:
        host.expect(lambda line: line.get("level") == "error" and "the old one goes on" in line["message"])
        for _ in range(2):
            assert changes(config.reload(host, mount=mount % other))["--plugin"]["runs"] == str(library)
        lines = config.reload(host, mount=mount % library)
        assert changes(lines) == {} and any("left alone" in line["message"] for line in lines)


# --- scripts and the log ----------------------------------------------------------------------------------------------------------------


def test_scripts(tmp_path):
    """The next connection has the new command and framing; who is there keeps the process as it was started."""
    mount = '( { path = "/"; script = "%s"; } )'
    config = Config(tmp_path / "config", mount=mount % "echo one; exec cat", max_scripts=1)
    with Host("--config", config.path, *IMPATIENT) as host:
        old = connect("127.0.0.1", host.port)
        assert old.recv_text() == "one" and refused("127.0.0.1", host.port).status == 503
        lines = changes(config.reload(host, mount=mount % r"printf '\\0\\0\\0\\3two'; exec cat", max_scripts=2, script_binary="true"))
        assert {o: line["message"] for o, line in lines.items()} == {
            "--script": SENTENCES["next worker"], "--script-binary": SENTENCES["next worker"], "--max-scripts": SENTENCES["at once"]}
        new = connect("127.0.0.1", host.port)
        assert new.recv_binary() == b"two"
        old.send_text("still text")
        assert old.recv_text() == "still text"
        old.drop()
        new.drop()


def test_the_log_goes_on_in_another_file(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    config = Config(tmp_path / "config")
    with Host("--config", config.path, "--plugin", "echo") as host:
        config.write(log_file=string(one))
        host.signal(1)
        wait_until(lambda: one.exists() and "read again" in one.read_text(), "the log in a file")
        config.write(log_file=string(two))
        host.signal(1)
        wait_until(lambda: two.exists() and "read again" in two.read_text(), "the log in another")
        config.write(log_file=string(tmp_path / "none/x"))
        host.signal(1)
        wait_until(lambda: "the old one goes on" in two.read_text(), "that the old one goes on")
        lines = [json.loads(line) for line in two.read_text().splitlines()]
        assert next(line for line in lines if line["level"] == "error")["option"] == "--log-file"
        mark = len(host.lines)
        config.write(log_file=None)
        host.signal(1)
        host.wait_log(lambda line: line.get("message") == "the settings were read again", "the log is back", after=mark)
