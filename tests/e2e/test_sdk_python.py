"""The Python worker library, with the real host."""
import pytest

from presence_stories import *  # noqa: F401,F403
from sdk_stories import *  # noqa: F401,F403


@pytest.fixture
def kind():
    return "python"
