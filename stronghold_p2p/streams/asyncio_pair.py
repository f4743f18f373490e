"""A stream as asyncio's ``StreamReader`` and ``StreamWriter``, for code that was written for those.

They are asyncio's own classes; what stands below them is a transport. What it may send leaves in the call of ``write``,
the rest in a task that ends with it; a task reads as long as the reader wants more. Both end with the stream, whoever
ends it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from stronghold_p2p.addressing.kinds import tcp_address
from stronghold_p2p.errors import P2PError, UsageError
from stronghold_p2p.streams.live import LiveStream

HIGH_WATER: Final = 65_536  # bytes that wait to be written, from which on ``drain`` waits, as in asyncio
LIMIT: Final = 65_536  # of ``readline`` and ``readuntil``; twice as much is read ahead, as in asyncio


def pair(live: LiveStream, face: Any, limit: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """``face`` is the ``Stream`` that ``get_extra_info("stream")`` gives."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = StreamTransport(live, face, protocol, loop)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class StreamTransport(asyncio.Transport):
    """asyncio's transport over one stream."""

    def __init__(self, live: LiveStream, face: Any, protocol: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"stream": face})
        self._live = live
        self._protocol = protocol
        self._loop = loop
        self._waiting: deque[bytes] = deque()  # to be written
        self._size = 0
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._holds = False  # the protocol has been told to write no more
        self._eof = self._closing = self._lost = self._paused = False
        self._reading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        protocol.connection_made(self)
        self._read_on()

    def __repr__(self) -> str:
        return f"<StreamTransport {self._live!r}>"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``stream``; ``peername`` and ``sockname``, host and port, where the connection has a socket of its own."""
        if name in {"peername", "sockname"}:
            live = self._live.connection
            found = tcp_address(live.remote_address if name == "peername" else live.local_address)
            return default if found is None else found[:2]
        return super().get_extra_info(name, default)

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing or self._live.closed

    def is_reading(self) -> bool:
        return not (self._paused or self.is_closing())

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._read_on()

    def _read_on(self) -> None:
        if self._reading is None and not self.is_closing():
            self._reading = self._loop.create_task(self._read())

    async def _read(self) -> None:
        try:
            while not self._paused:
                piece = await self._live.read()
                if not piece:
                    self._protocol.eof_received()  # asyncio's keeps the other direction open
                    return
                self._protocol.data_received(piece)
            self._reading = None
        except Exception as error:
            self._lose(error)

    def write(self, data: Any) -> None:
        """Send ``data``, or keep it until there is room; nothing once the stream is over, as in asyncio."""
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self.is_closing() or not data:
            return
        rest = bytes(data)
        if self._writing is None:
            try:
                rest = rest[self._live.write_now(rest) :]
            except P2PError as error:
                self._lose(error)
                return
        if rest:
            self._waiting.append(rest)
            self._size += len(rest)
            self._tell()
            self._write_on()

    def write_eof(self) -> None:
        self._eof = True
        self._write_on()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        """What was written still leaves, then the stream is closed."""
        if not self._closing:
            self._closing = True
            self._write_on()

    def abort(self) -> None:
        self._waiting.clear()
        self._size = 0
        self._live.reset()
        self._lose(None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's: by default 64 KiB, and a quarter of it."""
        self._high = high if high is not None else HIGH_WATER if low is None else 4 * low
        self._low = self._high // 4 if low is None else low
        if not self._high >= self._low >= 0:
            raise ValueError(f"high ({self._high!r}) must be >= low ({self._low!r}) must be >= 0")
        self._tell()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._size

    def _tell(self) -> None:
        """Tell the protocol when too much waits, and when enough has left."""
        if not self._holds and self._size > self._high:
            self._holds = True
            self._protocol.pause_writing()
        elif self._holds and self._size <= self._low:
            self._holds = False
            self._protocol.resume_writing()

    def _write_on(self) -> None:
        if self._writing is not None or self._lost:
            return
        if self._waiting:
            self._writing = self._loop.create_task(self._write())
            return
        end: Callable[[], None] | None = self._live.close if self._closing else self._live.finish if self._eof else None
        try:
            if end is not None:
                end()
        except UsageError as error:  # it is being written to past this
            self._lose(error)
        if self._closing:
            self._lose(None)

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._live.write(piece := self._waiting.popleft())
                self._size -= len(piece)
                self._tell()
        except Exception as error:
            self._lose(error)
        finally:
            self._writing = None
        self._write_on()

    def _lose(self, error: Exception | None) -> None:
        """It is over. What our own end of the stream has raised, as it is closed, is no error."""
        if self._lost:
            return
        self._lost = self._closing = True
        ours = isinstance(error, UsageError) and self._live.closed
        self._loop.call_soon(self._protocol.connection_lost, None if ours else error)
