"""Connections inside streams of other connections, as relayed circuits will be, without a relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from multiaddr import Multiaddr

from stronghold_p2p.codes import GoAway
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.listeners import LiveListener
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.stream_wire import StreamWire
from stronghold_p2p.transport.upgrading import Dialed

INSIDE = "/nested/1.0.0"
PLACE = Multiaddr("/p2p-circuit")


def serve_inside(swarm: Swarm) -> None:
    """Take streams for ``INSIDE`` as wires, and what comes out of them as connections."""
    arrivals = LiveListener(swarm.listeners)

    async def accept(stream: LiveStream) -> None:
        wire = StreamWire(stream, PLACE, PLACE, swarm.loop.time)
        swarm.upgrader.accept(wire, arrivals)

    swarm.handle(INSIDE, accept)


async def dial_inside(swarm: Swarm, outer: LiveConnection) -> LiveConnection:
    """A connection to the same peer, inside a stream of ``outer``."""
    stream = await outer.open_stream(INSIDE, wait=True)
    dialed, token = Dialed(), swarm.gate.dial()
    swarm.upgrader.dial(StreamWire(stream, PLACE, PLACE, swarm.loop.time), outer.peer, dialed)
    return swarm.establish(await dialed.upgraded(), token, "out")


@asynccontextmanager
async def nested(one: Swarm, outer: LiveConnection, depth: int) -> AsyncIterator[LiveConnection]:
    """A connection ``depth`` levels inside ``outer``; the inner ones are closed first."""
    inside: list[LiveConnection] = []
    try:
        for _ in range(depth):
            outer = await dial_inside(one, outer)
            inside.append(outer)
        yield outer
    finally:
        for connection in reversed(inside):
            await connection.close(GoAway.NORMAL)
            await asyncio.sleep(0)


__all__ = ["INSIDE", "dial_inside", "nested", "serve_inside"]
