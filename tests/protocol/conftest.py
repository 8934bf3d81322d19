"""Hosts that the tests of a module share; a test that needs other options or breaks something starts its own."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from probe import KINDS, Host, Probe, kind_args, plugin  # noqa: E402


@pytest.fixture(scope="module")
def echo():
    """The echo plugin at every path, with a message limit that tests can reach."""
    with Host("--plugin", "echo", "--max-message", "256k", "--close-timeout", "2s") as host:
        yield host


@pytest.fixture(scope="module", params=KINDS)
def probe_host(request):
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin", f"/other={plugin('probe')}",
              "--plugin-set", "/probe:greeting=hello", *kind_args(request.param)) as host:
        yield host


@pytest.fixture
def probe(probe_host):
    with Probe(probe_host) as opener:
        yield opener


@pytest.fixture
def other(probe_host):
    """A second mount of the same plugin."""
    with Probe(probe_host, "/other") as opener:
        yield opener


@pytest.fixture(params=KINDS)
def quiet(request):
    """A probe of a test's own, whose log nobody floods: the host limits how often a kind of line comes."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin-set", "greeting=hello", *kind_args(request.param)) as host:
        with Probe(host) as opener:
            yield opener
