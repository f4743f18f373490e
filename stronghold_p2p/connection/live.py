"""One connection as the library works with it: a proven peer, a muxer, its streams and their handlers.

It is the user of its muxer: ``accepted`` is a stream of the peer, which negotiates and gets a handler; ``ended`` and
``gone`` take it through its ``life``. It knows nothing of records or frames: those are the muxer's, and so are the
goodbye and what keeps the connection alive. ``Connection`` is what users see of it.

It has one timer, for everything that may be due: the muxer's deadlines, its own idleness, and the ``due`` of each
stream, which is looked at but not set for each stream (``deadlines.py``).
"""

import asyncio
import logging
import math
import weakref
from collections.abc import Mapping
from enum import Enum
from functools import partial
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p import multistream
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.deadlines import Deadlines
from stronghold_p2p.connection.handlers import Handlers, Owner
from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, again
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.identity import PeerId, PublicKey
from stronghold_p2p.logs import each
from stronghold_p2p.loops import check_home
from stronghold_p2p.seams import USED_UP, Muxer, Sink, StreamEnd, Upgraded
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.negotiation import (
    SILENT_AFTER,
    InboundNegotiation,
    LazyConfirm,
    PatientConfirm,
    negotiate,
    open_when_acknowledged,
)
from stronghold_p2p.streams.waiter import Turn

HANDLER_GRACE: Final = 1.0  # seconds for handlers to deal with what a peer sent before it left
CLOSE_GRACE: Final = 1.0  # seconds that ``close`` waits for the peer to close, too
DRAINED_WITHIN: Final = 0.5  # seconds, after its last stream has ended
ENDING: Final = "internal error while a connection ended"
LINGER: Final = 10.0  # seconds that a stream which we closed may take to end before we reset it

log = logging.getLogger("stronghold_p2p.connection")


class Life(Enum):
    """Where a connection is.

    It is open from the moment in which limits and firewall have taken it. Whoever ends it, it is ``CLOSING`` from then
    on: no stream works any more, but the goodbye may still be on its way, and the peer has a second to close its side.
    It is ``GONE`` with its wire. A peer that vanishes takes it there in two steps, too.
    """

    OPEN = "open"
    CLOSING = "closing"
    GONE = "gone"


class Event(Enum):
    """What happens to a connection."""

    END = "we close it, the peer does, or it fails"
    LOSE = "its wire is gone"


LIFE: Final[Mapping[tuple[Life, Event], Life]] = {
    (Life.OPEN, Event.END): Life.CLOSING,
    (Life.CLOSING, Event.LOSE): Life.GONE,
}

_OPEN: Final = Life.OPEN


class Connection:
    """An encrypted connection to ``peer``, whose identity the handshake has proven."""

    __slots__ = ("__weakref__", "_live")

    def __init__(self, live: "LiveConnection") -> None:
        self._live = live

    @property
    def peer(self) -> PeerId:
        """The other end, proven by the handshake."""
        return self._live.peer

    @property
    def public_key(self) -> PublicKey:
        """The key that ``peer`` is the name of."""
        return self._live.public_key

    @property
    def direction(self) -> Direction:
        """``"out"`` when we dialed, ``"in"`` when the peer did."""
        return self._live.direction

    @property
    def local_address(self) -> Multiaddr:
        """Our end."""
        return self._live.local_address

    @property
    def remote_address(self) -> Multiaddr:
        """The other end: as we dialed it, or as the system tells it."""
        return self._live.remote_address

    @property
    def closed(self) -> bool:
        """It is over, and ``error`` tells why."""
        return self._live.closed

    @property
    def error(self) -> Exception | None:
        """Why it is over; None while it is open."""
        return self._live.error

    @property
    def streams(self) -> int:
        """Streams that are open, both directions together."""
        return self._live.streams

    @property
    def latency(self) -> float | None:
        """The round trip that was measured last, in seconds; None before the first."""
        return self._live.latency

    def __repr__(self) -> str:
        return repr(self._live)

    async def close(self, code: int = GoAway.NORMAL) -> None:
        """Close in order: what was written leaves, then a go-away with ``code``, then our end of the connection.

        Waits up to a second for the peer to close its end, too. Cancelled, the connection is aborted. ``UsageError``:
        called in another event loop than the network's.
        """
        check_home(self._live.loop)
        await self._live.close(code)


