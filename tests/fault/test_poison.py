"""One message that kills its workers, among others that do not (poison.py)."""
import os

import poison

LONG = "TOVA_LONG" in os.environ


def test_a_poisonous_message_is_set_aside(capfd):
    with capfd.disabled():
        print()
        assert poison.main(["--messages", "100000" if LONG else "10000"]) == 0
