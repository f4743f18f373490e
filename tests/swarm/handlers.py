"""Handlers and small clients that the tests of a swarm share."""

from __future__ import annotations

import asyncio

from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.streams.live import LiveStream

ECHO = "/echo/1.0.0"


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
