"""``pytest tests/yamux --hypothesis-profile=nightly`` runs the state machine 5,000 times, 200 steps each."""

from __future__ import annotations

import pytest
from hypothesis import settings

from stronghold_p2p.yamux import receiver, session
from tests.yamux.wire import Bounds

settings.register_profile("nightly", max_examples=5_000, stateful_step_count=200, deadline=None)


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> Bounds:
    """Sets constants of ``session`` and ``receiver``: ``bounds(PONGS=320)``."""

    def set_bounds(**values: float) -> None:
        for name, value in values.items():
            monkeypatch.setattr(receiver if name == "EMPTY_FRAMES" else session, name, value)

    return set_bounds
