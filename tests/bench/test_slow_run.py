"""The run with members that read nothing, small: nobody else loses anything or is cut off, the right ones are, and what is held is bounded.
How long it takes says nothing here."""
import pytest

import slow
from patience import unhurried

# --interval and --seconds in units of the machine's patience: who is to read has to keep pace with them.
INTERVAL, SECONDS = 5, 1.2
SMALL = ["--members", "150", "--stopped", "8", "--size", "8192", "--queue", "65536", "--warmup", "0.1"]


@pytest.mark.parametrize("policy", slow.POLICIES.split(","))
@unhurried
def test_nobody_else_notices(policy, ms):
    slow.run(policy, 8, slow.read_options([*SMALL, "--interval", str(INTERVAL * ms.times), "--seconds", str(SECONDS * ms.times)]))
