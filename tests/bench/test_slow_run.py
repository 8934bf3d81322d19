"""The run with members that read nothing, small: nobody else loses anything or is cut off, the right ones are, and what is held is bounded.
How long it takes says nothing here."""
import pytest

import slow

SMALL = ["--members", "150", "--stopped", "8", "--size", "8192", "--interval", "5", "--queue", "65536", "--warmup", "0.1", "--seconds", "1.2"]


@pytest.mark.parametrize("policy", slow.POLICIES.split(","))
def test_nobody_else_notices(policy):
    slow.run(policy, 8, slow.read_options(SMALL))
