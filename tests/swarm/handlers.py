"""Alice, who serves, and a connection that bob has to her."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import ECHO, ask, connect, echo, never, now, stubborn, swallow, swarm

__all__ = ["ECHO", "ask", "echo", "never", "now", "pair", "stubborn", "swallow"]


@asynccontextmanager
async def pair(handler: Handler, protocol: str = ECHO) -> AsyncIterator[tuple[Swarm, LiveConnection]]:
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(protocol, handler)
        yield alice, await connect(bob, alice)
