"""The siege (siege.py): short in `make check`; 15,000 clients for five minutes in `make check-long`."""
import os

import pytest
import siege
from tova_host import BUILD

LONG = "TOVA_LONG" in os.environ
SANITIZED = any(mark in (BUILD / "tova-host").read_bytes() for mark in (b"__asan_init", b"__tsan_init"))


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's allocator can not be replaced")
def test_a_crowd_is_served_while_everything_around_it_goes_wrong(capfd):
    options = ["--clients", "15000", "--seconds", "300"] if LONG else ["--clients", "400", "--seconds", "5"]
    with capfd.disabled():
        print()
        assert siege.main(options) == 0
