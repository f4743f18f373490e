"""The one timer of a connection: whatever is due first, for all its streams together.

No task waits for anything. Each deadline is an absolute time; the timer is set to the earliest, and when it
fires it looks at all of them. What happens often (a byte came, a stream was opened) only stores a time, and
compares it with what the timer is set to.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConnectionClosed, DeadlineExceeded, MuxerError
from stronghold_p2p.streams.deadline import late
from stronghold_p2p.streams.negotiation import LazyConfirm, Listening
from stronghold_p2p.streams.stream import Stream
from stronghold_p2p.transport.link import Link
from stronghold_p2p.yamux import Session, StreamState

if TYPE_CHECKING:
    from stronghold_p2p.connection.connection import Connection

LINGER: Final = 10.0  # seconds that a stream which we closed may take to end before we reset it
INCOMPLETE: Final = 30.0  # seconds for the rest of a frame or record (reliability 4.3, row 31)
STALL_LOOKS: Final = 4  # looks at a socket that takes nothing, so that the bytes of the first moment count as such
COARSE: Final = 0.02  # seconds between two looks at least, however many deadlines there are


class Timer:
    """Deadlines of one connection; all times are the loop's seconds.

    ``at``: when it fires. ``heard``: when the last byte came. ``idle_since``: None while there may be streams.
    ``partial``: since when the rest of a record is missing.
    """

    __slots__ = (
        "_connection",
        "_handle",
        "_link",
        "_loop",
        "_negotiate",
        "_session",
        "_stalled",
        "_timeouts",
        "at",
        "heard",
        "idle_since",
        "partial",
    )

    def __init__(self, connection: Connection, link: Link, session: Session, timeouts: Timeouts) -> None:
        self._connection = connection
        self._link = link
        self._session = session
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._stalled: tuple[float, int] | None = None
        self._negotiate = math.inf if timeouts.negotiate is None else timeouts.negotiate
        self.at = math.inf
        self.heard = self._loop.time()
        self.idle_since: float | None = self.heard
        self.partial: float | None = None
        self.rearm(self._next(self.heard))

    def rearm(self, due: float) -> None:
        """Look at the deadlines at ``due``, if not earlier."""
        if due >= self.at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self.at = due
        self._handle = self._loop.call_at(due, self._tick)

    def stop(self) -> None:
        """Nothing is due any more."""
        self.at = -math.inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def end(self) -> None:
        """``stop`` for ever, and let the connection go."""
        self.stop()
        del self._connection

    def last(self, delay: float, callback: Callable[[], None]) -> None:
        """``stop``, except that ``callback`` is due in ``delay`` seconds."""
        self.stop()
        self._handle = self._loop.call_later(delay, callback)

    def negotiation(self, now: float) -> float:
        """When a negotiation that begins now has to be over."""
        due = now + self._negotiate
        if due < self.at:
            self.rearm(due)
        return due

    def incomplete(self, now: float, used: int) -> None:
        """The rest of a record or of a frame is missing; ``used``: bytes of records that were complete."""
        if used or self.partial is None:
            self.partial = now
        if now + INCOMPLETE < self.at:
            self.rearm(now + INCOMPLETE)

    def closing(self, state: StreamState) -> None:
        """We closed the stream; if the peer does not within ``LINGER`` seconds, it is reset."""
        self.expire(state, self._loop.time() + LINGER)

    def expire(self, state: StreamState, due: float) -> None:
        """Whatever the stream is doing, it is over at ``due``."""
        state.closing_at = due
        if due < self.at:
            self.rearm(due)

    def stalled(self) -> None:
        """The socket takes no more bytes: something has to leave within ``Timeouts.write_stall`` seconds."""
        now = self._loop.time()
        self._stalled = (now, self._link.unsent)
        if self._timeouts.write_stall is not None:
            self.rearm(now + self._timeouts.write_stall / STALL_LOOKS)

    # ------------------------------------------------------------------ what is due

    def _tick(self) -> None:
        self._handle, self.at = None, math.inf
        try:
            self._look(self._loop.time())
        except Exception as error:  # a fault of ours: this connection pays for it
            self._connection.failed(error)

    def _look(self, now: float) -> None:
        error = self._silent(now) or self._stuck(now)
        if error is not None:
            self._connection.failed(error)
            return
        if self._idle(now):
            idle = f"idle for {self._timeouts.idle:g} s: add the peer to protected, or raise Timeouts.idle"
            self._connection.shut(error=ConnectionClosed(idle))
            return
        self._expire_streams(now)
        self.rearm(self._next(now))

    def _silent(self, now: float) -> Exception | None:
        every, answer = self._timeouts.keepalive, self._timeouts.keepalive_answer
        sent = self._session.ping_sent_at
        if sent is not None and answer is not None and now - max(sent, self.heard) >= answer:
            return ConnectionClosed(f"no answer to a keep-alive ping within Timeouts.keepalive_answer, {answer:g} s")
        if every is not None and now - self.heard >= every:
            self._session.ping(now)
        return None

    def _stuck(self, now: float) -> Exception | None:
        for since in self._incomplete():
            if now - since >= INCOMPLETE:
                return MuxerError(f"a frame was not complete after {INCOMPLETE:g} s", code=GoAway.PROTOCOL_ERROR)
        stall = self._timeouts.write_stall
        if self._stalled is None or stall is None or not self._session.congested:
            return None
        at, waiting = self._stalled
        left = self._link.unsent
        if left < waiting:
            self._stalled = (now, left)
        elif now - at >= stall:
            return ConnectionClosed(f"the peer took no bytes for Timeouts.write_stall, {stall:g} s")
        return None

    def _idle(self, now: float) -> bool:
        if self._session.streams or self._connection.protected:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        limit = self._timeouts.idle
        return limit is not None and self.idle_since is not None and now - self.idle_since >= limit

    def _incomplete(self) -> list[float]:
        record = self.partial if self._link.incomplete else None
        return [since for since in (record, self._session.incomplete_since) if since is not None]

    def _expire_streams(self, now: float) -> None:
        peer, limit = self._connection.peer, self._negotiate
        for state in list(self._session.streams.values()):
            stream = state.sink
            if state.closing_at <= now:
                if isinstance(stream, Stream):
                    stream.abandon(DeadlineExceeded("the time of the stream is over", timeout=0.0, peer=peer), 0)
                else:
                    self._session.reset(state, 0)
            elif _negotiation_due(state) <= now and isinstance(stream, Stream):
                error = late(limit, "negotiate", peer, sent=False, setting="Timeouts.negotiate")
                stream.abandon(error, Reset.NEGOTIATION_FAILED)

    def _next(self, now: float) -> float:
        limits, session = self._timeouts, self._session
        due = [min(state.closing_at, _negotiation_due(state)) for state in session.streams.values()]
        due += [since + INCOMPLETE for since in self._incomplete()]
        if limits.keepalive is not None:
            due.append(max(self.heard + limits.keepalive, now + 1.0))
        if session.ping_sent_at is not None and limits.keepalive_answer is not None:
            due.append(max(session.ping_sent_at, self.heard) + limits.keepalive_answer)
        if limits.idle is not None:
            due.append((now if self.idle_since is None else self.idle_since) + limits.idle)
        if self._stalled is not None and limits.write_stall is not None and session.congested:
            due.append(min(self._stalled[0] + limits.write_stall, now + limits.write_stall / STALL_LOOKS))
        return max(min(due, default=math.inf), now + COARSE)


def _negotiation_due(state: StreamState) -> float:
    stream = state.sink
    intake = stream.intake if isinstance(stream, Stream) else None
    return intake.due if isinstance(intake, Listening | LazyConfirm) else math.inf
