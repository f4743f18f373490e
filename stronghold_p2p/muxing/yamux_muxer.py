"""Yamux over a secure channel over a wire: the muxer of every connection that is not QUIC.

A byte's way in is ``received`` → ``SecureChannel.open`` → ``Receiver.receive`` → ``Sink.data``, one call inside
another. Its way out is ``StreamEnd.send``, then once per turn of the loop ``_flush``: all frames of that turn are
sealed together and leave in one write. Tasks that were woken by what came go on at the end of the same callback, before
it sends. A wire that takes no more stops writers (``Session.congested``), and stops reading when answers pile up. So do
more small frames than a turn may take: ``_go_on`` takes the next ones in a turn of its own, behind everybody else's.

The muxer owns everything that is Yamux's or the channel's: keep-alive pings, half frames that do not become whole,
writes that stall, and the goodbye. The life of the connection above it is the connection's (``connection/live.py``).

Whatever goes wrong ends this connection only. ``_failed`` is told, and says goodbye with the code of the error, or
nothing where the channel cannot be trusted. ``_end`` fails all streams; ``ended`` comes when the wire is gone, too.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Container
from contextlib import suppress
from functools import partial
from typing import Final

from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import ConnectionClosed, DecryptError, LimitExceeded, MuxerError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import each
from stronghold_p2p.seams import Buffer, MuxerUser, Secured, Sink, StreamEnd, Wire
from stronghold_p2p.streams.waiter import Slices, Turn
from stronghold_p2p.yamux.header import GO_AWAY, frame
from stronghold_p2p.yamux.places import Places, StreamPool
from stronghold_p2p.yamux.receiver import Receiver
from stronghold_p2p.yamux.session import Session
from stronghold_p2p.yamux.window import ReceiveBudget, ReceivePool

YAMUX: Final = "/yamux/1.0.0"

INCOMPLETE: Final = 30.0  # seconds for the rest of a frame or record (hostile row 31)
STALL_LOOKS: Final = 4  # looks at a socket that takes nothing, so that the bytes of the first moment count as such
CLOSE_GRACE: Final = 1.0  # seconds for the peer to close after we did, so that nothing it sent is answered by RST

NO_GOODBYE: Final = "the peer closed the connection without a goodbye: it crashed or was killed, or the way to it broke"
SMALL: Final = 2_048  # bytes that are no matter for ``receive_in_turn``: at most 170 frames

_NOTHING: Final = memoryview(b"")

log = logging.getLogger("stronghold_p2p.connection")


class YamuxMuxer:
    """A ``Muxer``, the ``WireUser`` of ``wire``, and the user of its session."""

    def __init__(
        self, network: "YamuxFactory", wire: Wire, secured: Secured, early: bytes, user: MuxerUser, *, dialer: bool
    ) -> None:
        self._wire = wire
        self._channel = secured.channel
        self._user: MuxerUser | None = user
        self._early = early
        self._timeouts = network.timeouts
        budget, places = network.budget(secured.peer), network.places(secured.peer)
        self._session = Session(self, client=dialer, limits=network.limits, budget=budget, places=places)
        self._loop = asyncio.get_running_loop()
        self._receiver = Receiver(self._session, self._loop.time)
        self._partial_since: float | None = None
        self._stalled: tuple[float, int] | None = None  # since when the wire takes nothing, and what was unsent then
        self._reading_paused = False
        self._behind = False  # frames are left for a turn of their own, and nothing is read before it
        self._goodbye_until = math.inf
        # Bytes that were written before the goodbye of a network and had not reached the peer. Others are not waited
        # for: whoever makes us close would keep what no limit counts any more.
        self._unsaid = 0
        self._queue: _Queue | None = None  # what is ahead of the ping that is not answered yet
        self._slices = network.slices
        self.turn = Turn(self._loop, network.slices, self._failed)
        self.heard = self._loop.time()
        self.closed = False
        wire.user = self

    def begin(self) -> None:
        early, self._early = self._early, b""
        if early:
            self._session.now = self._loop.time()
            self._receiver.since = self._slices.arriving(self._loop)
            try:
                self._receiver.receive_in_turn(early)
            except Exception as error:  # whatever it is ends this connection only
                self._failed(error)
            self._take_turns()

    def received(self, view: memoryview) -> int:
        if self.closed:
            return len(view)
        session, turn = self._session, self.turn
        now = session.now = self.heard = self._loop.time()
        outbox = session.outbox
        notified, outbox.notified = outbox.notified, True
        turn.waiting = []
        small = len(view) <= SMALL and not self._behind
        try:
            try:
                used = self._channel.open(view, self._receiver.receive) if small else self._receive_in_turn(view)
            finally:  # what came before a fault still counts
                turn.resume()
        except Exception as error:  # the one catch of a connection: whatever it is ends this connection only
            self._failed(error)
            return len(view)
        if used < len(view) or session.incomplete_since is not None:
            self._await_rest(used, now)
        if turn.starting:
            # Before Python 3.12 handlers start in the next turn of the loop; that turn's flush comes behind them.
            turn.starting = False
            if not notified:
                self._loop.call_soon(self._flush)
        elif session.stalled:
            self._flush()
        else:
            self._send()
        # What was sent is owed no more.
        if self._wire.congested and session.overloaded and not self._reading_paused and not self.closed:
            self._reading_paused = True
            self._wire.pause()
        if not small:
            self._take_turns()
        return used

    def _receive_in_turn(self, view: memoryview) -> int:
        receiver = self._receiver
        receiver.since = self._slices.arriving(self._loop)
        if receiver.behind and receiver.receive_in_turn(b""):
            used = 0
        else:
            used = self._channel.open(view, receiver.receive_in_turn)
        return used

    def _await_rest(self, used: int, now: float) -> None:
        """Something is not complete."""
        if used or self._partial_since is None:
            self._partial_since = now
        if self._user is not None:
            self._user.look_at(now + INCOMPLETE)

    def _take_turns(self) -> None:
        """Read no more before what this turn has left is through."""
        if self.closed:
            return
        if self._receiver.behind:
            if not self._behind:
                self._behind = True
                self._wire.pause()
            self._loop.call_soon(self._go_on)
        elif self._behind:
            self._behind = False
            if not self._reading_paused:
                self._wire.resume()

    def _go_on(self) -> None:
        if self._receiver.behind and not self._reading_paused:
            self.received(_NOTHING)

    def accept(self, stream: StreamEnd) -> Sink:
        assert self._user is not None
        return self._user.accepted(stream)

    def notify(self) -> None:
        """Flush behind everything that is due before in this turn of the loop."""
        self._loop.call_soon(self._flush)

    def early(self) -> None:
        """Send before the turn is over: the peer begins to work while we do."""
        self._send(early=True)

    def worn(self) -> None:
        if self._user is not None:
            self._user.worn()

    def refused(self, error: LimitExceeded) -> None:
        if self._user is not None:
            self._user.refused(error)

    def writable(self) -> None:
        self._flush()

    def _flush(self) -> None:
        """Send, from a bare callback of the loop: tasks that had to wait for room go on in it."""
        self.turn.waiting = []
        self._send()
        try:
            self.turn.resume()
        except Exception as error:  # a fault of ours: this connection pays for it
            self._failed(error)

    def _send(self, *, early: bool = False) -> None:
        session, wire = self._session, self._wire
        if self.closed or wire.congested:
            return
        if session.violation is not None:
            self._failed(session.violation)
            return
        try:
            frames = session.outbox.take(early=True) if early else session.data_to_send()
            self._channel.seal(frames, session.outbox.taken, wire.write)
            congested = self._wire.congested
            if congested or session.congested or session.stalled or session.requeued:
                session.flushed(congested=congested)
        except Exception as error:  # the keys are used up; or a fault of ours, for which only this connection pays
            self._failed(error)
            return
        if congested:
            self._stall()
        if self._reading_paused and not session.overloaded:
            self._reading_paused = False
            if self._behind:
                self._loop.call_soon(self._go_on)
            else:
                wire.resume()

    def _stall(self) -> None:
        """The wire takes no more bytes: something has to leave within ``Timeouts.write_stall`` seconds."""
        now = self._loop.time()
        self._stalled = (now, self._wire.unsent)
        if self._timeouts.write_stall is not None and self._user is not None:
            self._user.look_at(now + self._timeouts.write_stall / STALL_LOOKS)

    @property
    def streams(self) -> Collection[StreamEnd]:
        return self._session.streams.values()

    @property
    def opened(self) -> int:
        return self._session.opened

    @property
    def round_trip(self) -> float:
        return self._session.round_trip

    def open(self) -> StreamEnd:
        return self._session.open()

    def when_openable(self, wake: Callable[[], None]) -> None:
        self._session.when_openable(wake)

    def forget_opening(self, wake: Callable[[], None]) -> None:
        self._session.forget_opening(wake)

    def due(self) -> float:
        if self.closed:
            return self._goodbye_until
        limits, session, now = self._timeouts, self._session, self._loop.time()
        due = [since + INCOMPLETE for since in self._unfinished()]
        if limits.keepalive is not None:
            due.append(max(self.heard + limits.keepalive, now + 1.0))
        if session.ping_sent_at is not None and limits.keepalive_answer is not None:
            moved = 0.0 if self._queue is None else self._queue.moved
            over = max(session.ping_sent_at, self.heard, moved) + limits.keepalive_answer
            due.append(min(over, now + limits.keepalive_answer / STALL_LOOKS))
        if self._stalled is not None and limits.write_stall is not None and session.congested:
            due.append(min(self._stalled[0] + limits.write_stall, now + limits.write_stall / STALL_LOOKS))
        return min(due, default=math.inf)

    def tick(self, now: float) -> None:
        if self.closed:
            if now < self._goodbye_until or self._wire.lost:
                return
            if 0 < (left := self._wire.unsent) < self._unsaid:
                self._unsaid = left
                self._wait_for_end(self._user)
            else:
                self._wire.abort()
            return
        error = self._silent(now) or self._stuck(now)
        if error is not None:
            self._failed(error)

    def _silent(self, now: float) -> Exception | None:
        every, answer = self._timeouts.keepalive, self._timeouts.keepalive_answer
        sent = self._session.ping_sent_at
        if sent is None:
            self._queue = None
        elif answer is not None and now - max(sent, self.heard, self._left_at(sent, now)) >= answer:
            return ConnectionClosed(f"no answer to a keep-alive ping within Timeouts.keepalive_answer, {answer:g} s")
        if every is not None and now - self.heard >= every:
            self.probe(now)
        return None

    def probe(self, now: float) -> None:
        session, answer = self._session, self._timeouts.keepalive_answer
        if self.closed:
            return
        if session.ping_sent_at is None:
            self._queue = self._ahead(now)
            session.ping(now)
        if self._user is not None and answer is not None:
            self._user.look_at(now + answer / STALL_LOOKS)

    def _ahead(self, now: float) -> "_Queue":
        wire = self._wire
        return _Queue(now, wire.delivered, wire.delivered + wire.unsent + self._session.outbox.size)

    def _left_at(self, sent: float, now: float) -> float:
        """When something has last reached the peer of what was written before the ping, which cannot overtake it."""
        queue = self._queue
        if queue is None or queue.asked < sent:  # the session has asked by itself, to measure the round trip
            queue = self._queue = self._ahead(sent)
        else:
            queue.look(self._wire.delivered, now)
        return queue.moved

    def _stuck(self, now: float) -> Exception | None:
        for since in self._unfinished():
            if now - since >= INCOMPLETE:
                return MuxerError(f"a frame was not complete after {INCOMPLETE:g} s", code=GoAway.PROTOCOL_ERROR)
        stall = self._timeouts.write_stall
        if self._stalled is None or stall is None or not self._session.congested:
            return None
        at, waiting = self._stalled
        left = self._wire.unsent
        if left < waiting:
            self._stalled = (now, left)
        elif now - at >= stall:
            return ConnectionClosed(f"the peer took no bytes for Timeouts.write_stall, {stall:g} s")
        return None

    def _unfinished(self) -> list[float]:
        record = self._partial_since if self._wire.partial else None
        return [since for since in (record, self._session.incomplete_since) if since is not None]

    def _failed(self, error: Exception) -> None:
        if self.closed:
            return
        if isinstance(error, DecryptError):  # nothing on this channel can be trusted, so nothing is said on it
            self.abort(error)
        elif isinstance(error, ConnectionClosed):
            self.close(error.code or GoAway.NORMAL if isinstance(error, MuxerError) else GoAway.NORMAL, error)
        else:
            log.error("internal error on a connection", exc_info=error)
            self.close(GoAway.INTERNAL_ERROR, ConnectionClosed("internal error", code=GoAway.INTERNAL_ERROR))

    def close(self, code: int, error: Exception) -> None:
        if self.closed:
            return
        session, wire, user = self._session, self._wire, self._user
        farewell: list[Buffer] = []
        try:
            farewell += session.data_to_send()
        except Exception:  # a fault of ours: it ends all the same
            log.exception("internal error in the last data of a connection")
        farewell.append(session.go_away(code))
        self._end(error)
        if wire.lost:
            return
        try:
            with suppress(ConnectionClosed):  # the keys are used up: nothing more can be said
                self._channel.seal(farewell, sum(map(len, farewell)), wire.write)
            wire.resume()
            wire.finish()
        except Exception:  # a fault of ours: the connection ends without a goodbye
            log.exception("internal error in the goodbye of a connection")
            wire.abort()
        self._unsaid = wire.unsent if code == GoAway.SHUTDOWN else 0
        self._wait_for_end(user)

    def _wait_for_end(self, user: MuxerUser | None) -> None:
        """The peer has ``CLOSE_GRACE`` seconds to close its end."""
        self._goodbye_until = self._loop.time() + CLOSE_GRACE
        if user is not None:
            user.look_at(self._goodbye_until)

    def abort(self, error: Exception) -> None:
        self._end(error)
        self._wire.abort()

    def _end(self, error: Exception) -> None:
        if self.closed:
            return
        self.closed = True
        user, fail = self._user, partial(self._session.fail, error)
        tell = () if user is None else (partial(user.ended, error),)
        each((partial(_forget_frames, error), fail, *tell), log, "internal error while a connection ended")

    def ended(self, error: Exception | None) -> None:
        if isinstance(error, ConnectionClosed):
            self._end(error)
        else:
            # Not only after a crash: go closes with SO_LINGER 0, so its goodbye may be lost in a reset.
            closed = ConnectionClosed(NO_GOODBYE, code=None, remote=True)
            closed.__cause__ = error
            self._end(closed)
        self._session.let_go()
        user, self._user = self._user, None
        if user is not None:
            user.gone()


def _forget_frames(error: BaseException) -> None:
    """The frames of an error, and of what led to it, hold all that was at work, this muxer and its channel, too: by
    their error they would keep themselves alive.
    """
    waiting = [error]
    while waiting:
        one = waiting.pop()
        one.__traceback__ = None
        waiting += [before for before in {one.__cause__, one.__context__} if before is not None]


class _Queue:
    """What was written before a ping, which was ``asked`` then. ``reached`` of the bytes up to ``end`` have arrived."""

    __slots__ = ("asked", "end", "moved", "reached")

    def __init__(self, asked: float, reached: int, end: int) -> None:
        self.asked = self.moved = asked
        self.reached = reached
        self.end = end

    def look(self, reached: int, now: float) -> None:
        """That it moves is life; what was written behind the ping is not waited for."""
        if reached > self.reached < self.end:
            self.reached, self.moved = reached, now


class YamuxFactory:
    """Starts ``YamuxMuxer`` for one network; ``protected`` peers may use the last of the ``pool``."""

    id = YAMUX

    def __init__(self, limits: Limits, timeouts: Timeouts, pool: ReceivePool, protected: Container[PeerId]) -> None:
        self.limits = limits
        self.timeouts = timeouts
        self.slices = Slices()
        self._pool = pool
        self._places = StreamPool(limits.streams_in_total)
        self._protected = protected

    def start(self, wire: Wire, secured: Secured, early: bytes, user: MuxerUser, *, dialer: bool) -> YamuxMuxer:
        return YamuxMuxer(self, wire, secured, early, user, dialer=dialer)

    def budget(self, peer: PeerId) -> ReceiveBudget:
        """What one more connection to ``peer`` may hold."""
        return ReceiveBudget(self.limits.receive_memory, self._pool, lambda: peer in self._protected)

    def places(self, peer: PeerId) -> Places:
        """How many streams ``peer`` may have open on one more connection."""
        return Places(self.limits.streams_in, self._places, lambda: peer in self._protected)

    def refuse(self, wire: Wire, secured: Secured, code: int) -> None:
        goodbye = frame(GO_AWAY, 0, 0, code)
        secured.channel.seal([goodbye], len(goodbye), wire.write)
