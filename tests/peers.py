"""Swarms and networks on the loopback interface, for tests of what runs over a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def swarm(seed: int, rule: Rule | None = Rule.ALLOW, **options: Any) -> AsyncIterator[Swarm]:
    """A swarm that listens, with a key made of ``seed``; ``rule`` is its default."""
    firewall = Firewall()
    if rule is not None:
        firewall.set(rule)
    one = Swarm(Identity.from_seed(bytes([seed]) * 32), firewall=firewall, **options)
    one.start()
    try:
        await one.listen(parse(LOOPBACK))
        yield one
    finally:
        await one.close()


async def connect(one: Swarm, other: Swarm) -> LiveConnection:
    """A new connection from ``one`` to ``other``, which ``other`` has, too."""
    connection = await one.dial(other.peer_id, other.addresses)
    await until(lambda: other.connections(one.peer_id))
    return connection


async def until(condition: Callable[[], object], patience: float = 5.0) -> None:
    """Wait for something that no event tells."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.002)


def saying(*pieces: bytes, close: bool = True) -> Callable[[LiveStream], Awaitable[None]]:
    """A handler that writes ``pieces`` and closes, or writes them and stays."""

    async def handler(stream: LiveStream) -> None:
        for piece in pieces:
            await stream.write(piece)
        if not close:
            await stream.read_to_end()
            await asyncio.Event().wait()

    return handler
