import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[3] / "tests/lib")]

from workers import Workers  # noqa: E402


@pytest.fixture(params=["ipc", "tcp"])
def host(request):
    with Workers(request.param == "ipc") as running:
        yield running
