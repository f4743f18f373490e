"""A TCP socket as a wire: one ``asyncio.BufferedProtocol``, which owns the socket's transport.

Bytes are received into one inbox that all connections of a loop share. ``buffer_updated`` hands them to the user of the
wire, synchronously: first the upgrade, then the muxer. What the user could not use yet, the tail of a record that is
not complete, is all that a connection keeps between callbacks; the next bytes are received behind it.

What is written goes to the socket at once, past asyncio's transport, as long as that has nothing waiting.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from multiaddr import Multiaddr

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.seams import NOBODY, WireUser

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ

    UNACKNOWLEDGED = int(TIOCOUTQ)
except ImportError:  # Windows
    UNACKNOWLEDGED = 0

ACKNOWLEDGED: Final = slice(120, 128) if sys.platform == "linux" else None  # tcpi_bytes_acked (linux/tcp.h, tcp_info)

# Four full records. A connection whose input is slow to process reads no more per callback: that many frames of the
# least size block the loop for tens of milliseconds.
INBOX_BYTES: Final = 256 << 10

WRITE_HIGH: Final = 256 << 10  # bytes in asyncio's buffer before writers wait
WRITE_LOW: Final = 64 << 10

# Memory that is written may be used again at once. The loop's own write keeps what it cannot send, so it must be given
# a copy; writing to the socket directly needs none for what leaves at once, which is nearly everything.
DIRECT: Final = sys.platform != "win32"

_inboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def inbox_for(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The inbox that connections of this loop share, or a fresh one where they cannot.

    On a selector loop ``get_buffer``, ``recv_into`` and ``buffer_updated`` are one callback, so nothing of it has to be
    kept between callbacks. A proactor loop reads ahead: there each connection has its own. A bytearray with live views
    cannot be resized, so it is handed out as a view.
    """
    proactor = getattr(asyncio, "ProactorEventLoop", None)
    if proactor is not None and isinstance(loop, proactor):
        return memoryview(bytearray(INBOX_BYTES))
    inbox = _inboxes.get(loop)
    if inbox is None:
        inbox = _inboxes[loop] = memoryview(bytearray(INBOX_BYTES))
    return inbox


class SocketWire(asyncio.BufferedProtocol):
    """``on_made`` is called once the socket is there, before anything is read; it sets the user and both addresses."""

    transport: asyncio.Transport
    local: Multiaddr
    remote: Multiaddr
    host: str | None

    def __init__(self, inbox: memoryview, on_made: Callable[[Any], None]) -> None:
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._on_made: Callable[[Any], None] | None = on_made
        self._tail = b""
        self._descriptor = -1
        self._behind = False  # something was left to the loop, and may still be there
        self._finishing = False
        self.congested = False
        self.lost = False
        self.user: WireUser = NOBODY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            _without_delay(connected)
            self._descriptor = connected.fileno() if DIRECT else -1
        on_made, self._on_made = self._on_made, None
        if on_made is not None:
            on_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        kept = len(self._tail)
        if not kept:
            return self._inbox
        self._inbox[:kept] = self._tail
        return self._inbox[kept:]

    def buffer_updated(self, nbytes: int) -> None:
        self._deliver(self._inbox[: len(self._tail) + nbytes])

    def _deliver(self, view: memoryview) -> None:
        self._tail = b""
        user = self.user
        used = user.received(view)
        while used < len(view) and self.user is not user:  # a change of phase: the rest is for the next one
            view, user = view[used:], self.user
            used = user.received(view)
        if used < len(view):
            self._tail = bytes(view[used:])

    def eof_received(self) -> None:
        """A record cut in the middle is a truncation; between records FIN is an ordinary end."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._descriptor = -1  # it is closed next, and may be another's soon
        if exc is None and self._tail:
            exc = ConnectionClosed("the peer closed in the middle of a record", remote=True)
        user, self.user = self.user, NOBODY
        user.ended(exc)

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        if self._finishing:
            self._loop.call_soon(self._fin)
        else:
            self.user.writable()

    @property
    def partial(self) -> bool:
        return bool(self._tail)

    @property
    def unsent(self) -> int:
        """The buffer of asyncio stands still on a slow way: the socket asks for more when a third of it has left."""
        queued = 0
        sock = self.transport.get_extra_info("socket")
        if sock is not None and UNACKNOWLEDGED:
            with suppress(OSError):
                queued = int.from_bytes(ioctl(sock.fileno(), UNACKNOWLEDGED, bytes(4)), sys.byteorder)
        return self.transport.get_write_buffer_size() + queued

    @property
    def delivered(self) -> int:
        """Linux counts what was acknowledged. Elsewhere it is below zero, and grows when less is ``unsent``."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and ACKNOWLEDGED is not None:
            with suppress(OSError):
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED.stop)
                if len(info) == ACKNOWLEDGED.stop:
                    return int.from_bytes(info[ACKNOWLEDGED], sys.byteorder)
        return -self.unsent

    def pause(self) -> None:
        self.transport.pause_reading()

    def resume(self) -> None:
        self.transport.resume_reading()
        if self._tail:
            self._loop.call_soon(self._deliver_kept)

    def _deliver_kept(self) -> None:
        if self._tail and not self.lost and self.transport.is_reading():  # or it was paused again meanwhile
            self._deliver(memoryview(self._tail))

    def write(self, data: bytes | memoryview) -> None:
        """What the socket does not take is copied and left to the loop, and so is finding out that the connection has
        broken.
        """
        if self.lost:
            return
        if self._descriptor >= 0 and not (self._behind and self.transport.get_write_buffer_size()):
            try:
                sent = os.write(self._descriptor, data)
            except OSError:
                sent = 0
            self._behind = sent < len(data)
            if not self._behind:
                return
            data = data[sent:]
        if not self.transport.is_closing():  # or asyncio has found out already, and would log each write from here on
            self.transport.write(bytes(data))

    def finish(self) -> None:
        self._finishing = True
        self.transport.set_write_buffer_limits(high=0)  # there is room once everything has left
        if not self.transport.get_write_buffer_size():
            self._fin()

    def _fin(self) -> None:
        # ENOTCONN: the peer has reset the connection. asyncio lets the error out, to the caller or to the loop.
        with suppress(OSError):
            self.transport.write_eof()

    def abort(self) -> None:
        self._descriptor = -1
        self.transport.abort()


def _without_delay(connected: socket.socket) -> None:
    """Have the system send at once: whatever leaves here has been collected already.

    asyncio does so too, but only on sockets that were made with the protocol number of TCP. With Nagle's
    algorithm a second small write waits for the acknowledgement of the first: a round trip.
    """
    with suppress(OSError):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
