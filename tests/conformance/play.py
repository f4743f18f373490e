"""Plays scenarios: a node of the crate for each, a network of ours, and what both saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.conformance import crate_asks, ours_ask
from tests.conformance.crate_peer import crate_peer
from tests.conformance.recorder import Step, recorded
from tests.conformance.scenario import SETTLED, Scenario, Seen, Stage, our_side

SCENARIOS: Final = (*ours_ask.SCENARIOS, *crate_asks.SCENARIOS)
VERSION: Final = "stronghold-p2p 0.4.2"
"""Of the crate, as its Cargo.toml pins it; the peer says the same of itself."""

AT_A_TIME = 6
PATIENCE = 120.0


@dataclass(frozen=True)
class Played:
    """What came of a scenario, and what went over each connection and whether it is over.

    ``fault`` is an exception where it could not be played to its end.
    """

    scenario: Scenario
    seen: Seen
    tapes: list[tuple[list[Step], bool]] = field(default_factory=list)
    fault: str = ""

    @property
    def passed(self) -> bool:
        return not self.fault and self.scenario.met_by(self.seen)


@asynccontextmanager
async def stage(scenario: Scenario, program: Path) -> AsyncIterator[Stage]:
    """Both sides, which know each other's address."""
    setting = scenario.crate
    async with crate_peer(program, *setting.options()) as crate:
        crate.reactions = setting.reactions
        ours = our_side(scenario.ours, crate.peer)
        async with ours.network as network:
            peer = str(network.peer_id)
            await crate.call("address", peer=peer, addr=str(network.addresses[0]).partition("/p2p/")[0])
            if setting.peer_rule is not None:
                await crate.call("rule", peer=peer, rule=setting.peer_rule)
            await crate.call("manual", on=setting.manual)
            yield Stage(ours, crate, scenario.asker)


async def play(scenario: Scenario, program: Path) -> Played:
    try:
        async with asyncio.timeout(PATIENCE), stage(scenario, program) as both:
            tapes = recorded(both.ours.network)
            await scenario.play(both)
            await asyncio.sleep(SETTLED)
            seen = both.saw()
            ends = [connection.closed for connection in both.ours.opened]
            taped = [(list(tape.steps), ended) for tape, ended in zip(tapes, ends, strict=False)]
            return Played(scenario, seen, taped)
    except Exception as error:  # a scenario that breaks is one that fails; the others go on
        return Played(scenario, ("-", "-", "-"), fault=f"{type(error).__name__}: {error}")


async def play_all(scenarios: list[Scenario], program: Path) -> AsyncIterator[Played]:
    """Several at a time, as most of them only wait; told in their order."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(scenario: Scenario) -> Played:
        async with places:
            return await play(scenario, program)

    tasks = [asyncio.create_task(one(scenario)) for scenario in scenarios]
    for task in tasks:
        yield await task
