"""A peer made by hand: its handshake is honest, its frames are what the test writes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p import multistream
from stronghold_p2p.addressing.kinds import from_socket, tcp_address
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.identity import PeerId
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.upgrade import Negotiated
from stronghold_p2p.yamux.header import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    frame,
)
from tests.peers import until
from tests.transport.ends import identity, upgrade
from tests.transport.wire import Bare
from tests.yamux.wire import Frame

SEED = 9


class Raw:
    """The other end of one connection, after the handshake. Reads frames and writes anything."""

    def __init__(self, bare: Bare, negotiated: Negotiated, leftover: bytes) -> None:
        self.bare = bare
        self.peer: PeerId = negotiated.secured.peer
        self._channel = negotiated.secured.channel
        self._wire = bytearray(leftover)
        self.plain = bytearray(negotiated.plaintext)

    @property
    def id(self) -> PeerId:
        return identity(SEED).peer_id

    def seal(self, plaintext: bytes) -> bytes:
        """``plaintext`` as records."""
        records = bytearray()
        self._channel.seal([plaintext], len(plaintext), records.extend)
        return bytes(records)

    async def send(self, *frames: bytes) -> None:
        """Frames in one record."""
        await self.bare.send(self.seal(b"".join(frames)))

    async def fill(self, size: int) -> bool:
        """Have ``size`` bytes of plaintext; False at the end of the connection."""
        while len(self.plain) < size:
            del self._wire[: self._channel.open(memoryview(bytes(self._wire)), self.plain.extend)]
            if len(self.plain) >= size:
                break
            try:
                piece = await self.bare.receive()
            except ConnectionError:
                return False
            if not piece:
                return False
            self._wire += piece
        return True

    async def read(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        if not await self.fill(HEADER_SIZE):
            return None
        _, kind, flags, stream, length = HEADER.unpack_from(self.plain)
        size = length if kind == DATA else 0
        if not await self.fill(HEADER_SIZE + size):
            return None
        body = bytes(self.plain[HEADER_SIZE : HEADER_SIZE + size])
        del self.plain[: HEADER_SIZE + size]
        return Frame(kind, flags, stream, length, body)

    async def until(self, kind: int, flags: int = 0, stream: int | None = None) -> Frame:
        """The next frame of this kind with these flags; pings are answered on the way."""
        while (got := await self.read()) is not None:
            if got.kind == kind and got.flags & flags == flags and stream in {None, got.stream}:
                return got
            if got.kind == PING and got.flags & SYN:
                await self.send(frame(PING, ACK, 0, got.length))
        raise AssertionError("the connection ended before that frame")

    async def body(self, stream: int, size: int) -> bytes:
        """So many bytes of one stream."""
        got = bytearray()
        while len(got) < size:
            got += (await self.until(DATA, stream=stream)).body
        return bytes(got)

    async def gone(self) -> int | None:
        """The code of the go-away with which the connection ends; None if it just ends."""
        code = None
        while (got := await self.read()) is not None:
            if got.kind == GO_AWAY:
                code = got.length
        return code

    async def open(self, stream: int, protocol: str, data: bytes = b"") -> None:
        """A stream of ours with its proposal and first data."""
        body = multistream.propose(protocol) + data
        await self.send(frame(DATA, SYN, stream, len(body)), body)

    async def data(self, stream: int, data: bytes, flags: int = 0) -> None:
        await self.send(frame(DATA, flags, stream, len(data)), data)

    async def answer(self, stream: int, protocol: str, data: bytes = b"") -> None:
        """Accept the other side's stream."""
        await self.data(stream, multistream.propose(protocol) + data, ACK)

    async def reset(self, stream: int, code: int = 0) -> None:
        await self.send(frame(WINDOW_UPDATE, RST, stream, code))

    async def finish(self, stream: int) -> None:
        await self.send(frame(WINDOW_UPDATE, FIN, stream, 0))

    def close(self) -> None:
        self.bare.close()


async def shake(bare: Bare, exchange: Exchange[Negotiated]) -> Raw:
    """Run an upgrade on a bare socket."""
    runner = ExchangeRunner(exchange)
    out = runner.start()
    while True:
        if out:
            await bare.send(out)
        if runner.done:
            return Raw(bare, runner.result, runner.leftover)
        piece = await bare.receive()
        if not piece:
            raise ConnectionResetError("closed during the upgrade")
        out = runner.feed(piece)


async def bare_to(address: Multiaddr) -> Bare:
    """A connected socket."""
    host, port, _ = tcp_address(address) or ("", 0, None)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, port))
    return Bare(sock)


async def dial_raw(target: Swarm, seed: int = SEED, *, early: bool = True) -> Raw:
    """Connect by hand to a swarm."""
    bare = await bare_to(target.addresses[0])
    try:
        return await shake(bare, upgrade(seed, early_muxer=early).outbound(None))
    except BaseException:
        bare.close()
        raise


@asynccontextmanager
async def raw_in(target: Swarm, seed: int = SEED, *, early: bool = True) -> AsyncIterator[tuple[Raw, LiveConnection]]:
    """A connection that a hand-made peer has opened, and what the swarm sees of it."""
    peer = identity(seed).peer_id
    before = target.connections(peer)
    raw = await dial_raw(target, seed, early=early)
    try:
        await until(lambda: set(target.connections(peer)) - set(before))
        yield raw, target.connections(peer)[0]  # the newest
    finally:
        raw.close()


class Server:
    """A bare listener on the loopback interface."""

    def __init__(self, host: str = "127.0.0.1", backlog: int = 16) -> None:
        self.sock = socket.create_server((host, 0), backlog=backlog)
        self.sock.setblocking(False)
        self.address = from_socket(self.sock.getsockname())
        self.accepted: list[Bare] = []

    async def accept(self) -> Bare:
        sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        self.accepted.append(Bare(sock))
        return self.accepted[-1]

    async def upgrade(self, seed: int = SEED) -> Raw:
        return await shake(await self.accept(), upgrade(seed).inbound())

    def close(self) -> None:
        for bare in self.accepted:
            bare.close()
        self.sock.close()


@asynccontextmanager
async def raw_out(target: Swarm) -> AsyncIterator[tuple[Raw, LiveConnection]]:
    """A connection that the swarm has dialed to a hand-made peer."""
    with contextlib.closing(Server()) as server:
        task = asyncio.ensure_future(target.dial(identity(SEED).peer_id, [server.address]))
        raw = await server.upgrade()
        yield raw, await task


class Events:
    """What a swarm tells about connections and addresses, but not what is only tried."""

    def __init__(self, swarm: Swarm) -> None:
        self.all: list[Any] = []
        swarm.hub.on_event(self.all.append)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.all if isinstance(event, kind)]
