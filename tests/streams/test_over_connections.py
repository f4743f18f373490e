"""Streams of a connection, whatever the connection is made of: each scene runs over all wirings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stronghold_p2p.codes import Reset
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed, DeadlineExceeded, StreamEnded, StreamReset, UnsupportedProtocol
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import ECHO, echo, swarms, until

MEET = "/meet/1"
PATTERN = bytes(range(256)) * 4_096  # 1 MiB: four windows


class Meeting:
    """Both swarms, their connection, and the peer's end of each stream for ``MEET``, whose handler waits."""

    def __init__(self, one: Swarm, other: Swarm, connection: LiveConnection) -> None:
        self.one, self.other, self.connection = one, other, connection
        self.theirs: asyncio.Queue[LiveStream] = asyncio.Queue()
        self.over = asyncio.Event()

    async def handle(self, stream: LiveStream) -> None:
        self.theirs.put_nowait(stream)
        await self.over.wait()

    async def stream(self) -> tuple[LiveStream, LiveStream]:
        """Both ends of a fresh stream."""
        ours = await self.connection.open_stream(MEET, wait=True)
        return ours, await self.theirs.get()


@asynccontextmanager
async def meeting() -> AsyncIterator[Meeting]:
    async with swarms(echo) as both:
        met = Meeting(*both)
        met.other.handle(MEET, met.handle)
        try:
            yield met
        finally:
            met.over.set()


async def test_bytes_come_back_in_order_beyond_every_window() -> None:
    async with meeting() as met, await met.connection.open_stream(ECHO) as stream:
        writing = asyncio.create_task(stream.write(PATTERN))
        assert await stream.readexactly(len(PATTERN)) == PATTERN
        await writing
        stream.finish()
        assert await stream.read() == b""


async def test_many_streams_at_once_do_not_mix() -> None:
    async def one(connection: LiveConnection, number: int) -> None:
        message = number.to_bytes(2, "big") * 5_000
        async with await connection.open_stream(ECHO) as stream:
            await stream.write(message)
            assert await stream.readexactly(len(message)) == message

    async with meeting() as met:
        await asyncio.gather(*(one(met.connection, number) for number in range(400)))
        await until(lambda: met.connection.streams == 0)


async def test_a_reader_that_stops_stops_the_writer() -> None:
    async with meeting() as met:
        ours, theirs = await met.stream()
        writing = asyncio.create_task(ours.write(PATTERN))
        await asyncio.sleep(0.05)
        assert not writing.done()
        assert await theirs.readexactly(len(PATTERN)) == PATTERN
        await writing


async def test_each_direction_ends_by_itself() -> None:
    async with meeting() as met:
        ours, theirs = await met.stream()
        await ours.write(b"last words")
        ours.finish()
        assert await theirs.read_to_end() == b"last words"
        await theirs.write(b"and yours")
        theirs.finish()
        assert await ours.read_to_end() == b"and yours"
        await until(lambda: met.connection.streams == 0)


@pytest.mark.parametrize("code", [0, Reset.PROTOCOL_VIOLATION, 0x4711])
async def test_a_reset_ends_both_and_tells_its_code(code: int) -> None:
    async with meeting() as met:
        ours, theirs = await met.stream()
        await theirs.write(b"unread")
        theirs.reset(code)
        with pytest.raises(StreamReset) as told:
            while True:
                await ours.read()
        assert told.value.code == code
        with pytest.raises(StreamReset):
            await ours.write(b"more")
        assert not met.connection.closed


async def test_a_cancelled_read_loses_nothing() -> None:
    async with meeting() as met:
        ours, theirs = await met.stream()
        reading = asyncio.create_task(ours.readexactly(10))
        await theirs.write(b"01234")
        await asyncio.sleep(0.02)
        reading.cancel()
        await asyncio.wait([reading])
        await theirs.write(b"56789")
        assert await ours.readexactly(10) == b"0123456789"


async def test_an_end_in_the_middle_is_told_with_what_came() -> None:
    async with meeting() as met:
        ours, theirs = await met.stream()
        await theirs.write(b"half")
        theirs.finish()
        with pytest.raises(StreamEnded) as told:
            await ours.readexactly(8)
        assert told.value.partial == b"half"


async def test_a_deadline_ends_the_stream_on_both_sides() -> None:
    async with meeting() as met:
        ours, theirs = await met.stream()
        ours.expire(met.one.loop.time() + 0.05)
        with pytest.raises(DeadlineExceeded):
            await ours.read()
        with pytest.raises(StreamReset):
            await theirs.read()


async def test_what_nobody_serves_is_refused() -> None:
    async with meeting() as met:
        with pytest.raises(UnsupportedProtocol):
            await met.connection.open_stream("/nothing/1", wait=True)
        lazy = await met.connection.open_stream("/nothing/1")
        with pytest.raises(UnsupportedProtocol):
            await lazy.read()


async def test_the_end_of_the_connection_is_that_of_its_streams() -> None:
    async with meeting() as met:
        ours, theirs = await met.stream()
        await ours.write(b"before")
        await until(lambda: theirs.read_now(1))
        met.connection.shut()
        with pytest.raises(ConnectionClosed):
            await ours.read()
        assert await theirs.readexactly(5) == b"efore"
        with pytest.raises(ConnectionClosed):
            await theirs.read()
