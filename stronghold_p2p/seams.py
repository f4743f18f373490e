"""The seams of the stack: where one part can be exchanged for another. There is no other place of this kind.

* ``Wire``: ordered bytes without security. A socket, a WebSocket, a relayed circuit, memory.
* ``Security``: an exchange over a wire that proves the peer and ends in a ``SecureChannel``. Noise, TLS.
* ``Muxer``: many streams over one channel, each a ``StreamEnd``. Yamux, or what QUIC brings with it.
* ``Transport``: from addresses to connections that are ready for a muxer (``Upgraded``). TCP, circuits, QUIC.
* ``Service``: what works above the swarm, on the ``Host`` that it is given. It speaks of connections, so both stand
  above those, in ``swarm/host.py``.

The user of each seam calls down through it, and is told things through a second protocol that it implements itself:
``WireUser``, ``Sink``, ``MuxerUser``, ``Arrivals``. A name here is the only thing that both sides have to agree on, so
each method says who calls it, when, and what it may not do. All times are the loop's seconds.

A *turn* is one callback of a connection, from the first byte that it received to the last one that it sent for that
(``streams/waiter.py``). Code of the application runs at its end, never while a muxer is at work.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from multiaddr import Multiaddr

from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.exchange import Exchange
from stronghold_p2p.identity import PeerId, PublicKey

Buffer: TypeAlias = bytes | bytearray | memoryview
Pieces: TypeAlias = Sequence[Buffer]
Deliver: TypeAlias = Callable[[bytes | memoryview], bool | None]
"""Takes a piece of plaintext, which is valid during the call only. True: it wants no more for now."""
Write: TypeAlias = Callable[[bytes | memoryview], object]
"""Takes bytes for the wire, which are valid during the call only."""

# ------------------------------------------------------------------------------------------------ wires


class WireUser(Protocol):
    """The phase that owns a wire: first the upgrade, then the muxer."""

    def received(self, view: memoryview) -> int:
        """Bytes came. Returns how many were used; the wire keeps the rest, and it comes again in front of the next.

        ``view`` is valid during the call only. It never raises: the user knows best what a fault in it has to end.
        """

    def writable(self) -> None:
        """The wire is not ``congested`` any more."""

    def ended(self, error: Exception | None) -> None:
        """The wire is gone, whatever ended it. Called once, and nothing is called after it."""


@dataclass(frozen=True, slots=True)
class Limited:
    """What a relay still lets through: ``data``, bytes that we may send, and ``seconds``; infinite: any number."""

    data: float
    seconds: float


@runtime_checkable
class Rationed(Protocol):
    """A wire, of which somebody in between may let through so much, and no more."""

    @property
    def rest(self) -> Limited | None:
        """What is left of it now; None: it carries what it likes."""


class Wire(Protocol):
    """Ordered bytes to one other end. Where it is nested in a stream of another connection, it delivers at the end of
    that connection's turn and from memory of its own: the outer record is still being read until then.
    """

    user: WireUser
    """A change of phase is one assignment. What the old user left unused comes to the new one at once."""
    local: Multiaddr
    remote: Multiaddr
    """The other end, as it was dialed, or as the system tells it."""
    host: str | None
    """What limits count by: the remote IP address; None where there is none of its own, as for a circuit."""
    congested: bool
    """What is written now would only be buffered; ``writable`` tells when to go on."""
    lost: bool
    """``ended`` was called."""

    @property
    def partial(self) -> bool:
        """Bytes are kept that the user could not use yet."""

    @property
    def unsent(self) -> int:
        """Bytes that were written and have not reached the peer, as far as the system tells."""

    @property
    def delivered(self) -> int:
        """Bytes that have reached the peer, as far as the system tells; only that it grows means something."""

    def write(self, data: bytes | memoryview) -> None:
        """Send ``data``, which may change afterwards. Does nothing once the wire is lost."""

    def pause(self) -> None:
        """Receive no more until ``resume``."""

    def resume(self) -> None:
        """Receive again. What was kept comes first, not from within this call."""

    def finish(self) -> None:
        """Let what was written leave, then close our direction; receiving goes on."""

    def abort(self) -> None:
        """Close at once; ``ended`` follows."""


# ------------------------------------------------------------------------------------------------ security


class SecureChannel(Protocol):
    """Records of one connection, both directions."""

    header_size: int
    """Bytes at the front of a record that tell how long it is."""

    def body_size(self, header: bytes) -> int:
        """Bytes of a record behind its ``header``; used until there is a muxer, as ``open`` finds records itself."""

    def open(self, view: memoryview, deliver: Deliver) -> int:
        """Give the plaintext of every whole record at the front of ``view``, empty ones too, to ``deliver``, as long as
        that wants more; returns the bytes used.

        ``DecryptError`` at the first one that does not authenticate, and from then on.
        """

    def seal(self, pieces: Pieces, size: int, write: Write) -> None:
        """Give ``pieces``, ``size`` bytes together, to ``write`` as records. ``ConnectionClosed``: no more keys."""


@dataclass(frozen=True, slots=True)
class Secured:
    """A finished handshake. ``muxer``: the id that both sides chose inside it; None: they have to negotiate."""

    peer: PeerId
    public_key: PublicKey
    channel: SecureChannel
    muxer: str | None


class Security(Protocol):
    """One way to secure a wire; ``id`` is its name in multistream-select."""

    id: str

    def handshake(self, *, initiator: bool, expected: PeerId | None, muxers: tuple[str, ...]) -> Exchange[Secured]:
        """Prove both ends to each other. ``expected``: the only peer to accept; ``muxers``: ours, best first."""


# ------------------------------------------------------------------------------------------------ muxers


class Sink(Protocol):
    """Whoever reads and writes one stream. The muxer calls it from inside ``received``: it never blocks, and never
    calls code of the application.
    """

    def data(self, piece: bytes | memoryview) -> None:
        """Bytes came, in order and within the window. The piece is the sink's to keep."""

    def end(self) -> None:
        """The peer has closed its direction: nothing more will come."""

    def failed(self, error: Exception) -> None:
        """The stream was reset, or its connection has ended. The last call."""

    def ready(self) -> None:
        """Writing may go on: there is credit, or room on the connection."""

    def expired(self, now: float) -> None:
        """The time that ``StreamEnd.due`` tells has come."""


