"""The one timer of a connection: whatever is due first, for the connection and all its streams together.

No task waits for anything. Each deadline is an absolute time; the timer is set to the earliest, and when it fires it
looks at all of them. What happens often (a byte came, a stream was opened) only stores a time, and compares it with
what the timer is set to.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

COARSE: Final = 0.02  # seconds between two looks at least, however many deadlines there are


class Timed(Protocol):
    """Whoever has deadlines."""

    def look(self, now: float) -> float:
        """Do what is due; returns when the next look is worth it."""

    def failed(self, error: Exception) -> None:
        """``look`` raised: a fault of ours, for which only this connection pays."""


class Deadlines:
    """Calls ``timed.look``; all times are the loop's seconds. ``at``: when it does so next."""

    __slots__ = ("_handle", "_loop", "_timed", "at")

    def __init__(self, timed: Timed, loop: asyncio.AbstractEventLoop) -> None:
        self._timed: Timed | None = timed
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self.at = math.inf

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
        self.at = math.inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def end(self) -> None:
        """``clear`` for ever."""
        self.clear()
        self.at = -math.inf
        self._timed = None

    def _look(self) -> None:
        self._handle, self.at = None, math.inf
        timed, now = self._timed, self._loop.time()
        assert timed is not None
        try:
            self.look_at(max(timed.look(now), now + COARSE))
        except Exception as error:  # a fault of ours: this connection pays for it
            timed.failed(error)
