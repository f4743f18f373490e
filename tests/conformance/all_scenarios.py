"""Every scenario, both ways."""

from __future__ import annotations

from typing import Final

from tests.conformance import crate_asks, ours_ask
from tests.conformance.scenario import Scenario

SCENARIOS: Final[tuple[Scenario, ...]] = (*ours_ask.SCENARIOS, *crate_asks.SCENARIOS)

VERSION: Final = "stronghold-p2p 0.4.2"
"""As its Cargo.toml pins it; the peer says the same of itself."""
