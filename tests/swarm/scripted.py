"""A transport and a resolver that do as a test has written: where addresses lead, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import NAMES
from stronghold_p2p.addressing.parse import parse, walk
from stronghold_p2p.errors import DialError, NameResolutionError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.resolving.nameservers.resolver import Resolver
from stronghold_p2p.resolving.resolved import Resolved
from stronghold_p2p.seams import Arrivals, Transport, TransportListener, Upgraded
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import now

HOLE, REFUSED = "hole", "refused"
Fate: TypeAlias = "str | Multiaddr"
"""Nobody ever answers, somebody refuses; or where it leads in truth."""


@dataclass
class Begun:
    """An attempt, or a look-up: when, whereto, and what else was told."""

    at: float
    address: str
    told: object = None


@dataclass
class Scripted:
    """In the place of a swarm's transports. ``takes_names``: as where a proxy looks names up."""

    tcp: Transport
    fates: dict[str, Fate] = field(default_factory=dict)
    otherwise: Fate = HOLE
    takes_names: bool = False
    relays: bool = False
    begun: list[Begun] = field(default_factory=list)
    in_flight: int = 0
    most: int = 0

    def handles(self, address: Multiaddr) -> bool:
        first = walk(bytes(address))[0].protocol
        relayed = "p2p-circuit" in str(address)
        return (self.relays or not relayed) and (self.takes_names or first not in NAMES)

    async def dial(self, address: Multiaddr, expected: PeerId | None, *, name: str = "") -> Upgraded:
        self.begun.append(Begun(now(), str(address), name))
        fate = self.fates.get(str(address), self.otherwise)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            if isinstance(fate, Multiaddr):
                return await self.tcp.dial(fate, expected)
            if fate == HOLE:
                await asyncio.sleep(5)
            raise DialError(f"{address}: Connection refused")
        finally:
            self.in_flight -= 1

    async def listen(self, address: Multiaddr, arrivals: Arrivals) -> TransportListener:
        return await self.tcp.listen(address, arrivals)

    def close(self) -> None:
        self.tcp.close()

    @property
    def order(self) -> list[str]:
        return [one.address for one in self.begun]


Answer: TypeAlias = "list[tuple[float, str]] | None"
"""After how many seconds from the last which address is found; None: never any."""


@dataclass
class ScriptedResolver:
    """In the place of a swarm's resolver. What it is not told does not exist."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    begun: list[Begun] = field(default_factory=list)
    cancelled: int = 0

    async def resolve(
        self,
        address: Multiaddr,
        *,
        peer: PeerId | None,
        given: bool = False,
        found: Callable[[Resolved], None] | None = None,
    ) -> tuple[Resolved, ...]:
        assert found is not None
        self.begun.append(Begun(now(), str(address), given))
        answer = self.answers.get(str(address), [])
        name, results = walk(bytes(address))[0].value.decode(), []
        try:
            if answer is None:
                await asyncio.Event().wait()
            for delay, text in answer or ():
                await asyncio.sleep(delay)
                results.append(Resolved(parse(text), name))
                found(results[-1])
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if not results:
            raise NameResolutionError(f"{address} leads nowhere: {name} does not exist")
        return tuple(results)

    async def close(self) -> None:
        """Nothing runs."""


def scripted(swarm: Swarm, otherwise: Fate = HOLE) -> Scripted:
    one = Scripted(swarm.transports[0], otherwise=otherwise)
    swarm.transports[:] = [one]
    return one


def names(swarm: Swarm, answers: Mapping[str, Answer]) -> ScriptedResolver:
    one = ScriptedResolver(answers)
    swarm.resolver = cast(Resolver, one)
    return one
