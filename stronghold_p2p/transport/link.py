"""The asyncio end of a connection: one ``BufferedProtocol``, which owns the socket's transport.

``buffer_updated`` hands what arrived to the receiver of the current phase (first the upgrade, then the
session), synchronously. On a selector loop ``get_buffer``, ``recv_into`` and ``buffer_updated`` are one
callback, so one large inbox serves every connection of the loop; between callbacks a connection keeps only
the tail of a record that is not complete. A proactor loop reads ahead: there each connection has its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from struct import Struct
from time import monotonic
from typing import Final, cast
from weakref import WeakKeyDictionary

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.transport.busy_poll import SHORT, SLICE, Pace

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ

    UNACKNOWLEDGED = int(TIOCOUTQ)
except ImportError:  # Windows
    UNACKNOWLEDGED = 0

INBOX_BYTES: Final = 512 << 10
# Half of it, four full records, for whoever needs time for what it receives: as many of the shortest frames take tens
# of milliseconds, in which nobody else is served, and may ask for as many answers.
NARROW: Final = 256 << 10
QUICK: Final = NARROW * 1_000  # bytes per second
WRITE_HIGH: Final = 256 << 10  # bytes in asyncio's buffer before writers wait
WRITE_LOW: Final = 64 << 10

# The loop's own write keeps what it cannot send, so it must be given memory that is not used again: a copy.
DIRECT: Final = sys.platform != "win32"

_int: Final = Struct("i")

HEAP_KEPT: Final = 1 << 20  # free memory that the process may keep

Receiver = Callable[[memoryview], int]


class Inbox:
    """A fixed buffer: a bytearray with live views cannot be resized. ``pace`` is of those who share it."""

    __slots__ = ("narrow", "pace", "view")

    def __init__(self, size: int = INBOX_BYTES) -> None:
        self.pace = Pace()
        self.view = memoryview(bytearray(size))
        self.narrow = self.view[:NARROW]


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = WeakKeyDictionary()


def inbox_for(loop: asyncio.AbstractEventLoop) -> Inbox:
    """The inbox that connections of this loop share, or a fresh one where they cannot."""
    proactor = getattr(asyncio, "ProactorEventLoop", None)
    if proactor is not None and isinstance(loop, proactor):
        return Inbox(NARROW)
    inbox = _shared.get(loop)
    if inbox is None:
        _keep_heap()
        inbox = _shared[loop] = Inbox()
    return inbox


def _keep_heap() -> None:
    """Teach glibc's malloc not to return the memory of each record to the system.

    It maps blocks from 128 KiB on, and gives free memory back from there on, until one mapped block has been
    freed: then it takes that size as the threshold (mallopt(3), M_MMAP_THRESHOLD). Records are allocated and
    freed thousands of times a second, and their page faults took a third of the time of their cipher.
    """
    bytearray(HEAP_KEPT)


class Link(asyncio.BufferedProtocol):
    """Wire of one connection.

    ``receiver`` gets all bytes that have not been used yet and returns how many it used; an exception out of
    it goes to ``on_failed`` and never into asyncio. ``on_lost`` is called once, after the transport is gone.
    ``on_room`` is called when the socket takes bytes again. ``incomplete`` serves deadlines. ``busy_poll``: seconds to
    look for more after a short answer to a short message (``busy_poll.py``); None: never.
    """

    __slots__ = (
        "_behind",
        "_broken",
        "_descriptor",
        "_inbox",
        "_looking",
        "_on_made",
        "_quick",
        "_tail",
        "_written",
        "busy_poll",
        "congested",
        "lost",
        "on_failed",
        "on_lost",
        "on_room",
        "paused",
        "receiver",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, inbox: Inbox, on_made: Callable[[Link], None]) -> None:
        self._inbox = inbox
        self._on_made = on_made
        self._tail = b""
        self._descriptor = -1
        self._broken: OSError | None = None
        self._behind = False  # something was left to the loop, and may still be there
        self._written = 0  # since the last bytes came, straight to the socket
        self._looking = False
        self._quick = False  # the last full inbox was processed in no time
        self.busy_poll: float | None = None
        self.congested = False
        self.paused = False
        self.lost = False
        self.receiver: Receiver = len
        self.on_failed: Callable[[Exception], None] = _ignore
        self.on_lost: Callable[[Exception | None], None] = _ignore
        self.on_room: Callable[[], object] = _nothing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            _without_delay(connected)
            self._descriptor = connected.fileno() if DIRECT else -1
        self._on_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        kept = len(self._tail)
        view = self._inbox.view if self._quick else self._inbox.narrow
        if not kept:
            return view
        view[:kept] = self._tail
        return view[kept:]

    def buffer_updated(self, nbytes: int) -> None:
        inbox = self._inbox
        alone = inbox.pace.user is self
        if not alone:  # while others receive, too, each has its turn
            inbox.pace.change(self)
            self._quick = False
        self._written = 0
        size = len(self._tail) + nbytes
        if size >= NARROW and alone:
            self._process_much(size)
        else:
            self._process(inbox.view[:size])
            if 0 < self._written < SHORT and nbytes < SHORT:
                self.look()

    def feed(self, data: bytes) -> None:
        """Process bytes that an earlier phase left over."""
        self._process(memoryview(data))

    def _process(self, view: memoryview) -> None:
        self._tail = b""
        try:
            used = self.receiver(view)
        except Exception as error:  # the one catch of a connection: whatever it is ends this connection only
            self.on_failed(error)
            return
        if used < len(view):
            self._tail = bytes(view[used:])

    # ------------------------------------------------------------------ reading past the transport

    def _process_much(self, size: int) -> None:
        """The inbox is full, and there is more: take it without a turn of the loop, as long as it costs little time."""
        begun = now = monotonic()
        while size:
            before, full = now, size >= NARROW
            self._process(self._inbox.view[:size])
            now = monotonic()
            self._quick = size > (now - before) * QUICK
            done = self._descriptor < 0 or self.paused or self.congested or now > begun + SLICE
            came = self._read(now) if full and self._quick and not done else 0
            size = len(self._tail) + came if came else 0

    def look(self) -> None:
        """Something short was written from a bare callback of the loop: maybe the answer is there at once."""
        if self.busy_poll is None or self._looking or not 0 < self._written < SHORT:
            return
        pace = self._inbox.pace
        if pace.user is self and self._descriptor >= 0 and not (self.paused or self.congested) and pace.due():
            self._looking = True
            try:
                self._look(self.busy_poll)
            finally:
                self._looking = False

    def _look(self, patience: float) -> None:
        begun = now = monotonic()
        found = True
        while found and now < begun + SLICE:
            size = self._read(now + patience)
            found = size > 0
            if found:
                self._written = 0
                self._process(self._inbox.view[: len(self._tail) + size])
                done = self._descriptor < 0 or self.paused or self.congested
                if done or size >= SHORT or not 0 < self._written < SHORT:
                    break
                now = monotonic()
        self._inbox.pace.looked(found=found)

    def _read(self, due: float) -> int:
        """Read past the transport, as ``write`` writes. 0: nothing until ``due``, or an end, which the loop finds."""
        buffer = self.get_buffer(-1) if self._tail or self._quick else self._inbox.narrow
        descriptor, buffers = self._descriptor, (buffer,)
        while True:
            try:
                return os.readv(descriptor, buffers)
            except BlockingIOError:
                if monotonic() >= due:
                    return 0
            except OSError as error:  # the system tells it only once; to the loop it is an end
                self._broken = error
                return 0

    @property
    def incomplete(self) -> bool:
        """Part of a record has arrived and the rest is missing."""
        return bool(self._tail)

    def eof_received(self) -> None:
        """A record cut in the middle is a truncation; between records FIN is an ordinary end."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._descriptor = -1  # it is closed next, and may be another's soon
        self._inbox.pace.forget(self)
        exc = exc or self._broken
        if exc is None and self._tail:
            exc = ConnectionClosed("the peer closed in the middle of a record", remote=True)
        on_lost, self.on_lost = self.on_lost, _ignore
        self.receiver, self.on_failed, self.on_room = len, _ignore, _nothing
        on_lost(exc)

    def pause_reading(self) -> None:
        """Nothing more is received until ``resume_reading``."""
        self.paused = True
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.paused = False
        self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self.on_room()

    @property
    def unsent(self) -> int:
        """Bytes that we wrote and the peer's system has not acknowledged, as far as ours tells.

        asyncio's buffer alone stands still on a slow way: the socket asks for more when a third of its own has left.
        """
        queued = 0
        sock = self.transport.get_extra_info("socket")
        if sock is not None and UNACKNOWLEDGED:
            with suppress(OSError):
                (queued,) = _int.unpack(ioctl(sock.fileno(), UNACKNOWLEDGED, bytes(_int.size)))
        return self.transport.get_write_buffer_size() + queued

    def write(self, data: bytes | memoryview) -> None:
        """Send ``data``, which may change afterwards.

        It goes to the socket directly while nothing waits in the loop's buffer: what leaves at once, and that is
        nearly everything, is not copied. What the socket does not take is copied and left to the loop, and so is
        finding out that the connection has broken.
        """
        if self.lost:
            return
        if self._descriptor >= 0 and not (self._behind and self.transport.get_write_buffer_size()):
            try:
                sent = os.write(self._descriptor, data)
            except OSError:
                sent = 0
            self._written += sent
            self._behind = sent < len(data)
            if not self._behind:
                return
            data = data[sent:]
        self._written = SHORT
        if not self.transport.is_closing():  # or asyncio has found out already, and would log each write from here on
            self.transport.write(bytes(data))

    def finish(self) -> None:
        """Let what was written leave, then send FIN; reading goes on."""
        loop = asyncio.get_running_loop()
        self.on_room = partial(loop.call_soon, self._fin)
        self.transport.set_write_buffer_limits(high=0)  # there is room once everything has left
        if not self.transport.get_write_buffer_size():
            self._fin()

    def _fin(self) -> None:
        # ENOTCONN: the peer has reset the connection. asyncio lets the error out, to the caller or to the loop.
        with suppress(OSError):
            self.transport.write_eof()

    def close(self) -> None:
        """Let what was written leave, then close."""
        self._descriptor = -1
        self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._descriptor = -1
        self.transport.abort()


def _without_delay(connected: socket.socket) -> None:
    """Have the system send at once: whatever leaves here has been collected already.

    asyncio does so too, but only on sockets that were made with the protocol number of TCP. With Nagle's
    algorithm a second small write waits for the acknowledgement of the first: a round trip.
    """
    with suppress(OSError):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _ignore(_: Exception | None) -> None:
    return None


def _nothing() -> None:
    return None
