"""Atomicity (atomic.py), for each kind of worker. `make check-long` runs many more deaths."""
import os

import atomic
import pytest

LONG = "TOVA_LONG" in os.environ


@pytest.mark.parametrize("kind, deaths", [("c", 10000 if LONG else 50), ("python", 300 if LONG else 20), ("node", 300 if LONG else 20)])
def test_all_commands_of_an_event_or_none(kind, deaths, capfd):
    with capfd.disabled():
        print()
        assert atomic.main(["--kind", kind, "--deaths", str(deaths)]) == 0
