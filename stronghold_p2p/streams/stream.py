"""One stream as users see it, and what a call that opens one gives back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self

from stronghold_p2p.identity import PeerId
from stronghold_p2p.seams import Buffer
from stronghold_p2p.streams.asyncio_pair import LIMIT, pair
from stronghold_p2p.streams.live import READ_CHUNK, LiveStream


class Stream:
    """One stream of a connection: bytes both ways, each way closed on its own.

    ``async with stream`` closes it at the end, and resets it when the block raises. One task may read while
    another writes; two readers (or two writers) at once are a ``UsageError``. Every await may be cancelled:
    a cancelled read loses nothing, of a cancelled write part may have been sent.

    The peer's reset raises ``StreamReset``, the end of the connection ``ConnectionClosed``.
    """

    # What reads and writes is no coroutine function but gives the live stream's own coroutine: half the cost.
    __slots__ = ("__weakref__", "_live")

    def __init__(self, live: LiveStream) -> None:
        self._live = live

    @property
    def peer(self) -> PeerId:
        """The other end, proven by the handshake."""
        return self._live.peer

    @property
    def protocol(self) -> str:
        """The protocol that both ends agreed on; empty until then."""
        return self._live.protocol

    @property
    def connection(self) -> Any:
        """The ``Connection`` that it belongs to."""
        return self._live.connection.face

    def __repr__(self) -> str:
        return repr(self._live)

    def read(self, n: int = READ_CHUNK) -> Coroutine[Any, Any, bytes]:
        """The next 1 to ``n`` bytes; ``b""`` once the peer has closed its side and all has been read.

        ``-1`` is everything, as ``read_to_end()``: at most 1 MiB.
        """
        return self._live.read(n)

    def readexactly(self, n: int) -> Coroutine[Any, Any, bytes]:
        """Exactly ``n`` bytes; ``StreamEnded`` (with ``partial``) if the stream ends before."""
        return self._live.readexactly(n)

    def readuntil(self, separator: bytes = b"\n", maximum: int = READ_CHUNK) -> Coroutine[Any, Any, bytes]:
        """The next bytes up to ``separator``, which is their end; at most ``maximum`` of them.

        ``StreamEnded`` (with ``partial``) if the stream ends before; ``Malformed`` if the separator is not in so many,
        and then all of it can still be read. Cancelled, what had arrived is still there.
        """
        return self._live.readuntil(separator, maximum)

    def readline(self, maximum: int = READ_CHUNK) -> Coroutine[Any, Any, bytes]:
        """The next line with its newline; at the end of the stream what is left, and ``b""`` after that.

        ``Malformed`` if it is longer than ``maximum`` bytes.
        """
        return self._live.readline(maximum)

    def read_to_end(self, maximum: int = 1 << 20) -> Coroutine[Any, Any, bytes]:
        """Everything up to the peer's FIN; ``Malformed`` as soon as it is more than ``maximum`` bytes."""
        return self._live.read_to_end(maximum)

    def read_message(self, maximum: int = 1 << 20) -> Coroutine[Any, Any, bytes | None]:
        """One message: an unsigned varint, then that many bytes. ``None`` at a clean end.

        A longer one than ``maximum`` is ``Malformed`` as soon as its length is read; an end in the middle is
        ``StreamEnded``. Cancelled in the middle, what had arrived is still there.
        """
        return self._live.read_message(maximum)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks as they arrive, until the peer closes its side."""
        while chunk := self._live.read_now() or await self._live.read():
            yield chunk

    def write(self, data: Buffer) -> Coroutine[Any, Any, None]:
        """Send all of ``data``, waiting for the peer's window and for the socket where needed.

        What several tasks write in one turn of the event loop leaves in one system call. The return says
        that the bytes are framed, not that the peer has them.
        """
        return self._live.write(data)

    def write_message(self, data: Buffer) -> Coroutine[Any, Any, None]:
        """Send one message: its length as an unsigned varint, then ``data``."""
        return self._live.write_message(data)

    def to_asyncio(self, limit: int = LIMIT) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The stream as asyncio's reader and writer, for code that takes those; use nothing else of it from then on.

        ``limit`` is that of the reader: for a line, and half of what it reads ahead. ``close`` and ``wait_closed`` of
        the writer close the stream, and so does whatever closes it here. Call it once, in the running loop.
        """
        return pair(self._live, self, limit)

    async def close_write(self) -> None:
        """Close our direction (FIN); reading goes on. Does nothing the second time.

        ``UsageError`` while another task's write waits: the peer would take half of it for the whole.
        """
        self._live.finish()

    async def close(self) -> None:
        """Close both directions; in any state, as often as you like.

        What was written still leaves; a write that still waits makes it a reset, as the peer would take half of it for
        the whole. What the peer still sends is dropped; a peer that goes on sending is reset after a while.
        """
        self._live.close()

    def reset(self, code: int = 0) -> None:
        """End both directions at once; the peer's calls fail. ``code`` as in go-libp2p's core/network/mux.go."""
        self._live.reset(code)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._live.__aexit__(kind, error, trace)


class StreamOpening:
    """A stream that is being opened: ``await`` it and close it yourself, or use it in ``async with``. Use it once."""

    __slots__ = ("_open", "_stream")

    def __init__(self, open_stream: Callable[[], Coroutine[Any, Any, Stream]]) -> None:
        self._open = open_stream
        self._stream: Stream | None = None

    def __await__(self) -> Generator[Any, None, Stream]:
        return self._open().__await__()

    async def __aenter__(self) -> Stream:
        self._stream = await self._open()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.__aexit__(kind, error, trace)
