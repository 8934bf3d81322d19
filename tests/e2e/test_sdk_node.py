"""The JavaScript worker library, with the real host, in Node.js and, where it is there, in Bun."""
import pytest

from example_workers import KINDS
from presence_stories import *  # noqa: F401,F403
from sdk_stories import *  # noqa: F401,F403


@pytest.fixture(params=[kind for kind in KINDS if kind in ("node", "bun")])
def kind(request):
    return request.param
