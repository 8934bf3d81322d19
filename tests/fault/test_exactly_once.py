"""The exactly-once run (exactly_once.py): short in `make check`, a minute of kills and 20 seconds without workers in `make check-long`."""
import os

import exactly_once

LONG = "TOVA_LONG" in os.environ


def test_every_event_takes_effect_exactly_once(capfd):
    options = ["--clients", "200", "--kills", "60", "--away", "20"] if LONG else ["--clients", "60", "--kills", "8", "--away", "3"]
    with capfd.disabled():
        print()
        assert exactly_once.main(options) == 0
