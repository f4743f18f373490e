"""One connection: the secure channel, its session, its handlers, and its one timer.

A byte's way in is ``Link.buffer_updated`` → ``_receive`` → ``Opener.open`` → ``Session.receive`` →
``Stream.data``, one call inside another. Its way out is ``Session.send``, then once per turn of the loop
``_flush``: all frames of that turn are sealed together and leave in one write.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from multiaddr import Multiaddr

from stronghold_p2p import multistream
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.connection.handlers import Handlers
from stronghold_p2p.connection.release import Tie, forget_frames
from stronghold_p2p.connection.timer import Timer
from stronghold_p2p.errors import (
    ConnectionClosed,
    DecryptError,
    MuxerError,
    UsageError,
    again,
)
from stronghold_p2p.streams.negotiation import (
    LazyConfirm,
    Listening,
    negotiate,
    opened,
)
from stronghold_p2p.streams.stream import Stream
from stronghold_p2p.streams.waiter import Turn
from stronghold_p2p.transport.link import Link
from stronghold_p2p.yamux import Session, StreamState

if TYPE_CHECKING:
    from stronghold_p2p.identity import PeerId, PublicKey
    from stronghold_p2p.swarm.swarm import Swarm
    from stronghold_p2p.transport.upgrader import Upgraded

Direction = Literal["in", "out"]

HANDLER_GRACE: Final = 1.0  # seconds for handlers to deal with what a peer sent before it left
CLOSE_GRACE: Final = 1.0  # seconds for the peer to close after we did, so that nothing it sent is answered by RST

log = logging.getLogger("stronghold_p2p.connection")


class Connection:
    """An encrypted connection to ``peer``, whose identity the handshake has proven.

    ``direction`` is ``"out"`` when we dialed. ``latency`` is the last measured round trip in seconds.
    """

    def __init__(
        self,
        link: Link,
        upgraded: Upgraded,
        swarm: Swarm,
        *,
        direction: Direction,
        local: Multiaddr,
        remote: Multiaddr,
    ) -> None:
        self.peer: PeerId = upgraded.peer
        self.public_key: PublicKey = upgraded.public_key
        self.direction: Direction = direction
        self.early_muxer = upgraded.early_muxer
        self.local_address = local
        self.remote_address = remote
        self.error: Exception | None = None
        self.closed = False
        self._swarm = swarm
        self.loop = swarm.loop
        self._link = link
        self._seal = upgraded.sealer.seal_pieces
        self._space = swarm.space
        self._opener = upgraded.opener
        self._tie = Tie(self)
        self._session = self._make_session(self._tie)
        self.turn = Turn(swarm.loop)
        self._running = Handlers(swarm)
        self.cancel_handler, self.recheck = self._running.cancel_one, self._running.recheck
        self._timer = Timer(self, link, self._session, swarm.timeouts)
        # For the streams: one was closed, and the peer has a while to do so, too; one is over at a time that is given.
        self.closing = self._timer.closing
        self.expire = self._timer.expire
        self._parked = 0
        self._reading_paused = False
        self._gone: asyncio.Future[None] | None = None
        link.busy_poll = swarm.timeouts.busy_poll
        link.receiver, link.on_room = self._receive, self._flush
        link.on_failed, link.on_lost = self.failed, self._lost

    def _make_session(self, tie: Tie) -> Session:
        return Session(
            client=self.direction == "out",
            limits=self._swarm.limits,
            accept=tie.accept,
            notify=tie.notify,
            early=tie.early,
            budget=self._swarm.budget(self.peer),
        )

    def __repr__(self) -> str:
        return f"<Connection {self.direction} {self.peer} {self.remote_address}>"

    @property
    def streams(self) -> int:
        """Streams that are open, both directions together."""
        return len(self._session.streams)

    @property
    def heard(self) -> float:
        """When the last bytes came, in the loop's seconds."""
        return self._session.now

    @property
    def latency(self) -> float | None:
        return self._session.round_trip or None

    @property
    def protected(self) -> bool:
        """Whether it is kept although nothing happens on it."""
        return self._swarm.is_protected(self.peer)

    # ------------------------------------------------------------------ bytes in

    def start(self, upgraded: Upgraded) -> None:
        """Take what the peer had sent along with the end of the handshake."""
        if upgraded.plaintext:
            try:
                self._session.receive(upgraded.plaintext, self.loop.time())
            except ConnectionClosed as error:
                self.failed(error)

    def _receive(self, view: memoryview) -> int:
        session, turn = self._session, self.turn
        now = session.now = self._timer.heard = self.loop.time()
        scheduled = session.hold()
        turn.waiting = []
        try:
            used = self._opener.open(view, session.deliver, self._space)
        finally:  # what came before a fault still counts
            turn.resume()
        if used < len(view) or session.incomplete_since is not None:
            self._timer.incomplete(now, used)
        if self._running.starting:
            # Before Python 3.12 handlers start in the next turn of the loop; the flush of that turn comes behind them.
            self._running.starting = False
            if not scheduled:
                self.loop.call_soon(self._flush)
        elif session.stalled:
            self._send_and_resume()
        else:
            self._send()
        # What was sent is owed no more.
        if self._link.congested and session.overloaded and not self._reading_paused and not self.closed:
            self._reading_paused = True
            self._link.pause_reading()
        return used

    # ------------------------------------------------------------------ bytes out

    def flush_soon(self) -> None:
        """Seal and write what has collected, behind everything that is due before in this turn of the loop."""
        self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send, from a bare callback of the loop: who had to wait for room goes on in it."""
        self._send_and_resume()
        self._link.look()

    def _send_and_resume(self) -> None:
        self.turn.waiting = []
        self._send()
        try:
            self.turn.resume()
        except Exception as error:  # a fault of ours: this connection pays for it
            self.failed(error)

    def send_early(self) -> None:
        """Seal and write what has collected, before the turn of the loop is over."""
        self._send(early=True)

    def _send(self, *, early: bool = False) -> None:
        session, link = self._session, self._link
        if self.closed or self._link.congested:
            return
        if session.violation is not None:
            self.failed(session.violation)
            return
        try:
            frames = session.early_data() if early else session.data_to_send()
            self._seal(frames, self._space, link.write, session.taken)
            if link.congested or session.congested or session.stalled or session.passed_over:
                session.flushed(congested=link.congested)
        except Exception as error:  # the Noise counter is used up; or a fault of ours, for which only this one pays
            self.failed(error)
            return
        if link.congested:
            self._timer.stalled()
        if self._reading_paused and not session.overloaded:
            self._reading_paused = False
            link.resume_reading()

    # ------------------------------------------------------------------ streams

    async def open_stream(self, *protocols: str, wait: bool = False) -> Stream:
        """A stream for the first of ``protocols`` that the peer serves.

        With one protocol, or when identify has told which the peer serves, nothing is waited for (unless ``wait``): a
        refusal then comes as ``UnsupportedProtocol`` from the first read, and silence as ``DeadlineExceeded``.
        ``LimitExceeded`` if the peer takes no more streams, ``ConnectionClosed`` if the connection ends.
        """
        if not protocols:
            raise UsageError("name at least one protocol")
        stream = None if wait else self.open_now(protocols)
        if stream is not None:
            return stream
        known = None if wait else self._known(protocols)
        proposal = b"" if known is None else multistream.propose(known)
        self._timer.idle_since = None
        state = await opened(self._session, self.loop, self._check_open)
        stream = state.sink = self._stream(state)
        if known is not None:
            return self._propose(stream, known, proposal)
        try:
            stream.protocol = await negotiate(stream, protocols, self._swarm.timeouts.negotiate)
        except BaseException:
            stream.reset(Reset.NEGOTIATION_FAILED)
            raise
        return stream

    def open_now(self, protocols: tuple[str, ...], now: float | None = None) -> Stream | None:
        """``open_stream`` where nothing has to be waited for; else None. ``now``: the loop's time, if it is known."""
        self._check_open()
        known = self._known(protocols)
        if known is None or self._session.unacknowledged >= self._swarm.limits.ack_backlog:
            return None
        proposal = multistream.propose(known)
        self._timer.idle_since = None
        state = self._session.open()
        stream = state.sink = self._stream(state)
        return self._propose(stream, known, proposal, now)

    def likely(self, protocols: tuple[str, ...]) -> str:
        """The one of ``protocols`` to try without waiting: what the peer has said to serve, else the first."""
        return self._known(protocols) or protocols[0]

    def _known(self, protocols: tuple[str, ...]) -> str | None:
        return protocols[0] if len(protocols) == 1 else self._swarm.known(self.peer, protocols)

    def _propose(self, stream: Stream, protocol: str, proposal: bytes, now: float | None = None) -> Stream:
        stream.write_now(proposal)
        stream.protocol = protocol
        # What accepts a proposal repeats it, byte for byte.
        due = self._timer.negotiation(self.loop.time() if now is None else now)
        stream.intake = LazyConfirm(stream, protocol, proposal, due)
        return stream

    def _stream(self, state: StreamState) -> Stream:
        return Stream(self._session, state, self, self.loop)

    def accept(self, state: StreamState) -> Stream:
        """The peer opens a stream: its protocol is what comes first."""
        timer = self._timer
        timer.idle_since = None
        stream = self._stream(state)
        stream.intake = Listening(self, stream, timer.negotiation(timer.heard))
        return stream

    def park(self, stream: Stream) -> bool:
        """The stream's negotiation has begun and waits for more; if too many do, the stream is reset."""
        maximum = self._swarm.limits.negotiating
        if maximum is not None and self._parked >= maximum:
            stream.reset(Reset.RESOURCE_LIMIT)
            return False
        self._parked += 1
        return True

    def unpark(self) -> None:
        """A negotiation that had to wait is over, one way or the other."""
        self._parked -= 1

    def admits(self, protocol: str) -> bool | None:
        """Whether the peer may open a stream for this protocol now; None: the application has to be asked."""
        return self._swarm.gatekeeper.admits(self, protocol)

    def ask_first(self, stream: Stream, protocol: str, answer: bytes, leftover: bytes) -> None:
        """Ask the application before the protocol's id is echoed; what arrives meanwhile is kept."""
        self._running.ask_first(stream, protocol, answer, leftover)

    def start_handler(self, stream: Stream) -> None:
        """The stream's protocol is agreed on: its handler runs as a task."""
        self._running.start(stream)

    # ------------------------------------------------------------------ the end

    async def close(self, code: int = GoAway.NORMAL) -> None:
        """Close in order: what was written leaves, then a go-away, then our end of the connection.

        Waits up to a second for the peer to close its end too: a socket closed over unread bytes answers
        with RST, and that destroys what the peer has not read yet. Cancelled, the connection is aborted.
        """
        self.shut(code)
        if self._link.lost:
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
        if self.closed:
            return
        farewell = [*self._session.data_to_send(), self._session.go_away(code)]
        self._end(error or ConnectionClosed("we closed the connection", code=code))
        if not self._link.lost:
            with suppress(ConnectionClosed):  # the Noise counter is used up: nothing more can be said
                self._seal(farewell, self._space, self._link.write, sum(map(len, farewell)))
            self._link.receiver = len
            self._link.resume_reading()
            self._link.finish()
            self._timer.last(CLOSE_GRACE, self.abort)

    def abort(self) -> None:
        """End at once."""
        self._end(ConnectionClosed("we aborted the connection"))
        self._link.abort()

    def failed(self, error: Exception) -> None:
        if self.closed:
            return
        if isinstance(error, DecryptError):  # nothing on this channel can be trusted, so nothing is said on it
            self._end(error)
            self._link.abort()
        elif isinstance(error, ConnectionClosed):
            local = isinstance(error, MuxerError)
            self.shut(error.code if local else GoAway.NORMAL, error)
        else:
            log.error("internal error on a connection to %s", self.peer, exc_info=error)
            self.shut(GoAway.INTERNAL_ERROR, ConnectionClosed("internal error", code=GoAway.INTERNAL_ERROR))

    def _lost(self, error: Exception | None) -> None:
        if isinstance(error, ConnectionClosed):
            self._end(error)
        else:
            # go closes with SO_LINGER 0: a reset is an ordinary end (wire-facts 27, 31).
            closed = ConnectionClosed("the peer closed the connection", remote=True)
            closed.__cause__ = error
            self._end(closed)
        # Nothing that it has leads back to it any more: it goes when the last one who holds it lets go.
        self._timer.end()
        self._tie.connection = None
        del self._session.deliver
        self._swarm.gone(self)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _end(self, error: Exception) -> None:
        if self.closed:
            return
        self.closed = True
        forget_frames(error)
        self.error = error
        self._session.fail(error)
        self._timer.stop()
        # When the peer leaves, what it had sent before is still there to be read.
        remote = isinstance(error, ConnectionClosed) and error.remote
        self._running.cancel(HANDLER_GRACE if remote else 0.0)
        self._swarm.ended(self, error)

    def _check_open(self) -> None:
        if self.closed:
            raise again(self.error or ConnectionClosed("the connection is closed"), self.peer)

    @property
    def handlers(self) -> frozenset[asyncio.Task[None]]:
        """Tasks of handlers that are running."""
        return frozenset(self._running.tasks.values())
