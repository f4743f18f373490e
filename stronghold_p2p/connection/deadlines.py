"""The one timer of a connection: whatever is due first, for the connection and all its streams together.

No task waits for anything. Each deadline is an absolute time, and the timer is set to the earliest. What happens often
(a byte came, a stream was opened) only stores a time, and compares it with ``all_at``.

At ``all_at`` the deadlines of all streams are put in order; until then the timer takes them from the front of that
order. So a peer whose streams end one by one has each looked at twice, and not all of them for each (hostile row 140).
A deadline that is set later than that, but comes before ``all_at``, moves ``all_at``.
"""

import asyncio
import math
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

from stronghold_p2p.seams import StreamEnd

COARSE: Final = 0.02  # seconds between two looks at least, however many deadlines there are

# How late a deadline in the order may be, so that several are one look: a part of what was left of it when it was put
# there, and seconds at most. Nobody notices that of a deadline of seconds, and short ones are hardly late.
LATE_BY: Final = 1 / 16
LATE_AT_MOST: Final = 0.08

_due = itemgetter(0)


class Deadlines:
    """Calls ``timed.look(now)``, which does what is due and returns when the next look is worth it; ``timed.failed``
    hears of a fault in that. All times are the loop's seconds. ``at``: when it looks next.
    """

    __slots__ = ("_found_at", "_handle", "_loop", "_order", "_timed", "all_at", "at")

    def __init__(self, timed: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._timed = timed
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._order: list[tuple[float, StreamEnd]] = []  # the earliest is the last one
        self._found_at = 0.0
        self.all_at = self.at = math.inf

    def sooner(self, due: float) -> None:
        """A stream is due before ``all_at``, and not in order yet."""
        self.all_at = due
        self.look_at(due)

    def expire(self, ends: Iterable[StreamEnd], now: float) -> None:
        """Tell those streams whose time has come; ``ends`` are those that there are."""
        if now >= self.all_at:
            found = [(end.due, end) for end in ends if end.due < math.inf]
            found.sort(key=_due, reverse=True)
            self._order, self._found_at, self.all_at = found, now, math.inf
        order = self._order
        while order and order[-1][0] <= now:
            _, end = order.pop()
            if end.due <= now:
                end.sink.expired(now)
            if not end.gone:  # its time was changed
                self.all_at = min(self.all_at, end.due)

    @property
    def next(self) -> float:
        """When ``expire`` has something to do."""
        order = self._order
        while order and ((end := order[-1][1]).gone or end.due > order[-1][0]):
            order.pop()
            if not end.gone:
                self.all_at = min(self.all_at, end.due)
        if not order:
            return self.all_at
        due = order[-1][0]
        return min(self.all_at, due + min((due - self._found_at) * LATE_BY, LATE_AT_MOST))

    def look_at(self, due: float) -> None:
        """Look at ``due``, if not earlier."""
        if due >= self.at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self.at = due
        self._handle = self._loop.call_at(due, self._look)

    def clear(self) -> None:
        """Nothing is due any more, until ``look_at`` is called again."""
        self.all_at = self.at = math.inf
        self._order = []
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def end(self) -> None:
        """``clear`` for ever."""
        self.clear()
        self.all_at = self.at = -math.inf
        self._timed = None

    def _look(self) -> None:
        self._handle, self.at = None, math.inf
        timed, now = self._timed, self._loop.time()
        try:
            self.look_at(max(timed.look(now), now + COARSE))
        except Exception as error:  # a fault of ours: this connection pays for it
            timed.failed(error)
