"""One end of a connection is ours, the other a bare socket in the hands of the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from stronghold_p2p.seams import Wire
from stronghold_p2p.transport.busy_poll import PollingWire
from stronghold_p2p.transport.socket_wire import SocketWire, inbox_for
from tests.peers import until
from tests.virtual import at_once


class Bare:
    """A socket without any protocol."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        at_once(sock)
        self.sock = sock

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self, size: int = 65_536) -> bytes:
        """What comes next; ``b""`` at FIN."""
        return await asyncio.get_running_loop().sock_recv(self.sock, size)

    async def read(self, size: int) -> bytes:
        """Exactly so many bytes, or fewer at the end."""
        got = bytearray()
        while len(got) < size and (piece := await self.receive(size - len(got))):
            got += piece
        return bytes(got)

    async def rest(self) -> bytes:
        """Everything up to FIN or RST."""
        got = bytearray()
        with contextlib.suppress(ConnectionError):
            while piece := await self.receive():
                got += piece
        return bytes(got)

    def finish(self) -> None:
        """FIN."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


class Taker:
    """The user of a wire: takes what comes in units of ``unit`` bytes, and notes what it is told."""

    def __init__(self, wire: Wire, unit: int = 1) -> None:
        self.wire = wire
        self.unit = unit
        self.got = bytearray()
        self.sizes: list[int] = []
        self.lost: list[Exception | None] = []
        self.rooms = 0
        wire.user = self

    def received(self, view: memoryview) -> int:
        used = len(view) - len(view) % self.unit
        self.got += view[:used]
        self.sizes.append(len(view))
        return used

    def writable(self) -> None:
        assert not self.wire.congested
        self.rooms += 1

    def ended(self, error: Exception | None) -> None:
        assert self.wire.lost
        self.lost.append(error)


async def linked(
    on_made: Callable[[SocketWire], None] = lambda _: None, *, patience: float | None = None
) -> tuple[SocketWire, Bare]:
    """A wire, and the bare socket at its other end. ``patience``: it polls busily, so many seconds at most."""
    loop = asyncio.get_running_loop()
    server = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(server.getsockname())
    theirs, _ = server.accept()
    server.close()
    ours.setblocking(False)
    inbox = inbox_for(loop)
    wire = SocketWire(inbox, on_made) if patience is None else PollingWire(inbox, on_made, patience)
    await loop.create_connection(lambda: wire, sock=ours)
    return wire, Bare(theirs)


@asynccontextmanager
async def wired(unit: int = 1) -> AsyncIterator[tuple[SocketWire, Bare, Taker]]:
    """A wire with a user, and the bare socket at its other end; both are closed at the end, if they were not before."""
    wire, bare = await linked()
    taker = Taker(wire, unit)
    try:
        yield wire, bare, taker
    finally:
        bare.close()
        wire.abort()
        await until(lambda: wire.lost)
    assert len(taker.lost) == 1
