"""host/PRODUCTION.md: what can be tried of it here is tried, and its figures are those of the benchmark."""
import re
import shutil
import subprocess

import pytest

from certificates import Certificates
from tova_host import BUILD, ROOT

PAGE = (ROOT / "host/PRODUCTION.md").read_text()


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(f"| {name}")).split("|")


def number(cell):
    return float(re.match(r" *([\d,.]+)", cell).group(1).replace(",", ""))


def near(said, measured):
    return abs(said - measured) <= 0.06 * measured


def test_the_figures_are_the_benchmarks():
    """Columns: per, bare, tova-host, C worker, ..."""
    bench = (ROOT / "README.md").read_text().split("<!-- bench -->")[1]
    idle = row(bench, "memory of an idle connection")
    said = row(PAGE, "an idle connection")[2]
    assert near(number(said), number(idle[4])) and near(float(re.search(r"handler ([\d.]+)", said).group(1)), number(idle[5]))
    assert near(1000 * float(re.search(r"TLS ([\d.]+) KB", said).group(1)), number(row(bench, "TLS: memory of an idle connection")[3]))
    assert near(number(row(PAGE, "a message there")[2]), number(row(bench, "echo, 100 connections")[4]))
    assert near(number(row(PAGE, "a message to 1,000")[2]), number(row(bench, "fan-out, 1,000 members, 64")[4]))
    assert near(number(row(PAGE, "connect, echo")[2]), number(row(bench, "connect, echo, close")[4]))
    assert near(float(re.search(r"TLS ([\d.]+)", row(PAGE, "connect, echo")[2]).group(1)), number(row(bench, "TLS: connect")[3]))


def test_its_options_are_there_with_the_defaults_that_it_says():
    said = subprocess.run([BUILD / "tova-host", "--help-markdown"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for option in set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--config", "--control"}:
        assert f"`{option}" in said, option
    for option, default in (("--start-attempts", "5"), ("--ready-timeout", "30s"), ("--max-buffered", "1g"), ("--hold-bytes", "64m"), ("--deflate-memory", "64m"),
                            ("--max-message", "16m"), ("--ping-interval", "25s"), ("--drain", "5s")):
        assert re.search(rf"`{option}[ `].*default {default}\b", said), option


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_haproxy_takes_its_settings(tmp_path):
    made = Certificates(tmp_path).make("site", "example.com")
    (tmp_path / "site.pem").write_text((tmp_path / "site.crt").read_text() + (tmp_path / "site.key").read_text())
    config = tmp_path / "haproxy.cfg"
    config.write_text(re.search(r"^```haproxy\n(.*?)^```", PAGE, re.M | re.S).group(1).replace("/etc/haproxy/site.pem", str(tmp_path / "site.pem")))
    done = subprocess.run(["haproxy", "-c", "-f", str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert made and done.returncode == 0, done.stdout


def test_the_files_that_it_names_are_installed():
    listed = (ROOT / "host/dist/dist.mk").read_text()
    for name in re.findall(r"share/tova/([\w.-]+)", PAGE):
        assert re.search(rf"^DIST_SHARE := .*\b{re.escape(name)}\b", listed, re.M), name
