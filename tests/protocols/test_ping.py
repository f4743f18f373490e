"""ping in both roles, and what peers of other kinds do with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from stronghold_p2p import errors
from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.protocols import ping
from stronghold_p2p.protocols.ping import PING, SIZE, STREAMS_IN, Ping
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import saying, swarms, until


class Pinging(NamedTuple):
    """Alice pings Bob over ``connection``."""

    ping: Ping
    connection: LiveConnection
    alice: Swarm
    bob: Swarm

    async def once(self, timeout: float = 10.0) -> float:
        return await self.ping.ping(self.connection, timeout=timeout)


@asynccontextmanager
async def pinging(answer: Handler | None = None) -> AsyncIterator[Pinging]:
    """Bob answers by hand, or nobody does."""
    async with swarms(answer, PING) as (alice, bob, connection):
        yield Pinging(Ping(alice), connection, alice, bob)


async def test_pings_at_the_same_time_share_the_stream() -> None:
    async with pinging() as on:
        server = Ping(on.bob)
        times = await asyncio.gather(*(on.once() for _ in range(20)))
        assert all(0 < time < 1 for time in [*times, await on.once()])
        assert on.connection.streams == 1
        assert server._serving.count(on.alice.peer_id) == 1


async def test_our_stream_goes_when_nobody_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "KEEP", 0.05)
    async with pinging() as on:
        server = Ping(on.bob)
        await on.once()
        await until(lambda: on.connection.streams == 0)
        await until(lambda: not server._serving)
        assert await on.once() > 0


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_the_end_of_a_kept_stream_means_a_new_one(end: str) -> None:
    """go closes a ping stream 30 s after it was opened."""
    opened = 0

    async def once(stream: LiveStream) -> None:
        nonlocal opened
        opened += 1
        await stream.write(await stream.readexactly(SIZE))
        if end == "reset":
            await asyncio.sleep(0.02)
            stream.reset()

    async with pinging(once) as on:
        for number in range(1, 4):
            await on.once()
            assert opened == number
            await asyncio.sleep(0.05 if end == "reset" else 0)


@pytest.mark.parametrize("answer", [bytes(SIZE), bytes(SIZE - 1) + b"\x01"])
async def test_other_bytes_are_an_error(answer: bytes) -> None:
    async with pinging(saying(answer)) as on:
        with pytest.raises(errors.Malformed, match="other bytes"):
            await on.once()
        await until(lambda: on.connection.streams == 0)


@pytest.mark.parametrize("answer", [b"", b"x", bytes(SIZE - 1)])
async def test_a_short_answer_is_an_error(answer: bytes) -> None:
    async with pinging(saying(answer)) as on:
        with pytest.raises(errors.StreamEnded) as caught:
            await on.once()
        assert caught.value.partial == answer


async def test_no_answer_is_a_deadline_and_the_next_ping_is_not_confused() -> None:
    behave = False

    async def late(stream: LiveStream) -> None:
        data = await stream.readexactly(SIZE)
        if behave:
            await stream.write(data)
        await stream.readexactly(SIZE)

    async with pinging(late) as on:
        with pytest.raises(errors.DeadlineExceeded) as caught:
            await on.once(timeout=0.1)
        assert (caught.value.phase, caught.value.peer) == ("ping", on.bob.peer_id)
        behave = True
        assert await on.once() > 0


async def test_a_cancelled_ping_leaves_its_place() -> None:
    async with pinging(saying(close=False)) as on:
        tasks = [asyncio.ensure_future(on.once()) for _ in range(3)]
        await until(lambda: on.connection.streams)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: on.connection.streams == 0)
        Ping(on.bob)
        assert await on.once() > 0


async def test_a_peer_without_ping() -> None:
    async with pinging() as on:
        with pytest.raises(errors.UnsupportedProtocol):
            await on.once()


async def test_a_ping_on_a_connection_that_ends() -> None:
    async with pinging() as on:
        Ping(on.bob)
        await on.once()
        await on.connection.close()
        assert not on.ping._idle_streams
        with pytest.raises(errors.ConnectionClosed):
            await on.once()
        assert not on.ping._idle_streams


# ---------------------------------------------------------------------- the answering side


async def echoed(stream: LiveStream) -> None:
    await stream.write(bytes(SIZE))
    assert await stream.readexactly(SIZE) == bytes(SIZE)


@pytest.mark.parametrize("piece", [7, 1_000])
@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE, 3 * SIZE + 5])
async def test_it_echoes_whole_pings_and_closes_quietly(size: int, piece: int) -> None:
    """js sends its ping and its FIN at once."""
    async with swarms() as (_, bob, connection):
        Ping(bob)
        message = os.urandom(size)
        async with await connection.open_stream(PING) as stream:
            for at in range(0, size, piece):
                await stream.write(message[at : at + piece])
                await asyncio.sleep(0)
            stream.finish()
            assert await stream.read_to_end() == message[: size // SIZE * SIZE]


async def test_a_third_stream_of_a_peer_is_reset() -> None:
    async with swarms() as (alice, bob, connection):
        server = Ping(bob)
        connections = [connection, await alice.dialer.dial(None, bob.addresses)]  # two to the same peer
        streams = [await connections[number].open_stream(PING) for number in range(STREAMS_IN)]
        for stream in streams:
            await echoed(stream)
        for each in connections:
            excess = await each.open_stream(PING)
            with pytest.raises(errors.LimitExceeded) as caught:  # what the code 0x1002 means
                await excess.read()
            assert caught.value.remote
        streams[0].close()
        await until(lambda: server._serving.count(alice.peer_id) == 1)
        async with await connections[1].open_stream(PING) as stream:
            await echoed(stream)


async def test_a_silent_stream_is_closed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "IDLE", 0.1)
    async with swarms() as (_, bob, connection):
        server = Ping(bob)
        async with await connection.open_stream(PING) as stream:
            for _ in range(4):
                await echoed(stream)
                await asyncio.sleep(0.05)
            assert await stream.read() == b""
        await until(lambda: not server._serving)


@pytest.mark.speed
async def test_a_flood_is_slowed_by_the_stream() -> None:
    async with swarms() as (_, bob, connection):
        Ping(bob)
        count = 20_000
        async with await connection.open_stream(PING) as stream:
            back = asyncio.ensure_future(stream.readexactly(count * SIZE))
            for _ in range(count // 100):
                await stream.write(bytes(100 * SIZE))
            assert await back == bytes(count * SIZE)
