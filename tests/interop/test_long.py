"""What takes its time with go-libp2p: 75 s of silence, and ping streams that end by the clock.

Everything runs at once in one test, so that the suite waits once; it comes first of all (tests/order.py).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stronghold_p2p.config import Timeouts
from stronghold_p2p.connection.live import LINGER
from stronghold_p2p.protocols import ping
from stronghold_p2p.streams.live import LiveStream
from tests.interop.names import ECHO
from tests.interop.our_peer import Pair, connected
from tests.interop.ways import ROLES, Role, newer
from tests.peers import until

SILENCE = 75.0
EVERY = 4.0
GO_IDLE = 10.0  # go closes a ping stream on which nothing came for so long ...
GO_WHOLE = 30.0  # ... and any ping stream after so long

DEFAULTS = Timeouts()
KEEPERS = {
    "defaults": DEFAULTS,
    "only go's pings": replace(DEFAULTS, keepalive=None),
    "ours every 5 s": replace(DEFAULTS, keepalive=5.0),
}


async def silence(pair: Pair) -> None:
    """Nothing but keep-alive for 75 s; then the same connection carries streams of both."""
    connection, peer = pair.connection, str(pair.ours.peer)
    await until(lambda: connection.streams == 0)
    held = await connection.open_stream(ECHO)
    await held.write(b"before")
    assert await held.readexactly(6) == b"before"
    await asyncio.sleep(SILENCE)
    await held.write(b"after")
    assert await held.readexactly(5) == b"after"
    held.close()
    assert (await pair.real.call("streams_sequential", peer=peer))["done"] == 1
    (seen,) = (await pair.real.call("connections", peer=peer))["connections"]
    assert newer(seen["remote_addr"]) == str(connection.local_address)
    assert pair.ours.swarm.connections() == (connection,)
    assert pair.ours.endings == []


async def kept_by(program: Path, role: Role, keeper: str) -> None:
    timeouts = KEEPERS[keeper]
    async with connected(program, role, timeouts=timeouts) as pair:
        await silence(pair)
        measured = pair.connection.latency
        assert measured is None or 0 < measured < 1.0
        if timeouts.keepalive == 5.0:
            assert measured is not None


async def once(stream: LiveStream) -> bool:
    """One ping on this stream; False when the other side has ended it."""
    message = bytes(range(ping.SIZE))
    await stream.write(message)
    answer = await stream.read(ping.SIZE)
    return answer == message


async def gos_clock(program: Path) -> None:
    """go ends a ping stream after 30 s whatever happens on it, and after 10 s of nothing."""
    async with connected(program, "ours dials") as pair:
        idle = await pair.connection.open_stream(ping.PING)
        busy = await pair.connection.open_stream(ping.PING)
        assert await once(idle)
        begin = time.monotonic()

        async def ended() -> float:
            assert await idle.read() == b""
            return time.monotonic() - begin

        waiting = asyncio.create_task(ended())
        while await once(busy):
            await asyncio.sleep(EVERY)
        took = time.monotonic() - begin
        assert GO_WHOLE - 1.0 < took < GO_WHOLE + 2 * EVERY
        assert GO_IDLE - 1.0 < await waiting < GO_IDLE + 3.0
        idle.close()
        busy.close()


async def we_ping_on(program: Path, role: Role) -> None:
    """Our own pings go on over the end of their stream."""
    async with connected(program, role) as pair:
        begin = time.monotonic()
        while time.monotonic() - begin < GO_WHOLE + 3 * EVERY:
            assert 0 < await pair.ours.ping.ping(pair.connection) < 1.0
            await asyncio.sleep(EVERY)
        assert pair.ours.endings == []


async def our_clock(program: Path) -> None:
    """A ping stream of go's on which no ping comes: we end our side after 30 s, and the stream soon after."""
    async with connected(program, "theirs dials") as pair:
        peer = str(pair.ours.peer)
        await until(lambda: pair.connection.streams == 0)
        begin = time.monotonic()
        assert (await pair.real.call("open_hold", peer=peer, protocol=ping.PING, no_echo=True))["done"] == 1
        await until(lambda: pair.connection.streams == 1)
        await until(lambda: pair.connection.streams == 0, patience=ping.IDLE + LINGER + 5.0)
        assert ping.IDLE - 1.0 < time.monotonic() - begin
        async with asyncio.timeout(5):  # the reset is on its way to go
            while (await pair.real.call("check_held", no_echo=True))["failed"] != 1:
                await asyncio.sleep(0.05)
        await pair.real.call("release")
        assert (await pair.real.call("ping", peer=peer, n=2))["rtt_us"]


@pytest.mark.long(80)
async def test_75_seconds_of_silence_and_the_clocks_of_ping(go: Path) -> None:
    async with asyncio.TaskGroup() as group:
        for role in ROLES:
            group.create_task(we_ping_on(go, role))
            for keeper in KEEPERS:
                group.create_task(kept_by(go, role, keeper))
        group.create_task(gos_clock(go))
        group.create_task(our_clock(go))
