"""The one timer of a connection: whatever is due first, for all its streams together.

No task waits for anything. Each deadline is an absolute time; the timer is set to the earliest, and when it
fires it looks at all of them. What happens often (a byte came, a stream was opened) only stores a time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConnectionClosed, DeadlineExceeded, MuxerError
from stronghold_p2p.transport.link import Link
from stronghold_p2p.yamux import GoAway, Reset, Session, Stream, StreamState

if TYPE_CHECKING:
    from stronghold_p2p.swarm.connection import Connection

LINGER: Final = 10.0  # seconds that a stream which we closed may take to end before we reset it
INCOMPLETE: Final = 30.0  # seconds for the rest of a frame or record (reliability 4.3, row 31)
SOONEST: Final = 0.001  # seconds: a deadline that is over already is looked at in the next millisecond


class Timer:
    """Deadlines of one connection. ``heard``: when the last byte came, in the loop's seconds."""

    __slots__ = (
        "_at",
        "_connection",
        "_handle",
        "_link",
        "_loop",
        "_session",
        "_stalled",
        "_timeouts",
        "heard",
        "idle_since",
        "negotiations",
    )

    def __init__(self, connection: Connection, link: Link, session: Session, timeouts: Timeouts) -> None:
        self._connection = connection
        self._link = link
        self._session = session
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._at = math.inf
        self._stalled: tuple[float, int] | None = None
        self.heard = self._loop.time()
        self.idle_since: float | None = self.heard
        self.negotiations: dict[Stream, float] = {}
        self.rearm(self._next(self.heard))

    def rearm(self, due: float) -> None:
        """Look at the deadlines at ``due``, if not earlier."""
        if due >= self._at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._at = due
        self._handle = self._loop.call_at(due, self._tick)

    def stop(self) -> None:
        """Nothing is due any more."""
        self._at = -math.inf
        self.negotiations.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def last(self, delay: float, callback: Callable[[], None]) -> None:
        """``stop``, except that ``callback`` is due in ``delay`` seconds."""
        self.stop()
        self._handle = self._loop.call_later(delay, callback)

    def negotiating(self, stream: Stream) -> None:
        """The stream's negotiation waits for the peer: it has ``Timeouts.negotiate`` seconds."""
        limit = self._timeouts.negotiate
        due = math.inf if limit is None else self._loop.time() + limit
        self.negotiations[stream] = due
        if due < self._at:
            self.rearm(due)

    def closing(self, state: StreamState) -> None:
        """We closed the stream; if the peer does not within ``LINGER`` seconds, it is reset."""
        due = self._loop.time() + LINGER
        state.closing_at = due
        if due < self._at:
            self.rearm(due)

    def stalled(self) -> None:
        """The socket takes no more bytes: something has to leave within ``Timeouts.write_stall`` seconds."""
        now = self._loop.time()
        self._stalled = (now, self._link.transport.get_write_buffer_size())
        if self._timeouts.write_stall is not None:
            self.rearm(now + self._timeouts.write_stall)

    # ------------------------------------------------------------------ what is due

    def _tick(self) -> None:
        self._handle, self._at = None, math.inf
        now = self._loop.time()
        error = self._silent(now) or self._stuck(now)
        if error is not None:
            self._connection.failed(error)
            return
        if self._idle(now):
            self._connection.shut()
            return
        self._expire_negotiations(now)
        self._expire_closing(now)
        self.rearm(self._next(now))

    def _silent(self, now: float) -> Exception | None:
        every, answer = self._timeouts.keepalive, self._timeouts.keepalive_answer
        sent = self._session.ping_sent_at
        if sent is not None and answer is not None and now - max(sent, self.heard) >= answer:
            return ConnectionClosed(f"no answer to a keep-alive ping within {answer:g} s")
        if every is not None and now - self.heard >= every:
            self._session.ping(now)
        return None

    def _stuck(self, now: float) -> Exception | None:
        since = self._session.incomplete_since
        if since is not None and now - since >= INCOMPLETE:
            return MuxerError(f"a frame was not complete after {INCOMPLETE:g} s", code=GoAway.PROTOCOL_ERROR)
        stall = self._timeouts.write_stall
        if self._stalled is None or stall is None or not self._session.congested:
            return None
        at, waiting = self._stalled
        left = self._link.transport.get_write_buffer_size()
        if left < waiting:
            self._stalled = (now, left)
        elif now - at >= stall:
            return ConnectionClosed(f"the peer took no bytes for {stall:g} s")
        return None

    def _idle(self, now: float) -> bool:
        if self._session.streams or self._connection.protected:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        limit = self._timeouts.idle
        return limit is not None and self.idle_since is not None and now - self.idle_since >= limit

    def _expire_negotiations(self, now: float) -> None:
        peer, limit = self._connection.peer, self._timeouts.negotiate or 0.0
        for stream, due in list(self.negotiations.items()):
            if due > now:
                break
            late = DeadlineExceeded("no answer in the negotiation", timeout=limit, phase="negotiate", peer=peer)
            stream.abandon(late, Reset.NEGOTIATION_FAILED)

    def _expire_closing(self, now: float) -> None:
        for state in list(self._session.streams.values()):
            if state.closing_at <= now:
                self._session.reset(state, 0)

    def _next(self, now: float) -> float:
        limits, session = self._timeouts, self._session
        due = list(self.negotiations.values())[:1]
        due += [state.closing_at for state in session.streams.values()]
        if limits.keepalive is not None:
            due.append(max(self.heard + limits.keepalive, now + 1.0))
        if session.ping_sent_at is not None and limits.keepalive_answer is not None:
            due.append(max(session.ping_sent_at, self.heard) + limits.keepalive_answer)
        if limits.idle is not None:
            due.append((now if self.idle_since is None else self.idle_since) + limits.idle)
        if session.incomplete_since is not None:
            due.append(session.incomplete_since + INCOMPLETE)
        if self._stalled is not None and limits.write_stall is not None and session.congested:
            due.append(self._stalled[0] + limits.write_stall)
        return max(min(due, default=math.inf), now + SOONEST)