class LiveConnection:
    """``direction`` is ``"out"`` when we dialed. ``owner``: the swarm."""

    wanted = False  # somebody has found it here, and not by a dial
    dialed_as: frozenset[Multiaddr] = frozenset()  # addresses with names that have led here
    others = 0  # of the streams that we have opened, those for no request
    worn_out = False  # few ids are left for streams of ours
    used_up = False  # and now none
    replacement: asyncio.Task[None] | None = None  # looks for the fresh one
    _draining = False

    def __init__(
        self, upgraded: Upgraded, owner: Owner, *, direction: Direction, limits: Limits, timeouts: Timeouts
    ) -> None:
        self.peer: PeerId = upgraded.peer
        self.public_key: PublicKey = upgraded.public_key
        self.direction: Direction = direction
        self.local_address: Multiaddr = upgraded.local
        self.remote_address: Multiaddr = upgraded.remote
        self.error: Exception | None = None
        self.life = Life.OPEN
        self.loop = asyncio.get_running_loop()
        self._owner = owner
        self._timeouts = timeouts
        self._negotiating = math.inf if timeouts.negotiate is None else timeouts.negotiate
        self._speaking = min(self._negotiating, SILENT_AFTER)
        self.deadlines = Deadlines(self, self.loop)
        self.handlers = Handlers(owner, limits.streams_in, self.loop)
        self._idle_since: float | None = self.loop.time()
        self._gone: asyncio.Future[None] | None = None
        self._face: Connection | None = None
        self._faded: weakref.ref[Connection] | None = None
        self._muxer: Muxer = upgraded.start(self)
        self.turn: Turn = self._muxer.turn
        self.deadlines.look_at(self._next(self.loop.time()))

    def begin(self) -> None:
        """Everybody who has to know of this connection does: it may be used."""
        self._muxer.begin()

    def __repr__(self) -> str:
        return f"<Connection {self.direction} {self.peer} {self.remote_address}>"

    @property
    def face(self) -> Connection:
        """What users see of it: the same object as long as it lives, or somebody holds it."""
        face = self._face or (None if self._faded is None else self._faded())
        if face is None:
            face = Connection(self)
            if self.life is Life.GONE:
                self._faded = weakref.ref(face)
            else:
                self._face = face
        return face

    @property
    def closed(self) -> bool:
        return self.life is not _OPEN

    @property
    def streams(self) -> int:
        return len(self._muxer.streams)

    @property
    def requests_out(self) -> int:
        """How many requests of ours have had a stream here."""
        return self._muxer.opened - self.others

    @property
    def idle_since(self) -> float:
        """Since when it has had no stream, as far as looks and bytes tell; infinite while it has one."""
        if self._muxer.streams:
            return math.inf
        return min(self._muxer.heard, math.inf if self._idle_since is None else self._idle_since)

    @property
    def in_use(self) -> bool:
        """Somebody has found it here, or has a stream on it that is not one of the library's own."""
        sinks = (end.sink for end in self._muxer.streams)
        names = (sink.protocol if isinstance(sink, LiveStream) else "a wire" for sink in sinks)
        return self.wanted or any(name and name not in OPEN_PROTOCOLS for name in names)

    @property
    def heard(self) -> float:
        return self._muxer.heard

    @property
    def latency(self) -> float | None:
        return self._muxer.round_trip or None

    async def open_stream(self, *protocols: str, wait: bool = False, patience: Deadline | None = None) -> LiveStream:
        """A stream for the first of ``protocols`` that the peer serves.

        With one protocol, or when identify has told which the peer serves, nothing is waited for (unless ``wait``): a
        refusal then comes as ``UnsupportedProtocol`` from the first read, and silence as ``DeadlineExceeded``. The
        peer has ``Timeouts.negotiate`` to accept it, or until ``patience`` is over.
        ``LimitExceeded`` if the peer takes no more streams, ``ConnectionClosed`` if the connection ends.
        """
        known = None if wait else self._known(protocols)
        proposal = b"" if known is None else multistream.propose(known)
        try:
            stream = self._stream(await open_when_acknowledged(self._muxer, self._check_open))
        except LimitExceeded as error:
            self.used_up = error.limit == USED_UP
            raise
        self.others += 1
        if known is not None:
            self._propose(stream, known, proposal)
            if patience is not None:
                stream.take_in(PatientConfirm(stream, known, proposal, patience.when, patience.timeout))
            return stream
        try:
            within = self._timeouts.negotiate if patience is None else None  # who is patient counts for himself
            stream.protocol = await negotiate(stream, protocols, within)
        except BaseException:
            stream.reset(Reset.NEGOTIATION_FAILED)
            raise
        return stream

    def open_now(self, protocols: tuple[str, ...], now: float | None = None) -> LiveStream | None:
        """``open_stream`` where nothing has to be waited for; else None. ``now``: the loop's time, if it is known."""
        known = self._known(protocols)
        if known is None:
            return None
        proposal = multistream.propose(known)
        try:
            end = self._muxer.open()
        except LimitExceeded as error:  # ``open_stream`` waits for a place, or says that there will be none
            self.used_up = error.limit == USED_UP
            return None
        return self._propose(self._stream(end), known, proposal, now)

    def likely(self, protocols: tuple[str, ...]) -> str:
        """The one of ``protocols`` to try without waiting: what the peer has said to serve, else the first."""
        return self._known(protocols) or protocols[0]

    def _known(self, protocols: tuple[str, ...]) -> str | None:
        if len(protocols) == 1:
            return protocols[0]
        known = self._owner.peer_protocols.get(self.peer, ())
        for protocol in protocols:
            if protocol in known:
                return protocol
        return None

    def _stream(self, end: StreamEnd) -> LiveStream:
        self._idle_since = None
        stream = LiveStream(end, self, self.loop)
        end.sink = stream
        return stream

    def _propose(self, stream: LiveStream, protocol: str, proposal: bytes, now: float | None = None) -> LiveStream:
        stream.send_now(proposal)
        stream.protocol = protocol
        due = (self.loop.time() if now is None else now) + self._negotiating
        # What accepts a proposal repeats it, byte for byte.
        stream.take_in(LazyConfirm(stream, protocol, proposal, due, self._timeouts.negotiate))
        return stream

    def _check_open(self) -> None:
        if self.life is not _OPEN:
            raise again(self.error or ConnectionClosed("the connection is closed"), self.peer)

    def accepted(self, end: StreamEnd) -> Sink:
        """The peer opens a stream: which protocol it is for comes first."""
        self._idle_since = None
        stream = LiveStream(end, self, self.loop)
        due = self._muxer.heard + self._speaking
        stream.take_in(InboundNegotiation(self.handlers, stream, due, self._timeouts.negotiate))
        return stream

    def look_at(self, due: float) -> None:
        self.deadlines.look_at(due)

    def worn(self) -> None:
        self.worn_out = True
        self._owner.worn(self)

    def probe(self) -> None:
        """Ask the peer whether this connection still leads to it: without an answer it ends."""
        self._muxer.probe(self.loop.time())

    def refused(self, error: LimitExceeded) -> None:
        self._owner.refused(self, error)

    def drain(self) -> None:
        """Close it in order as soon as there is no stream on it."""
        self._draining = True
        self.deadlines.look_at(self.loop.time())

    def linger(self) -> float:
        """When a stream that is closed now, and that the peer does not close, is reset."""
        return self.loop.time() + LINGER

    def look(self, now: float) -> float:
        """Do what is due now: keep-alive, idle, streams; returns what is due next."""
        self._muxer.tick(now)
        if self._draining and not self._muxer.streams:
            told = "a fresh connection has taken its place"
            self.shut(GoAway.SUPPLANTED, ConnectionClosed(told, code=GoAway.SUPPLANTED))
        if self.life is _OPEN and self._is_idle(now):
            idle = f"idle for {self._timeouts.idle:g} s: add the peer to protected, or raise Timeouts.idle"
            self.shut(error=ConnectionClosed(idle))
        if self.life is _OPEN:
            self.deadlines.expire(self._muxer.streams, now)
        return self._next(now) if self.life is _OPEN else self._muxer.due()

    def _is_idle(self, now: float) -> bool:
        if self._muxer.streams or self.peer in self._owner.protected:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        limit = self._timeouts.idle
        return limit is not None and self._idle_since is not None and now - self._idle_since >= limit

    def _next(self, now: float) -> float:
        due = self.deadlines.next
        if self._timeouts.idle is not None:
            due = min(due, (now if self._idle_since is None else self._idle_since) + self._timeouts.idle)
        return min(due, self._muxer.due(), now + DRAINED_WITHIN if self._draining else math.inf)

    async def close(self, code: int = GoAway.NORMAL) -> None:
        """Close in order, and wait for the peer to close its end, too.

        A socket that is closed over unread bytes answers with RST, which destroys what the peer has not read yet.
        """
        self.shut(code)
        if self.life is Life.GONE:
            return
        if self._gone is None:
            self._gone = self.loop.create_future()
        try:
            async with asyncio.timeout(CLOSE_GRACE):
                await asyncio.shield(self._gone)
        except TimeoutError:
            self.abort()
        except asyncio.CancelledError:
            self.abort()
            raise

    def shut(self, code: int = GoAway.NORMAL, error: Exception | None = None) -> None:
        """Say goodbye and read no more; ``abort`` or the peer's close ends it."""
        if self.life is _OPEN:
            self._muxer.close(code, error or ConnectionClosed("we closed the connection", code=code))

    def abort(self) -> None:
        """End at once."""
        self._muxer.abort(ConnectionClosed("we aborted the connection"))

    def failed(self, error: Exception) -> None:
        """A fault of ours."""
        log.error("internal error on a connection to %s", self.peer, exc_info=error)
        self.shut(GoAway.INTERNAL_ERROR, ConnectionClosed("internal error", code=GoAway.INTERNAL_ERROR))

    def ended(self, error: Exception) -> None:
        self.life = LIFE[self.life, Event.END]
        self.error = error
        # When the peer leaves, what it had sent before is still there to be read.
        remote = isinstance(error, ConnectionClosed) and error.remote
        cancel = partial(self.handlers.cancel, HANDLER_GRACE if remote else 0.0)
        each((self.deadlines.clear, cancel, partial(self._owner.ended, self, error)), log, ENDING)

    def gone(self) -> None:
        """Nothing that it has leads back to it from here on: it is freed with the last one who holds it."""
        self.life = LIFE[self.life, Event.LOSE]
        each((self.deadlines.end, partial(self._owner.gone, self)), log, ENDING)
        if self._face is not None:
            self._faded, self._face = weakref.ref(self._face), None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
