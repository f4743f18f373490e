"""What calls of the network return, each as the object of the same name that ``await`` would be needed for."""

from collections.abc import Coroutine, Iterator
from types import EllipsisType, TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

from multiaddr import Multiaddr

from stronghold_p2p import keeping
from stronghold_p2p.codes import GoAway
from stronghold_p2p.connection import live
from stronghold_p2p.errors import ConnectionClosed, UsageError
from stronghold_p2p.events import hub
from stronghold_p2p.events.events import Event
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.identity import PeerId, PublicKey
from stronghold_p2p.request_response import parts
from stronghold_p2p.seams import Buffer, Limited
from stronghold_p2p.streams import stream
from stronghold_p2p.streams.live import READ_CHUNK
from stronghold_p2p.swarm import listeners
from stronghold_p2p.sync.loop_thread import LoopThread

Of = TypeVar("Of")
P = TypeVar("P")
_END: Final = object()


class _Part(Generic[Of]):
    """The object ``of`` a network, whose loop runs in ``thread``."""

    __slots__ = ("_of", "_thread")

    def __init__(self, thread: LoopThread, of: Of) -> None:
        self._thread = thread
        self._of = of

    def __repr__(self) -> str:
        return repr(self._of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and self._of is other._of

    def __hash__(self) -> int:
        return hash(id(self._of))


class Connection(_Part[live.Connection]):
    """An encrypted connection to ``peer``, whose identity the handshake has proven."""

    __slots__ = ()

    @property
    def peer(self) -> PeerId:
        """The other end, proven by the handshake."""
        return self._of.peer

    @property
    def public_key(self) -> PublicKey:
        """The key that ``peer`` is the name of."""
        return self._of.public_key

    @property
    def direction(self) -> Direction:
        """``"out"`` when we dialed, ``"in"`` when the peer did."""
        return self._of.direction

    @property
    def local_address(self) -> Multiaddr:
        """Our end."""
        return self._of.local_address

    @property
    def remote_address(self) -> Multiaddr:
        """The other end: as we dialed it, or as the system tells it."""
        return self._of.remote_address

    @property
    def closed(self) -> bool:
        """It is over, and ``error`` tells why."""
        return self._of.closed

    @property
    def error(self) -> Exception | None:
        """Why it is over; None while it is open."""
        return self._of.error

    @property
    def streams(self) -> int:
        """Streams that are open, both directions together."""
        return self._of.streams

    @property
    def latency(self) -> float | None:
        """The round trip that was measured last, in seconds; None before the first."""
        return self._of.latency

    @property
    def limited(self) -> Limited | None:
        """What a relay still lets through; None: it leads through none, or that sets no limit."""
        return self._of.limited

    def close(self, code: int = GoAway.NORMAL) -> None:
        """Close in order, with ``code``; waits up to a second for the peer to close its end, too."""
        self._thread.call(self._of.close(code))


class Listener(_Part[listeners.Listener]):
    """Accepts connections on one address. The network closes it at the end."""

    __slots__ = ()

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where it can be reached, without ``/p2p/``."""
        return self._of.addresses

    def close(self) -> None:
        """Accept no more; connections stay."""
        self._thread.call(self._of.close())


class Keeping(_Part[keeping.Keeping]):
    """What keeps a connection, until ``stop``, the end of its ``with`` or of the network."""

    __slots__ = ()

    @property
    def connection(self) -> Connection | None:
        """The open connection; None: there is none at the moment."""
        found = self._of.connection
        return None if found is None else Connection(self._thread, found)

    @property
    def error(self) -> Exception | None:
        """Why the last connection has ended, or the last dial has failed; None before."""
        return self._of.error

    def connected(self, *, timeout: float | EllipsisType | None = ...) -> Connection:
        """The open connection, as soon as there is one. ``timeout``: by default ``timeouts.dial``."""
        return Connection(self._thread, self._thread.call(self._of.connected(timeout=timeout)))

    def stop(self) -> None:
        """Dial no more; a connection that is open stays."""
        self._of.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._of.stop()


class Events(_Part[hub.Events]):
    """``for event in events``: what happens from now on, in order, until the network has closed."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            event: Any = self._thread.call(self._next())
        except (UsageError, ConnectionClosed):
            if self._thread.running:
                raise
            event = hub.left_of(self._of) or _END
        if event is _END:
            raise StopIteration
        found: Event = event
        return found

    async def _next(self) -> Any:
        return await anext(self._of, _END)

    def close(self) -> None:
        """Take no more events; what waits can still be read."""
        self._of.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._of.close()


class Parts(_Part[parts.Parts[P]], Generic[P]):
    """``for part in parts``: the parts of an answer as they come. ``with`` gives up what has not come."""

    __slots__ = ()

    @property
    def count(self) -> int:
        """How many parts have been given out."""
        return self._of.count

    @property
    def size(self) -> int:
        """How many bytes these had, on the wire and without their lengths."""
        return self._of.size

    def __iter__(self) -> Iterator[P]:
        return self

    def __next__(self) -> P:
        part = self._thread.call(self._next())
        if part is _END:
            raise StopIteration
        return cast("P", part)

    async def _next(self) -> Any:
        return await anext(self._of, _END)

    def close(self) -> None:
        """Give up what has not come; in any state, as often as you like."""
        self._thread.call(self._of.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream(_Part[stream.Stream]):
    """One stream of a connection: bytes both ways, each way closed on its own.

    ``with stream`` closes it at the end, and resets it when the block raises. One thread may read while another one
    writes. What each method does, and which errors it raises, is told by ``stronghold_p2p.Stream``.
    """

    __slots__ = ()

    @property
    def peer(self) -> PeerId:
        """The other end, proven by the handshake."""
        return self._of.peer

    @property
    def protocol(self) -> str:
        """The protocol that both ends agreed on; empty until then."""
        return self._of.protocol

    @property
    def connection(self) -> Connection:
        """The connection that it belongs to."""
        return Connection(self._thread, self._of.connection)

    def read(self, n: int = READ_CHUNK) -> bytes:
        """The next 1 to ``n`` bytes; ``b""`` once the peer has closed its side and all has been read."""
        return self._thread.call(self._of.read(n))

    def readexactly(self, n: int) -> bytes:
        """Exactly ``n`` bytes; ``StreamEnded`` (with ``partial``) if the stream ends before."""
        return self._thread.call(self._of.readexactly(n))

    def readuntil(self, separator: bytes = b"\n", maximum: int = READ_CHUNK) -> bytes:
        """The next bytes up to ``separator``, which is their end; at most ``maximum`` of them."""
        return self._thread.call(self._of.readuntil(separator, maximum))

    def readline(self, maximum: int = READ_CHUNK) -> bytes:
        """The next line with its newline; at the end of the stream what is left, and ``b""`` after that."""
        return self._thread.call(self._of.readline(maximum))

    def read_to_end(self, maximum: int = 1 << 20) -> bytes:
        """Everything up to the peer's FIN; ``Malformed`` as soon as it is more than ``maximum`` bytes."""
        return self._thread.call(self._of.read_to_end(maximum))

    def read_message(self, maximum: int = 1 << 20) -> bytes | None:
        """One message: an unsigned varint, then that many bytes. ``None`` at a clean end."""
        return self._thread.call(self._of.read_message(maximum))

    def __iter__(self) -> Iterator[bytes]:
        """The chunks as they arrive, until the peer closes its side."""
        while chunk := self.read():
            yield chunk

    def write(self, data: Buffer) -> None:
        """Send all of ``data``, waiting for the peer's window and for the socket where needed."""
        self._thread.call(self._of.write(data))

    def write_message(self, data: Buffer) -> None:
        """Send one message: its length as an unsigned varint, then ``data``."""
        self._thread.call(self._of.write_message(data))

    def close_write(self) -> None:
        """Close our direction (FIN); reading goes on. Does nothing the second time."""
        self._thread.call(self._of.close_write())

    def close(self) -> None:
        """Close both directions; in any state, as often as you like."""
        self._thread.call(self._of.close())

    def reset(self, code: int = 0) -> None:
        """End both directions at once; the peer's calls fail."""
        self._thread.call(_reset(self._of, code))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.call(self._of.__aexit__(kind, error, trace))


async def _reset(of: stream.Stream, code: int) -> None:
    of.reset(code)


def opening(of: stream.StreamOpening) -> Coroutine[Any, Any, stream.Stream]:
    """The opening as something that runs in the loop."""

    async def wait() -> stream.Stream:
        return await of

    return wait()
