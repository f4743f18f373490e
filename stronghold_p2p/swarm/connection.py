"""One connection: the secure channel, its session, its handlers, and its one timer.

A byte's way in is ``Link.buffer_updated`` → ``_receive`` → ``Opener.open`` → ``Session.receive`` →
``Stream.data``, one call inside another. Its way out is ``Session.send``, then once per turn of the loop
``_flush``: all frames of that turn are sealed together and leave in one write.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final, Literal, cast

from multiaddr import Multiaddr

from stronghold_p2p import multistream
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    DecryptError,
    LimitExceeded,
    MuxerError,
    P2PError,
)
from stronghold_p2p.swarm.negotiation import LazyConfirm, Listening, Withheld
from stronghold_p2p.transport.link import Link
from stronghold_p2p.yamux import GoAway, Reset, Session, Stream, StreamState

if TYPE_CHECKING:
    from stronghold_p2p.identity import PeerId, PublicKey
    from stronghold_p2p.swarm.swarm import Handler, Swarm
    from stronghold_p2p.transport.upgrader import Upgraded

Direction = Literal["in", "out"]

LINGER: Final = 10.0  # seconds that a stream which we closed may take to end before we reset it
INCOMPLETE: Final = 30.0  # seconds for the rest of a frame or record (reliability 4.3, row 31)
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
        self._loop = swarm.loop
        self._link = link
        self._seal = upgraded.sealer.seal_pieces
        self._opener = upgraded.opener
        self._timeouts = swarm.timeouts
        self._session = Session(
            client=direction == "out", limits=swarm.limits, accept=self._accept, notify=self._schedule
        )
        self._handlers: set[asyncio.Task[None]] = set()
        self._negotiating: dict[Stream, float] = {}
        self._parked = 0
        self._heard = self._loop.time()
        self._idle_since: float | None = self._heard
        self._stalled_at: tuple[float, int] | None = None
        self._reading_paused = False
        self._gone: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        link.receiver = self._receive
        link.on_failed = self._failed
        link.on_lost = self._lost
        link.on_room = self._flush
        self._rearm(self._heard)

    def __repr__(self) -> str:
        return f"<Connection {self.direction} {self.peer} {self.remote_address}>"

    @property
    def streams(self) -> int:
        """Streams that are open, both directions together."""
        return len(self._session.streams)

    @property
    def latency(self) -> float | None:
        return self._session.round_trip or None

    # ------------------------------------------------------------------ bytes in

    def start(self, upgraded: Upgraded) -> None:
        """Take what the peer had sent along with the end of the handshake."""
        if upgraded.plaintext:
            self._session.receive(upgraded.plaintext, self._loop.time())

    def _receive(self, view: memoryview) -> int:
        plaintexts, used = self._opener.open(view)
        session = self._session
        now = self._heard = self._loop.time()
        scheduled = session.hold()
        for plaintext in plaintexts:
            session.receive(plaintext, now)
        if self._opener.failure is not None:
            raise self._opener.failure
        # Whoever was woken or started runs in the next turn of the loop; the flush of that turn comes behind them.
        if not scheduled:
            self._loop.call_soon(self._flush)
        if session.overloaded and not self._reading_paused:
            self._reading_paused = True
            self._link.transport.pause_reading()
        return used

    # ------------------------------------------------------------------ bytes out

    def _schedule(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        session, link = self._session, self._link
        if self.closed or link.congested:
            if link.congested and not session.congested:
                self._note_stall()
            return
        if session.violation is not None:
            self._failed(session.violation)
            return
        self._stalled_at = None
        try:
            for record in self._seal(session.data_to_send()):
                link.write(record)
        except ConnectionClosed as error:  # the Noise counter is used up
            self._failed(error)
            return
        session.flushed(congested=link.congested)
        if link.congested:
            self._note_stall()
        if self._reading_paused and not session.overloaded:
            self._reading_paused = False
            link.transport.resume_reading()

    def _note_stall(self) -> None:
        self._session.congested = True
        now = self._loop.time()
        self._stalled_at = (now, self._link.transport.get_write_buffer_size())
        if self._timeouts.write_stall is not None:
            self._rearm(now + self._timeouts.write_stall)

    # ------------------------------------------------------------------ streams

    async def open_stream(self, *protocols: str) -> Stream:
        """A stream for the first of ``protocols`` that the peer serves.

        With one protocol, or when identify has told which the peer serves, nothing is waited for: a refusal
        then comes as ``UnsupportedProtocol`` from the first read. ``LimitExceeded`` if the peer takes no more
        streams, ``ConnectionClosed`` if the connection ends.
        """
        self._check_open()
        self._idle_since = None
        if self._session.unacknowledged < self._swarm.limits.ack_backlog:
            state = self._session.open()
        else:
            state = await self._open()
        stream = self._stream(state)
        state.sink = stream
        known = protocols[0] if len(protocols) == 1 else self._swarm.known(self.peer, protocols)
        if known is not None:
            stream.write_now(multistream.propose(known))
            stream.protocol = known
            stream.intake = LazyConfirm(self, stream, known)
            self.negotiating(stream, outbound=True)
            return stream
        try:
            stream.protocol = await self._negotiate(stream, protocols)
        except BaseException:
            stream.reset()
            raise
        return stream

    async def _negotiate(self, stream: Stream, protocols: tuple[str, ...]) -> str:
        exchange = multistream.dial(protocols)
        reply = b""
        step = next(exchange)
        while True:
            if isinstance(step, int):
                reply = await stream.readexactly(step)
            else:
                await stream.write(step)
                reply = b""
            try:
                step = exchange.send(reply)
            except StopIteration as stop:
                return str(stop.value)

    async def _open(self) -> StreamState:
        while True:
            self._check_open()
            try:
                self._idle_since = None
                return self._session.open()
            except LimitExceeded as error:
                if error.limit != "ack_backlog":
                    raise
            place: asyncio.Future[None] = self._loop.create_future()

            def wake(place: asyncio.Future[None] = place) -> None:
                if not place.done():
                    place.set_result(None)

            self._session.when_openable(wake)
            try:
                await place
            except BaseException:
                self._session.forget_opening(wake)
                raise

    def _stream(self, state: StreamState) -> Stream:
        return Stream(self._session, state, self, self._loop)

    def _accept(self, state: StreamState) -> Stream:
        self._idle_since = None
        stream = self._stream(state)
        stream.intake = Listening(self, stream)
        maximum = self._swarm.limits.negotiating
        if maximum is not None and self._parked >= maximum:
            stream.reset(Reset.RESOURCE_LIMIT)
        return stream

    def negotiating(self, stream: Stream, *, outbound: bool = False) -> None:
        """The stream's negotiation waits for the peer: it has ``Timeouts.negotiate`` seconds."""
        if not outbound:
            self._parked += 1
        limit = self._timeouts.negotiate
        due = math.inf if limit is None else self._loop.time() + limit
        self._negotiating[stream] = due
        if due < self._timer_at:
            self._rearm(due)

    def settled(self, stream: Stream, *, inbound: bool = False) -> None:
        """The stream's negotiation is over, one way or the other."""
        if self._negotiating.pop(stream, None) is not None and inbound:
            self._parked -= 1

    def closing(self, state: StreamState) -> None:
        """We closed the stream; if the peer does not within ``LINGER`` seconds, it is reset."""
        due = self._loop.time() + LINGER
        state.closing_at = due
        if due < self._timer_at:
            self._rearm(due)

    def admits(self, protocol: str) -> bool | None:
        """Whether the peer may open a stream for this protocol now; None: the application has to be asked."""
        return self._swarm.admits(self, protocol)

    def ask_first(self, stream: Stream, protocol: str, answer: bytes, leftover: bytes) -> None:
        """Ask the application before the protocol's id is echoed; what arrives meanwhile is kept."""
        stream.intake = withheld = Withheld(leftover)
        self._handlers.add(self._loop.create_task(self._ask(stream, protocol, answer, withheld)))

    async def _ask(self, stream: Stream, protocol: str, answer: bytes, withheld: Withheld) -> None:
        stream.protocol = protocol
        if not await self._swarm.ask(self, protocol):
            stream.write_now(answer[: -len(multistream.message(protocol))] + multistream.NA)
            stream.intake = None
            stream.close_nowait()
            self._handlers.discard(_current_task())
        elif stream.intake is withheld:
            stream.write_now(answer)
            stream.negotiated(protocol)
            for piece in withheld.pieces:
                if piece:
                    stream.data(piece)
            await self._handle(stream)

    def start_handler(self, stream: Stream) -> None:
        self._handlers.add(self._loop.create_task(self._handle(stream)))

    async def _handle(self, stream: Stream) -> None:
        handler: Handler | None = self._swarm.handler(stream.protocol)
        try:
            if handler is None:  # removed since the negotiation (reliability 4.2, row 25)
                stream.reset(Reset.NEGOTIATION_FAILED)
                return
            await handler(stream)
        except asyncio.CancelledError:
            stream.reset(Reset.SHUTDOWN)
            raise
        except (P2PError, TimeoutError) as error:
            log.debug("handler of %s for %s: %s", stream.protocol, self.peer, error)
            stream.reset()
        except Exception:  # the application's own: only its stream pays for it
            log.exception("handler of %s failed", stream.protocol)
            stream.reset()
        else:
            stream.close_nowait()
        finally:
            self._handlers.discard(_current_task())

    # ------------------------------------------------------------------ the one timer

    def _rearm(self, due: float) -> None:
        if self.closed or due >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self._loop.time()
        error = self._silent(now) or self._stuck(now)
        if error is not None:
            self._failed(error)
            return
        if self._idle(now):
            self._loop.create_task(self.close())
            return
        self._expire_negotiations(now)
        self._expire_closing(now)
        for due in self._deadlines(now):
            self._rearm(due)

    def _silent(self, now: float) -> Exception | None:
        every, answer = self._timeouts.keepalive, self._timeouts.keepalive_answer
        sent = self._session.ping_sent_at
        if sent is not None and answer is not None and now - max(sent, self._heard) >= answer:
            return ConnectionClosed(f"no answer to a keep-alive ping within {answer:g} s")
        if every is not None and now - self._heard >= every:
            self._session.ping(now)
        return None

    def _stuck(self, now: float) -> Exception | None:
        since = self._session.incomplete_since
        if since is not None and now - since >= INCOMPLETE:
            return MuxerError(f"a frame was not complete after {INCOMPLETE:g} s", code=GoAway.PROTOCOL_ERROR)
        stall = self._timeouts.write_stall
        if self._stalled_at is None or stall is None:
            return None
        at, waiting = self._stalled_at
        left = self._link.transport.get_write_buffer_size()
        if left < waiting:
            self._stalled_at = (now, left)
        elif now - at >= stall:
            return ConnectionClosed(f"the peer took no bytes for {stall:g} s")
        return None

    def _idle(self, now: float) -> bool:
        if self._session.streams or self._swarm.is_protected(self.peer):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        limit = self._timeouts.idle
        return limit is not None and self._idle_since is not None and now - self._idle_since >= limit

    def _expire_negotiations(self, now: float) -> None:
        for stream, due in list(self._negotiating.items()):
            if due > now:
                break
            limit = self._timeouts.negotiate or 0.0
            stream.abandon(
                DeadlineExceeded("no answer in the negotiation", timeout=limit, phase="negotiate", peer=self.peer),
                Reset.NEGOTIATION_FAILED,
            )

    def _expire_closing(self, now: float) -> None:
        for state in list(self._session.streams.values()):
            if state.closing_at <= now:
                self._session.reset(state, 0)

    def _deadlines(self, now: float) -> list[float]:
        limits, session = self._timeouts, self._session
        due = list(self._negotiating.values())[:1]
        due += [min((state.closing_at for state in session.streams.values()), default=math.inf)]
        if limits.keepalive is not None:
            due.append(max(self._heard + limits.keepalive, now + 1.0))
        if session.ping_sent_at is not None and limits.keepalive_answer is not None:
            due.append(max(session.ping_sent_at, self._heard) + limits.keepalive_answer)
        if limits.idle is not None and self._idle_since is not None:
            due.append(self._idle_since + limits.idle)
        if session.incomplete_since is not None:
            due.append(session.incomplete_since + INCOMPLETE)
        if self._stalled_at is not None and limits.write_stall is not None:
            due.append(self._stalled_at[0] + limits.write_stall)
        return [max(at, now + 0.001) for at in due if at < math.inf]

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
            self._gone = self._loop.create_future()
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
            for record in self._seal(farewell):
                self._link.write(record)
            self._link.receiver = len
            self._link.transport.resume_reading()
            self._link.transport.write_eof()
            self._timer = self._loop.call_later(CLOSE_GRACE, self.abort)

    def abort(self) -> None:
        """End at once."""
        self._end(ConnectionClosed("we aborted the connection"))
        self._link.abort()

    def _failed(self, error: Exception) -> None:
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._swarm.gone(self)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _end(self, error: Exception) -> None:
        if self.closed:
            return
        self.closed = True
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._session.fail(error)
        self._negotiating.clear()
        for task in self._handlers:
            task.cancel()
        self._swarm.ended(self, error)

    def _check_open(self) -> None:
        if self.closed:
            cause = self.error
            reason = str(cause) if cause else "the connection is closed"
            code = cause.code if isinstance(cause, ConnectionClosed) else 0
            remote = cause.remote if isinstance(cause, ConnectionClosed) else False
            raise ConnectionClosed(reason, code=code, remote=remote) from cause

    @property
    def handlers(self) -> frozenset[asyncio.Task[None]]:
        """Tasks of handlers that are running."""
        return frozenset(self._handlers)


def _current_task() -> asyncio.Task[None]:
    return cast("asyncio.Task[None]", asyncio.current_task())
