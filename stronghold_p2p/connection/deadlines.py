"""The one timer of a connection: whatever is due first, for the connection and all its streams together.

No task waits for anything. Each deadline is an absolute time; the timer is set to the earliest, and when it fires it
looks at all of them. What happens often (a byte came, a stream was opened) only stores a time, and compares it with
what the timer is set to.
"""

import asyncio
import math
from typing import Any, Final

COARSE: Final = 0.02  # seconds between two looks at least, however many deadlines there are


class Deadlines:
    """Calls ``timed.look(now)``, which does what is due and returns when the next look is worth it; ``timed.failed``
    hears of a fault in that. All times are the loop's seconds. ``at``: when it looks next.
    """

    __slots__ = ("_handle", "_loop", "_timed", "at")

    def __init__(self, timed: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._timed = timed
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
        try:
            self.look_at(max(timed.look(now), now + COARSE))
        except Exception as error:  # a fault of ours: this connection pays for it
            timed.failed(error)
