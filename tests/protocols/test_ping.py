"""ping in both roles, and what peers of other kinds do with it."""

from __future__ import annotations

import asyncio
import os

import pytest

from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    LimitExceeded,
    Malformed,
    StreamEnded,
    UnsupportedProtocol,
)
from stronghold_p2p.protocols.ping import PING, SIZE, STREAMS_IN, Ping
from stronghold_p2p.streams.live import LiveStream
from tests.peers import connect, saying, swarm, until


async def test_a_round_trip_is_measured() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        Ping(bob)
        connection = await connect(alice, bob)
        times = [await ping.ping(connection) for _ in range(10)]
        assert all(0 < time < 1 for time in times)
        assert connection.streams == 1  # all of them went over one stream


async def test_pings_at_the_same_time_share_the_stream() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ping, server = Ping(alice), Ping(bob)
        connection = await connect(alice, bob)
        await asyncio.gather(*(ping.ping(connection) for _ in range(20)))
        assert connection.streams == 1
        assert server._serving.count(alice.peer_id) == 1


async def test_our_stream_goes_when_nobody_pings() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ping, server = Ping(alice, keep=0.05), Ping(bob)
        connection = await connect(alice, bob)
        await ping.ping(connection)
        await until(lambda: connection.streams == 0)
        await until(lambda: not server._serving)
        assert await ping.ping(connection) > 0


async def test_the_end_of_a_kept_stream_means_a_new_one() -> None:
    """go closes a ping stream 30 s after it was opened."""
    opened = 0

    async def once(stream: LiveStream) -> None:
        nonlocal opened
        opened += 1
        await stream.write(await stream.readexactly(SIZE))

    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        bob.handle(PING, once)
        connection = await connect(alice, bob)
        for number in range(1, 4):
            await ping.ping(connection)
            assert opened == number


async def test_a_kept_stream_that_was_reset_means_a_new_one() -> None:
    async def once(stream: LiveStream) -> None:
        await stream.write(await stream.readexactly(SIZE))
        await asyncio.sleep(0.02)
        stream.reset()

    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        bob.handle(PING, once)
        connection = await connect(alice, bob)
        for _ in range(3):
            await ping.ping(connection)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("answer", [bytes(SIZE), bytes(SIZE - 1) + b"\x01"])
async def test_other_bytes_are_an_error(answer: bytes) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        bob.handle(PING, saying(answer))
        connection = await connect(alice, bob)
        with pytest.raises(Malformed, match="other bytes"):
            await ping.ping(connection)
        await until(lambda: connection.streams == 0)


@pytest.mark.parametrize("answer", [b"", b"x", bytes(SIZE - 1)])
async def test_a_short_answer_is_an_error(answer: bytes) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        bob.handle(PING, saying(answer))
        connection = await connect(alice, bob)
        with pytest.raises(StreamEnded) as caught:
            await ping.ping(connection)
        assert caught.value.partial == answer


async def test_no_answer_is_a_deadline_and_the_next_ping_is_not_confused() -> None:
    behave = False

    async def late(stream: LiveStream) -> None:
        data = await stream.readexactly(SIZE)
        if behave:
            await stream.write(data)
        await stream.readexactly(SIZE)

    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        bob.handle(PING, late)
        connection = await connect(alice, bob)
        with pytest.raises(DeadlineExceeded) as caught:
            await ping.ping(connection, timeout=0.1)
        assert (caught.value.phase, caught.value.peer) == ("ping", bob.peer_id)
        behave = True
        assert await ping.ping(connection) > 0


async def test_a_cancelled_ping_leaves_its_place() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        bob.handle(PING, saying(close=False))
        connection = await connect(alice, bob)
        tasks = [asyncio.ensure_future(ping.ping(connection)) for _ in range(3)]
        await until(lambda: connection.streams)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: connection.streams == 0)
        Ping(bob)
        assert await ping.ping(connection) > 0


async def test_a_peer_without_ping() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        with pytest.raises(UnsupportedProtocol):
            await ping.ping(await connect(alice, bob))


async def test_a_ping_on_a_connection_that_ends() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ping = Ping(alice)
        Ping(bob)
        connection = await connect(alice, bob)
        await ping.ping(connection)
        await connection.close()
        assert not ping._idle_streams
        with pytest.raises(ConnectionClosed):
            await ping.ping(connection)
        assert not ping._idle_streams


# ---------------------------------------------------------------------- the answering side


async def test_it_answers_after_the_end_of_the_other_side() -> None:
    """js sends its ping and its FIN at once."""
    async with swarm(1) as alice, swarm(2) as bob:
        Ping(bob)
        connection = await connect(alice, bob)
        async with await connection.open_stream(PING) as stream:
            message = os.urandom(SIZE)
            await stream.write(message)
            stream.finish()
            assert await stream.read_to_end() == message


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE + 1, 3 * SIZE, 3 * SIZE + 5])
async def test_it_echoes_whole_pings_and_closes_quietly(size: int) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        Ping(bob)
        connection = await connect(alice, bob)
        message = os.urandom(size)
        async with await connection.open_stream(PING) as stream:
            for at in range(0, size, 7):
                await stream.write(message[at : at + 7])
                await asyncio.sleep(0)
            stream.finish()
            assert await stream.read_to_end() == message[: size // SIZE * SIZE]


async def test_a_third_stream_of_a_peer_is_reset() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        server = Ping(bob)
        connections = [await connect(alice, bob)]
        connections += [await alice.dialer.dial(None, bob.addresses)]  # a second one to the same peer
        streams = []
        for number in range(STREAMS_IN):
            stream = await connections[number].open_stream(PING)
            await stream.write(bytes(SIZE))
            assert await stream.readexactly(SIZE) == bytes(SIZE)
            streams.append(stream)
        for connection in connections:
            excess = await connection.open_stream(PING)
            with pytest.raises(LimitExceeded) as caught:  # what the code 0x1002 means
                await excess.read()
            assert caught.value.remote
        streams[0].close()
        await until(lambda: server._serving.count(alice.peer_id) == 1)
        async with await connections[1].open_stream(PING) as stream:
            await stream.write(bytes(SIZE))
            assert await stream.readexactly(SIZE) == bytes(SIZE)


async def test_a_silent_stream_is_closed_in_order() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        server = Ping(bob, idle=0.1)
        connection = await connect(alice, bob)
        async with await connection.open_stream(PING) as stream:
            for _ in range(4):
                await stream.write(bytes(SIZE))
                assert await stream.readexactly(SIZE) == bytes(SIZE)
                await asyncio.sleep(0.05)
            assert await stream.read() == b""
        await until(lambda: not server._serving)


@pytest.mark.speed
async def test_a_flood_is_slowed_by_the_stream() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        Ping(bob)
        connection = await connect(alice, bob)
        count = 20_000
        async with await connection.open_stream(PING) as stream:
            back = asyncio.ensure_future(stream.readexactly(count * SIZE))
            for _ in range(count // 100):
                await stream.write(bytes(100 * SIZE))
            assert await back == bytes(count * SIZE)
