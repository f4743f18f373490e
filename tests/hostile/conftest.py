"""The arena for the short form of each row; the full form is ``make hostile``."""

from __future__ import annotations

import sys

import pytest

from tests.hostile.arena import Arena


@pytest.fixture
def arena() -> Arena:
    if sys.platform != "linux":
        pytest.skip("the figures of a process are read from /proc, and its sources are all of 127/8: Linux")
    return Arena(full=False)
