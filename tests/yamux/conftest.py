"""``pytest tests/yamux --hypothesis-profile=nightly`` runs the state machine 5,000 times, 200 steps each."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("nightly", max_examples=5_000, stateful_step_count=200, deadline=None)
