import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from fake_host import FakeHost  # noqa: E402


@pytest.fixture(params=["ipc", "tcp"])
def host(request):
    with FakeHost(request.param == "ipc") as running:
        yield running
