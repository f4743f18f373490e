"""One end of a connection is ours, the other a bare socket in the hands of the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from stronghold_p2p.transport.inbox import inbox_for
from stronghold_p2p.transport.socket_wire import SocketWire
from tests.virtual import at_once


def ignore(_link: SocketWire) -> None:
    """Nothing to do when the connection is made."""


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


async def linked(on_made: Callable[[SocketWire], None] = ignore) -> tuple[SocketWire, Bare]:
    """A link, and the bare socket at its other end."""
    loop = asyncio.get_running_loop()
    server = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(server.getsockname())
    theirs, _ = server.accept()
    server.close()
    ours.setblocking(False)
    inbox = inbox_for(loop)
    _, link = await loop.create_connection(lambda: SocketWire(inbox, on_made), sock=ours)
    return link, Bare(theirs)