class StreamEnd(Protocol):
    """Our end of one stream of any muxer. Credit is ours to give: the peer may send more once ``consumed`` was told."""

    id: int
    sink: Sink
    due: float
    """When the connection calls ``Sink.expired``; infinite: never."""
    gone: bool
    """Both directions are over; nothing can be done with it any more."""
    finished: bool
    """Our direction is closed: nothing can be sent any more."""

    def send(self, data: bytes | memoryview) -> int:
        """Take as much of ``data`` as window and connection have room for; returns how much.

        ``data`` must not change before the next flush. Less than all: ``wait_turn``, and go on at ``Sink.ready``.
        """

    def send_now(self, data: bytes) -> None:
        """Send a short piece although there is no room; it leaves in one frame with what is written next."""

    def wait_turn(self, *, again: bool) -> None:
        """Have ``Sink.ready`` called when it is worth another try. ``again``: this try was one, and found no room."""

    def consumed(self, count: int, clock: Callable[[], float]) -> None:
        """The reader has taken ``count`` bytes, and the peer may send as many more."""

    def finish(self) -> None:
        """Close our direction (FIN)."""

    def discard(self) -> None:
        """Drop what still comes: nobody will read it."""

    def reset(self, code: int = 0) -> None:
        """End both directions at once. The sink is not told: it is the one that asked for it."""


USED_UP: Final = "stream ids"
"""The ``limit`` of the ``LimitExceeded`` with which no stream can be opened on a connection any more."""


class MuxerUser(Protocol):
    """Whose streams they are: the connection."""

    def accepted(self, end: StreamEnd) -> Sink:
        """The peer has opened a stream; it may be reset at once."""

    def look_at(self, due: float) -> None:
        """Call ``Muxer.tick`` at ``due``, if not earlier."""

    def worn(self) -> None:
        """Soon no stream can be opened any more. Called once at most, from ``Muxer.open``."""

    def refused(self, error: LimitExceeded) -> None:
        """A limit of ours has cost the peer a stream."""

    def ended(self, error: Exception) -> None:
        """No stream works any more, and why. Called once, whoever ended it."""

    def gone(self) -> None:
        """The wire is gone, too. Called once, after ``ended``."""


