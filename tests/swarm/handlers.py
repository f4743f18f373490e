"""Handlers and small clients that the tests of a swarm share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.connection.owner import Handler
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import connect, swarm

ECHO = "/echo/1.0.0"


def now() -> float:
    """The loop's seconds, virtual where its time is."""
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def pair(handler: Handler, protocol: str = ECHO) -> AsyncIterator[tuple[Swarm, LiveConnection]]:
    """Alice, who serves ``protocol``, and a connection that bob has to her."""
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(protocol, handler)
        yield alice, await connect(bob, alice)


async def echo(stream: LiveStream) -> None:
    """Everything back, until the peer's FIN."""
    while piece := await stream.read():
        await stream.write(piece)


async def swallow(stream: LiveStream) -> None:
    """Read until the peer's FIN."""
    while await stream.read():
        pass


async def never(_stream: LiveStream) -> None:
    """Wait for ever, without reading."""
    await asyncio.Event().wait()


async def stubborn(_stream: LiveStream) -> None:
    """Wait, and go on waiting when cancelled, for a while."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(1.5)


async def ask(connection: LiveConnection, data: bytes = b"hello", protocol: str = ECHO) -> bytes:
    """One echoed message on a stream of its own."""
    async with await connection.open_stream(protocol) as stream:
        await stream.write(data)
        stream.finish()
        return await stream.read_to_end(1 << 24)
