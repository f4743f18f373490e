"""A connection inside a stream of another one: nothing of either is mixed up, whatever runs where.

The bytes of all levels pass through one workspace, and handlers write from within the callbacks of the innermost
connection; so a delivery in the wrong moment shows as bytes that do not authenticate, or are not those that were sent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed, P2PError
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.stream_wire import StreamWire
from stronghold_p2p.transport.upgrading import Dialed
from tests.peers import ECHO, connect, echo, swarm, swarms, until
from tests.support.nested import INSIDE, PLACE, nested, serve_inside

SINK, SOURCE = "/sink/1", "/source/1"
WINDOW = 256 << 10
NEGOTIATED = 200  # bytes of the window, at most, that the negotiation has used
BLOCK = bytes(range(256)) * 256  # 64 KiB: full records inside full records


def block(number: int) -> bytes:
    """64 KiB that no other block equals."""
    return number.to_bytes(4, "big") + BLOCK[4:]


async def sink(stream: LiveStream) -> None:
    """Takes all of it and answers with the hash."""
    seen = hashlib.sha256()
    while piece := await stream.read():
        seen.update(piece)
    await stream.write(seen.digest())


async def source(stream: LiveStream) -> None:
    """Sends as many blocks as it is asked for."""
    for number in range(int.from_bytes(await stream.readexactly(4), "big")):
        await stream.write(block(number))


@asynccontextmanager
async def ends(depth: int) -> AsyncIterator[tuple[Swarm, Swarm, LiveConnection, LiveConnection]]:
    """Two swarms, the connection between them, and one ``depth`` levels inside it."""
    async with swarm(1) as one, swarm(2) as other:
        for handler, protocol in ((echo, ECHO), (sink, SINK), (source, SOURCE)):
            other.handle(protocol, handler)
        serve_inside(other)
        outer = await connect(one, other)
        async with nested(one, outer, depth) as inner:
            yield one, other, outer, inner


async def upload(connection: LiveConnection, blocks: int) -> None:
    async with await connection.open_stream(SINK) as stream:
        sent = hashlib.sha256()
        for number in range(blocks):
            sent.update(block(number))
            await stream.write(block(number))
        stream.finish()
        assert await stream.read_to_end() == sent.digest()


async def download(connection: LiveConnection, blocks: int) -> None:
    async with await connection.open_stream(SOURCE) as stream:
        await stream.write(blocks.to_bytes(4, "big"))
        for number in range(blocks):
            assert await stream.readexactly(len(BLOCK)) == block(number)
        assert await stream.read() == b""


async def talk(connection: LiveConnection, rounds: int, size: int) -> None:
    """Messages back and forth, each answered before the next."""
    async with await connection.open_stream(ECHO) as stream:
        for number in range(rounds):
            message = block(number)[:size]
            await stream.write(message)
            assert await stream.readexactly(size) == message


@pytest.mark.speed
@pytest.mark.parametrize("depth", [1, 2])
async def test_64_mib_each_way_at_once(depth: int) -> None:
    async with ends(depth) as (_, _, outer, inner):
        await asyncio.gather(upload(inner, 1_024), download(inner, 1_024), talk(outer, 200, 100))
        assert not outer.closed
        assert not inner.closed


@pytest.mark.speed
async def test_two_side_by_side_with_records_of_every_size() -> None:
    async with ends(1) as (one, _, outer, first), nested(one, outer, 1) as second:
        sizes = [1, 100, 8_191, 8_193, 20_000, 65_000]
        await asyncio.gather(*(talk(inner, 50, size) for inner in (first, second, outer) for size in sizes))
        await asyncio.gather(upload(first, 64), download(second, 64), upload(outer, 64))


class User:
    """The user of an inner wire; ``heard`` is all that it was told, and ``take`` how much of a piece it uses."""

    def __init__(self, outer: LiveConnection, take: Callable[[memoryview], int] = len) -> None:
        self.outer, self.take = outer, take
        self.heard: list[bytes] = []

    def received(self, view: memoryview) -> int:
        assert self.outer.turn.waiting is None  # the rule: never while the outer muxer is at work
        self.heard.append(bytes(view))
        return self.take(view)

    def writable(self) -> None:
        self.heard.append(b"writable")

    def ended(self, error: Exception | None) -> None:
        self.heard.append(b"ended: " + str(error).encode())


@asynccontextmanager
async def wired(handler: Handler, take: Callable[[memoryview], int] = len) -> AsyncIterator[tuple[StreamWire, User]]:
    """A stream as a wire, whose other end ``handler`` has."""
    async with swarms(handler) as (_, alice, outer):
        wire = StreamWire(await outer.open_stream(ECHO, wait=True), PLACE, PLACE, alice.loop.time)
        wire.user = user = User(outer, take)
        yield wire, user


async def test_it_delivers_when_the_outer_callback_is_through() -> None:
    async with wired(echo) as (wire, user):
        data = bytearray(b"one")
        wire.write(memoryview(data))
        data[:] = b"???"  # what was written may change
        wire.write(b"two")
        await until(lambda: b"".join(user.heard) == b"onetwo")
        wire.finish()
        await until(lambda: wire.lost)
        assert user.heard[-1] == b"ended: None"


async def test_what_is_not_used_stays_in_front_and_holds_the_peer_back() -> None:
    sent: list[int] = []

    async def flood(stream: LiveStream) -> None:
        for number in range(64):
            await stream.write(block(number))
            sent.append(number)

    async with wired(flood, lambda _: 0) as (wire, user):
        await until(lambda: user.heard and len(user.heard[-1]) > WINDOW - NEGOTIATED)
        await asyncio.sleep(0.05)
        assert len(user.heard[-1]) <= WINDOW  # of one stream, and not a byte more
        assert len(sent) == WINDOW // len(BLOCK) - 1
        assert user.heard[-1].startswith(block(0))
        assert wire.partial
        user.outer.abort()
        await until(lambda: wire.lost)
        assert b"aborted" in user.heard[-1]


async def test_a_full_outer_connection_tells_the_inner_one() -> None:
    go = asyncio.Event()
    got: list[bytes] = []

    async def wait(stream: LiveStream) -> None:
        await go.wait()
        while piece := await stream.read():
            got.append(piece)

    async with wired(wait) as (wire, user):
        for number in range(16):
            wire.write(block(number))
        assert wire.congested
        assert 0 <= wire.unsent - (16 * len(BLOCK) - WINDOW) < NEGOTIATED
        go.set()
        await until(lambda: user.heard == [b"writable"])
        assert not wire.congested
        await until(lambda: sum(map(len, got)) == 16 * len(BLOCK))
        assert b"".join(got) == b"".join(map(block, range(16)))
        wire.abort()
        wire.write(b"nothing")
        wire.abort()
        assert [told.split(b":")[0] for told in user.heard] == [b"writable", b"ended"]


async def test_the_end_of_the_outer_connection_ends_the_inner_one() -> None:
    async with ends(2) as (_, _, outer, inner):
        stream = await inner.open_stream(ECHO, wait=True)
        outer.abort()
        with pytest.raises(ConnectionClosed):
            await stream.read()
        await until(lambda: inner.closed)


async def test_the_inner_end_leaves_the_outer_connection_alone() -> None:
    async with ends(1) as (_, other, outer, inner):
        await talk(inner, 1, 10)
        assert len(other.connections()) == 2
        await inner.close()
        await until(lambda: len(other.connections()) == 1)
        await talk(outer, 1, 10)


async def test_the_identity_inside_is_proven_by_itself() -> None:
    """Whoever carries the stream cannot answer for somebody else."""
    async with swarm(1) as one, swarm(2) as other:
        serve_inside(other)
        outer = await connect(one, other)
        stream = await outer.open_stream(INSIDE, wait=True)
        from_whom = Identity.from_seed(bytes([3]) * 32).peer_id
        dialed = Dialed()
        one.upgrader.dial(StreamWire(stream, PLACE, PLACE, one.loop.time), from_whom, dialed)
        with pytest.raises(P2PError, match="was expected"):
            await dialed.upgraded()
