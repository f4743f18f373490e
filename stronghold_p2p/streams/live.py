"""One stream as the library works with it: what arrived, who waits for it, and what is written.

The muxer puts everything that arrives here, synchronously; a reader takes it from here. No task and no queue stands
between: one deque, and one ``Waiter`` when somebody waits. What is written goes straight into the muxer as far as it
has room; the rest waits for its ``ready``. ``Stream`` is what users see of it, and has the full docstrings.

While multistream-select runs, or while the application is asked whether the stream may be opened at all, what arrives
goes to the ``intake`` instead of to the reader. Whoever only wants to know that the peer has reset the stream, while
nothing is read, takes the intake's place, too.

A stream has no timer. ``StreamEnd.due`` is the earliest of its times, at which the connection's timer calls
``expired``: the deadline that ``expire`` sets, whatever the stream is doing, and that of the intake.
"""

import asyncio
from collections import deque
from math import inf
from types import SimpleNamespace, TracebackType
from typing import Any, Final, NoReturn, Self

from stronghold_p2p.arguments import kind_of
from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import (
    ConfigError,
    ConnectionClosed,
    DeadlineExceeded,
    DecodeError,
    Malformed,
    StreamEnded,
    StreamReset,
    UsageError,
    again,
)
from stronghold_p2p.identity import PeerId
from stronghold_p2p.seams import Buffer, StreamEnd
from stronghold_p2p.streams.waiter import Turn, Waiter

# Shorter pieces that wait for a reader are joined: a window full of them would take twenty times its size.
JOIN_BELOW: Final = 512
READ_CHUNK: Final = 65_536  # bytes that are read at most unless the reader says otherwise


class Intake:
    """Takes what arrives on a stream instead of its reader. ``due``: when its time is over, infinite for never."""

    __slots__ = ()

    due: float = inf
    begun: bool = True
    """False: it waits for a yes, and no handler has begun to work on what has come."""

    def data(self, piece: bytes | memoryview) -> None:
        """Some bytes."""

    def end(self) -> None:
        """The peer's FIN, which the stream remembers."""

    def failed(self, error: Exception) -> None:
        """The stream is over."""

    def expired(self) -> None:
        """``due`` has come; it may set a later one."""


# Stands for an end that belongs to another sink now.
_HANDED_OVER: Final[Any] = SimpleNamespace(id=0, gone=True, finished=True)


