"""The exactly-once run (exactly_once.py): short in `make check`, a minute of kills and 20 seconds without workers in `make check-long`."""
import os

import exactly_once

LONG = "TOVA_LONG" in os.environ


def test_every_event_takes_effect_exactly_once(capfd):
    options = ["--clients", "200", "--kills", "60", "--away", "20"] if LONG else ["--clients", "60", "--kills", "8", "--away", "3"]
    with capfd.disabled():
        print()
        assert exactly_once.main(options) == 0


def test_nor_does_it_matter_that_workers_hang_and_deploys_come_and_go(capfd):
    options = ["--clients", "100", "--kills", "60"] if LONG else ["--clients", "20", "--kills", "6"]
    with capfd.disabled():
        print()
        assert exactly_once.main([*options, "--away", "1", "--reloads", "0.5", "--stops", "0.7"]) == 0
