"""The Python worker library, with the real host."""
import pytest

from sdk_stories import *  # noqa: F401,F403


@pytest.fixture
def kind():
    return "python"