class LiveStream:
    """Bytes both ways, each way closed on its own. It is the ``Sink`` of its ``StreamEnd``.

    ``connection`` is the ``LiveConnection`` that it belongs to.
    """

    def __init__(self, end: StreamEnd, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._end = end
        self._loop = loop
        self._turn: Turn = connection.turn
        self._chunks: deque[bytes | memoryview] = deque()
        # What the muxer is told with the next read: bytes of a negotiation; below zero, bytes at the front that a
        # cancelled read had taken, which were told before.
        self._untold = 0
        self._reader: Waiter | None = None
        self._writer: Waiter | None = None
        self._ended = self._closed = False
        self._error: Exception | None = None
        self._over_at = inf
        self.connection = connection
        self.protocol = ""
        self.intake: Intake | None = None

    @property
    def peer(self) -> PeerId:
        return self.connection.peer  # type: ignore[no-any-return]

    @property
    def closed(self) -> bool:
        """Nothing can be read or written any more, as far as it depends on us: closed or reset."""
        return self._closed

    def __repr__(self) -> str:
        return f"<Stream {self._end.id} {self.protocol or 'negotiating'}>"

    async def read(self, n: int = READ_CHUNK) -> bytes:
        if n < 1:
            if n < 0:
                return await self.read_to_end()
            raise ConfigError("read at least one byte", where="n")
        if self._reader is not None:
            raise UsageError("another task is reading this stream")
        while not self._chunks:
            if self._ended and not self._closed:
                return b""  # a clean end stays one, whatever becomes of the connection
            if self._error is not None or self._closed:
                self._check_readable()
            self._reader = Waiter(self._loop, self._turn)
            try:
                await self._reader
            finally:
                self._reader = None
        return self._take(n)

    def read_now(self, n: int = READ_CHUNK) -> bytes:
        """What ``read`` gives if it does not have to wait; ``b""`` if it does, or at the end."""
        return self._take(n) if self._chunks and self._reader is None else b""

    def _take(self, n: int) -> bytes:
        chunk = self._chunks[0]
        size = len(chunk)
        if size <= n:
            self._chunks.popleft()
            piece = chunk if isinstance(chunk, bytes) else bytes(chunk)
        else:
            piece = bytes(chunk[:n])
            self._chunks[0] = memoryview(chunk)[n:]
            size = n
        if self._untold:
            size += self._untold
            self._untold = 0
            if size < 0:
                self._untold, size = size, 0
        self._end.consumed(size, self._loop.time)
        return piece

    async def readexactly(self, n: int) -> bytes:
        if n == 0:
            return b""
        first = await self.read(n)
        if len(first) == n:
            return first
        pieces, got = [first], len(first)
        try:
            while got < n:
                piece = await self.read(n - got)
                if not piece:
                    raise StreamEnded(f"{got} of {n} bytes, then the end", partial=b"".join(pieces), peer=self.peer)
                _collect(pieces, piece)
                got += len(piece)
        except asyncio.CancelledError:
            self._give_back(pieces)
            raise
        return b"".join(pieces)

    async def readuntil(self, separator: bytes = b"\n", maximum: int = READ_CHUNK) -> bytes:
        if not separator:
            raise ConfigError("a separator has at least one byte", where="separator")
        if self._chunks and self._reader is None and (size := self._up_to(separator)):
            self._check_line(size, maximum)
            return self._take(size)
        line = bytearray()
        try:
            while piece := await self.read(maximum + 1):
                looked_at = max(0, len(line) - len(separator) + 1)
                line += piece
                if (at := line.find(separator, looked_at)) >= 0:
                    size = at + len(separator)
                    self._check_line(size, maximum)
                    self._give_back([bytes(line[size:])])
                    return bytes(line[:size])
                self._check_line(len(line), maximum)
        except (asyncio.CancelledError, Malformed):
            self._give_back([bytes(line)])
            raise
        raise StreamEnded("the stream ended before the separator", partial=bytes(line), peer=self.peer)

    async def readline(self, maximum: int = READ_CHUNK) -> bytes:
        try:
            return await self.readuntil(b"\n", maximum)
        except StreamEnded as error:
            return error.partial

    def _up_to(self, separator: bytes) -> int:
        """Where the separator ends in the first chunk; 0: it is not whole there. What is behind it is not looked at."""
        chunk, looked_at, look = self._chunks[0], 0, 128
        while looked_at < len(chunk):
            at = bytes(chunk[looked_at : looked_at + look]).find(separator)
            if at >= 0:
                return looked_at + at + len(separator)
            looked_at, look = looked_at + max(look - len(separator) + 1, 1), 4 * look
        return 0

    def _check_line(self, size: int, maximum: int) -> None:
        if size > maximum:
            raise Malformed(f"no separator in the first {maximum} bytes", peer=self.peer)

    def _give_back(self, pieces: list[bytes]) -> None:
        if not self._closed:
            self._chunks.extendleft(reversed([piece for piece in pieces if piece]))
            self._untold -= sum(map(len, pieces))

    def _drop_unread(self) -> None:
        self._chunks.clear()
        self._untold = 0

    async def read_to_end(self, maximum: int = 1 << 20) -> bytes:
        pieces: list[bytes] = []
        size = 0
        try:
            while piece := await self.read(maximum + 1):
                _collect(pieces, piece)
                size += len(piece)
                if size > maximum:
                    raise Malformed(f"more than {maximum} bytes", peer=self.peer)
        except asyncio.CancelledError:
            self._give_back(pieces)
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_message(self, maximum: int = 1 << 20) -> bytes | None:
        taken: list[bytes] = []
        try:
            length = await self._read_length(maximum, taken)
            if length is None:
                return None
            return await self.readexactly(length)
        except asyncio.CancelledError:
            self._give_back(taken)
            raise

    async def _read_length(self, maximum: int, taken: list[bytes]) -> int | None:
        exchange = varint.read(maximum=maximum)
        try:
            next(exchange)
            while byte := await self.read(1):
                taken.append(byte)
                exchange.send(byte)
        except StopIteration as stop:
            return int(stop.value)
        except DecodeError as error:
            raise Malformed(f"message length: {error}", peer=self.peer) from None
        if taken:
            raise StreamEnded("an end inside a length", partial=b"".join(taken), peer=self.peer)
        return None

    def _check_readable(self) -> None:
        if self._error is not None:
            raise again(self._error, self.peer)
        if self._closed:
            raise UsageError("the stream is closed")

    async def write(self, data: Buffer) -> None:
        if self._error is not None or self._closed or self._end.finished or self._writer is not None:
            self._check_writable()
        try:
            rest: bytes | memoryview = data if isinstance(data, bytes) else bytes(memoryview(data))
        except TypeError:
            _no_bytes(data)
        size, again = len(rest), False
        while (taken := self._end.send(rest)) < size:
            rest = memoryview(rest)[taken:]
            size -= taken
            await self._wait_writable(again=again and not taken)
            again = True

    def write_now(self, data: bytes) -> int:
        """Send what there is room for, without waiting; how many bytes that were. The rest is for ``write``."""
        if self._error is not None or self._closed or self._end.finished or self._writer is not None:
            self._check_writable()
        return self._end.send(data)

    async def write_message(self, data: Buffer) -> None:
        try:
            body = data if isinstance(data, bytes) else bytes(memoryview(data))
        except TypeError:
            _no_bytes(data)
        await self.write(varint.encode(len(body)) + body)

    def _check_writable(self) -> None:
        if self._error is not None:
            raise again(self._error, self.peer)
        if self._closed or self._end.finished:
            raise UsageError("the stream is closed for writing")
        if self._writer is not None:
            raise UsageError("another task is writing to this stream")

    async def _wait_writable(self, *, again: bool) -> None:
        self._end.wait_turn(again=again)
        self._writer = Waiter(self._loop, self._turn)
        try:
            await self._writer
        finally:
            self._writer = None
        self._check_writable()

    def finish(self) -> None:
        """Close our direction (FIN); reading goes on. ``UsageError`` while another task's write waits."""
        if self._writer is not None:
            raise UsageError("another task is writing to this stream")
        if self._error is None:
            self._end.finish()

    def close(self) -> None:
        """Close both directions; in any state, as often as you like. A write that waits makes it a reset."""
        if self._closed:
            return
        if self._writer is not None:
            self.reset()
            return
        self._closed = True
        end = self._end
        if not end.finished:
            end.finish()
        if self.intake is None:
            if self._chunks:
                self._drop_unread()
            end.discard()
        if not end.gone and self._over_at == inf:
            self.expire(self.connection.linger())
        if self._reader is not None:
            self._reader.set()

    def reset(self, code: int = 0) -> None:
        if self._closed and self._end.gone:
            return
        self._closed = True
        self._end.reset(code)
        self._drop_unread()
        if self._error is None:
            self._error = StreamReset(f"we reset the stream with code {code:#x}", code=code)
        intake, self.intake = self.intake, None
        if intake is not None:
            intake.failed(self._error)
        self._wake_all()

    def abandon(self, error: Exception, code: int) -> None:
        """Reset, with ``error`` as what our own callers are told."""
        if self._error is None:
            self._error = error
        self.reset(code)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.reset()

    def expire(self, due: float) -> None:
        """Whatever the stream is doing, it ends with ``DeadlineExceeded`` at ``due``, in the loop's seconds."""
        self._over_at = due
        if due < self._end.due:
            self._end.due = due
            if due < (deadlines := self.connection.deadlines).all_at:
                deadlines.sooner(due)

    def take_in(self, intake: Intake) -> None:
        """Give what arrives to ``intake`` from now on, until its ``due`` at the latest."""
        self.intake = intake
        if intake.due < self._end.due:
            self._end.due = intake.due
            if intake.due < (deadlines := self.connection.deadlines).all_at:
                deadlines.sooner(intake.due)

    def expired(self, now: float) -> None:
        if self._over_at <= now:
            self.abandon(DeadlineExceeded("the time of the stream is over", peer=self.peer), 0)
            return
        if self.intake is not None and self.intake.due <= now:
            self.intake.expired()
        self._end.due = self._over_at if self.intake is None else min(self.intake.due, self._over_at)

    def consumed(self, count: int) -> None:
        """The intake has taken ``count`` bytes for good."""
        self._end.consumed(count, self._loop.time)

    def explain(self, error: Exception) -> None:
        """Replace the stored cause by one that says more."""
        self._error = error

    def send_now(self, data: bytes) -> None:
        """Send a short answer of the negotiation; never waits."""
        self._end.send_now(data)

    def negotiated(self, protocol: str, leftover: bytes | memoryview = b"", taken: int = 0) -> None:
        """multistream-select is over, with ``taken`` more bytes; what it did not need belongs to the reader."""
        self.protocol = protocol
        self.intake = None
        self._end.due = self._over_at
        if self._closed:
            self._end.discard()
        elif len(leftover):
            self._untold = taken
            self._chunks.append(leftover)
            if self._reader is not None:
                self._reader.set()
        elif taken:
            self.consumed(taken)
        if self._ended:
            self._wake_all()

    def release(self) -> tuple[StreamEnd, bytes, bool]:
        """Hand the end over to another sink, with what has not been read, and whether the peer's FIN has come.

        ``UsageError`` while somebody reads or writes, or when the stream is over. This object is closed then.
        """
        if self._reader is not None or self._writer is not None or self.intake is not None:
            raise UsageError("another task is using this stream")
        self._check_readable()
        self.consumed(self._untold)
        unread = b"".join(self._chunks)
        self._chunks.clear()
        self._closed = True
        self._error = UsageError("the stream was handed over")
        end, self._end = self._end, _HANDED_OVER  # so that closing or resetting this object is nothing
        end.due = inf
        return end, unread, self._ended

    def data(self, piece: bytes | memoryview) -> None:
        if self.intake is not None:
            self.intake.data(piece)
            return
        chunks = self._chunks
        if chunks and len(piece) < JOIN_BELOW and len(chunks[-1]) < JOIN_BELOW:
            chunks[-1] = b"".join((chunks[-1], piece))
        else:
            chunks.append(piece)
        if self._reader is not None:
            self._reader.set()

    def end(self) -> None:
        self._ended = True
        if self.intake is not None:
            self.intake.end()
        if self._reader is not None:
            self._reader.set()

    def failed(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        # As go-yamux: a reset takes with it what has not been read, unless the peer's FIN had come before.
        if not self._ended and not isinstance(error, ConnectionClosed):
            self._drop_unread()
        intake, self.intake = self.intake, None
        if intake is not None:
            intake.failed(error)
        elif self._ended and not isinstance(error, ConnectionClosed):
            self.connection.handlers.left(self, error)
        self._wake_all()

    def ready(self) -> None:
        if self._writer is not None:
            self._writer.set()

    def _wake_all(self) -> None:
        if self._reader is not None:
            self._reader.set()
        if self._writer is not None:
            self._writer.set()


def _no_bytes(data: object) -> NoReturn:
    """``ConfigError`` for what is no buffer; ``bytes`` would make zeros of a number."""
    advice = "text.encode() makes them" if isinstance(data, str) else "a codec makes them of a message"
    raise ConfigError(f"a stream takes bytes, not {kind_of(data)}: {advice}", where="data")


def _collect(pieces: list[bytes], piece: bytes) -> None:
    """Add ``piece`` to ``pieces``, whose readers give its credit back at once: short ones joined, as in ``data``."""
    if pieces and len(piece) < JOIN_BELOW and len(pieces[-1]) < JOIN_BELOW:
        pieces[-1] += piece
    else:
        pieces.append(piece)
