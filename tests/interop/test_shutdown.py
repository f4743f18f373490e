"""Ends of connections with go-libp2p: told once on each side, without losses, leaks and complaints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from stronghold_p2p.codes import GoAway
from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.events.events import Ended, Opened
from stronghold_p2p.streams.live import LiveStream
from tests.interop.names import ECHO, HOLD, SINK
from tests.interop.our_peer import Pair
from tests.interop.ways import AT_ONCE, OURS_DIALS
from tests.peers import until

MIB = 1 << 20


async def we_close_the_connection(pair: Pair) -> None:
    await pair.connection.close()


async def we_close_everything(pair: Pair) -> None:
    await pair.ours.identify.close()
    await pair.ours.swarm.close()


async def they_close_the_connection(pair: Pair) -> None:
    await pair.ask("close")


async def they_close_everything(pair: Pair) -> None:
    await pair.real.call("close_host")


End = Callable[[Pair], Awaitable[None]]

OUR_WAYS: list[End] = [we_close_the_connection, we_close_everything]
ALL_WAYS: list[End] = [*OUR_WAYS, they_close_the_connection, they_close_everything]


async def both_know(pair: Pair, *, remote: bool) -> None:
    """go has seen it, and we were told exactly once."""
    await pair.real.until("disconnected", peer=str(pair.ours.peer))
    await until(lambda: pair.connection.closed)
    await asyncio.sleep(0.05)
    (opened,) = [event for event in pair.ours.events if isinstance(event, Opened)]
    (ended,) = [event for event in pair.ours.events if isinstance(event, Ended)]
    assert opened.connection is ended.connection is pair.connection.face
    assert isinstance(ended.error, ConnectionClosed)
    assert ended.error.remote == remote
    if remote:  # go's goodbye may be lost in its reset
        assert ended.error.code in {None, GoAway.NORMAL, GoAway.SHUTDOWN}
    else:
        assert ended.error.code == (GoAway.SHUTDOWN if pair.ours.swarm.closing else GoAway.NORMAL)
    assert pair.connection.error is ended.error
    assert pair.connection.streams == 0
    assert pair.ours.swarm.connections() == ()
    with pytest.raises(ConnectionClosed):
        await pair.open(ECHO)


@pytest.mark.parametrize("end", ALL_WAYS)
async def test_the_end_of_what_is_idle(pair: Pair, end: End) -> None:
    begin = time.perf_counter()
    await end(pair)
    assert end not in OUR_WAYS or time.perf_counter() - begin < 1.0  # go answers by closing its end
    await both_know(pair, remote=end not in OUR_WAYS)


async def held(pair: Pair) -> list[LiveStream]:
    streams = [await pair.open(HOLD) for _ in range(3)]
    for stream in streams:
        await stream.write(b"x")
    await pair.ask("open_hold", n=3)
    return streams


@AT_ONCE
@pytest.mark.parametrize("end", ALL_WAYS)
async def test_the_end_in_the_middle(pair: Pair, end: End) -> None:
    """Streams of both sides are open, handlers run, a reader waits: each of them ends, with the cause."""
    remote = end not in OUR_WAYS
    streams = await held(pair)
    waiting = asyncio.create_task(streams[0].read())
    await asyncio.sleep(0)
    await end(pair)
    await both_know(pair, remote=remote)
    try:
        assert await waiting == b""
        assert remote
        assert pair.real.name == "js-libp2p"  # which ends its streams before it closes their connection
    except ConnectionClosed as error:
        assert error.remote is remote
    for stream in streams:
        with pytest.raises(ConnectionClosed):
            await stream.write(b"more")
    if not remote:
        checked = await pair.real.call("check_held")
        assert (checked["done"], checked["failed"]) == (0, 3)


@pytest.mark.parametrize("end", OUR_WAYS)
async def test_what_we_wrote_before_we_end_arrives(pair: Pair, end: End) -> None:
    """Written and closed, then the connection closed at once: go reads all of it and the clean end behind it."""
    stream = await pair.open(HOLD)
    await stream.write(bytes(MIB))
    stream.finish()
    await end(pair)
    served = await pair.real.until("stream", protocol=HOLD)
    assert served["bytes"] == MIB
    assert "error" not in served
    await both_know(pair, remote=False)


async def test_what_they_wrote_before_they_end_arrives(pair: Pair) -> None:
    """go closes a connection with a reset, so it waits for the answer first."""
    assert (await pair.ask("sink", bytes=MIB))["counted"] == MIB
    await they_close_everything(pair)
    await both_know(pair, remote=True)
    (served,) = pair.ours.served
    assert (served.protocol, served.received, served.error) == (SINK, MIB, None)


async def test_both_end_at_once(pair: Pair) -> None:
    await held(pair)
    await asyncio.gather(we_close_everything(pair), they_close_everything(pair))
    await pair.real.until("disconnected", peer=str(pair.ours.peer))
    assert len(pair.ours.endings) == 1


@OURS_DIALS
async def test_again_and_again(pair: Pair) -> None:
    """A new connection after each end, by turns from both sides."""
    peer = str(pair.ours.peer)
    for turn in range(10):
        if turn % 2:
            await pair.ask("close")
        else:
            await pair.ours.swarm.connections(pair.real.peer)[0].close()
        await pair.real.until("disconnected", peer=peer)
        await until(lambda: not pair.ours.swarm.connections())
        await pair.real.call("connect", addr=pair.ours.address)
        await pair.ours.identified(pair.real.peer)
        assert (await pair.ask("streams_sequential"))["done"] == 1
    assert len(pair.ours.endings) == 10
