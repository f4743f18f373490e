"""The arena for the short form of each row; the full form is ``make hostile``."""

from __future__ import annotations

import sys

import pytest

from harness.process import Patience
from tests.hostile.arena import Arena

BUSY = 12.0  # a row that holds does not wait for it; only one that fails takes longer


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch) -> Arena:
    if sys.platform != "linux":
        pytest.skip("the figures of a process are read from /proc, and its sources are all of 127/8: Linux")
    monkeypatch.setattr(Patience, "factor", BUSY)
    return Arena(full=False)