class Muxer(Protocol):
    """All streams of one connection, its goodbye, and what keeps it alive."""

    turn: Any
    """The ``Turn`` in which streams are told things; only ``streams/`` and what is above know its class."""
    heard: float
    """When the last bytes came."""

    @property
    def round_trip(self) -> float:
        """Seconds that the last answered ping took; 0 before the first."""

    @property
    def streams(self) -> Collection[StreamEnd]:
        """Those that are open, both directions together."""

    @property
    def opened(self) -> int:
        """How many of ours there have been."""

    def begin(self) -> None:
        """The user is ready: take what the peer had sent along with the end of the handshake. Called once."""

    def open(self) -> StreamEnd:
        """A new stream of ours; the caller sets its ``sink``. ``LimitExceeded``: not now, see ``when_openable``."""

    def when_openable(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, when a stream may be opened (first come, first served)."""

    def forget_opening(self, wake: Callable[[], None]) -> None:
        """Whoever asked by ``when_openable`` has given up."""

    def due(self) -> float:
        """When ``tick`` has something to do."""

    def tick(self, now: float) -> None:
        """Look at the deadlines of the connection: keep-alive, stalled writes, half frames."""

    def probe(self, now: float) -> None:
        """Ask the peer whether it is there: without an answer in time the connection ends, as after a silence."""

    def close(self, code: int, error: Exception) -> None:
        """Say goodbye with ``code`` and read no more; every stream fails with ``error``."""

    def abort(self, error: Exception) -> None:
        """End at once, without a word."""


class MuxerFactory(Protocol):
    """Starts one kind of muxer over secured wires; ``id`` is its name in multistream-select."""

    id: str

    def start(self, wire: Wire, secured: Secured, early: bytes, user: MuxerUser, *, dialer: bool) -> Muxer:
        """Become the wire's user. ``early`` is plaintext that came behind the negotiation."""

    def refuse(self, wire: Wire, secured: Secured, code: int) -> None:
        """Write the goodbye of a connection that is not wanted, instead of starting it."""


class _Nobody:
    """Takes the place of a ``WireUser`` or a ``Sink`` that is told nothing more: those who told it could otherwise
    not be freed, as each would lead to the other.
    """

    def received(self, view: memoryview) -> int:
        return len(view)

    def _nothing(self, *told: object) -> None: ...

    writable = ended = data = end = failed = ready = expired = _nothing


NOBODY: Final = _Nobody()

# ------------------------------------------------------------------------------------------------ transports


class Upgraded(Protocol):
    """A connection whose peer is proven, and which nobody has taken yet. Either ``start`` or ``refuse`` is called."""

    peer: PeerId
    public_key: PublicKey
    local: Multiaddr
    remote: Multiaddr

    @property
    def limited(self) -> Rationed | None:
        """The wire, if it is one."""

    def start(self, user: MuxerUser) -> Muxer:
        """Take the connection. ``ConnectionClosed``: it was lost before."""

    def refuse(self, code: int, error: Exception) -> None:
        """Tell the peer ``code`` and close. If we accepted it, ``Arrival.failed`` gets ``error`` once it is gone."""


class Outcome(Protocol):
    """Whoever wants the connection. At most one of both is called, but ``failed`` may follow a refusal."""

    def proven(self, upgraded: Upgraded) -> None:
        """The peer is proven."""

    def failed(self, error: Exception) -> None:
        """There is no connection, and why; its place is free again."""


class Arrival(Outcome, Protocol):
    """An accepted connection, which occupies a place until it is established; ``proven`` starts or refuses it."""

    give_up: Callable[[], None]
    """Set by the transport: aborts the connection without a word, as somebody else gets the place."""

    def begin(self, go: Callable[[], None]) -> Callable[[], None] | None:
        """Call ``go`` when the upgrade may begin. Returns None if it was called at once, else what ends the wait."""


class Arrivals(Protocol):
    """The swarm's side of a listener."""

    def admit(self, host: str | None, local: Multiaddr) -> Arrival | None:
        """Decide on an accepted connection, before any cryptography; None: abort it."""

    def look(self) -> None:
        """What ``TransportListener.addresses`` tells has changed."""

    def missed(self, error: OSError) -> None:
        """The system refused to accept one."""

    def closed(self, error: OSError) -> None:
        """The system has closed the listening socket."""


class TransportListener(Protocol):
    """What accepts connections at one address."""

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where it can be reached now, without ``/p2p/``; read from the system each time. What it does not tell is no
        error: what was known stays.
        """

    def stop(self) -> None:
        """Accept no more; connections stay."""


class Transport(Protocol):
    """One kind of address."""

    def handles(self, address: Multiaddr) -> bool:
        """Whether it can dial ``address`` and listen there, judged by its form.

        A name is looked up before it comes here: one that begins with a name is handled only where that is somebody
        else's work, such as a proxy's.
        """

    async def dial(self, address: Multiaddr, expected: PeerId | None, *, name: str = "") -> Upgraded:
        """Connect and prove the peer. ``DialError``, ``HandshakeError``, ``DeadlineExceeded``, ``ConnectionClosed``.

        ``name`` is the DNS name whose IP address stands in ``address``; it was given by address, if it is empty.
        """

    async def listen(self, address: Multiaddr, arrivals: Arrivals) -> TransportListener:
        """Accept connections. ``ConfigError``: no such address; ``ListenError``: the system refuses it."""

    def close(self) -> None:
        """Abort every upgrade that is under way."""
