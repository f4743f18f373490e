"""When to look at a socket again instead of going back to the event loop.

Two programs on one machine that answer each other's short messages wait for each other a few dozen microseconds,
which is less than the loop takes to go to sleep and to come back. So the link that has just answered looks for
what comes next a little longer: busy polling, as Linux knows it for network devices (socket(7), SO_BUSY_POLL).

It costs processor time where it finds nothing. It is tried now and then, goes on while it finds something, and is
tried less and less often where it does not: a peer behind a real network is never that quick. While two links of
a loop are at work there is none, as one would wait while there is something to do for the other.
"""

from __future__ import annotations

from typing import Final

SHORT: Final = 4_096  # bytes that came and went together; transfers keep both ends busy anyway
SLICE: Final = 1e-3  # seconds after which the loop has its turn, whatever still comes
FIRST: Final = 8  # answers until it is tried (again)
MOST: Final = 1_024


class Pace:
    """Whether looking is worth it; one for all links of an event loop, as only one of them may look."""

    __slots__ = ("_left", "_patience", "user")

    def __init__(self) -> None:
        self._left = self._patience = FIRST
        self.user: object = None  # for whom bytes came last

    def change(self, user: object) -> None:
        """Bytes came for another ``user``."""
        self.user = user
        self._left = self._patience

    def forget(self, user: object) -> None:
        """``user`` is gone."""
        if user is self.user:
            self.user = None

    def due(self) -> bool:
        """It has answered: is it time to look for what comes next?"""
        self._left -= 1
        return self._left < 0

    def looked(self, *, found: bool) -> None:
        """It was worth it; or it was not: wait for more answers, and the next time for twice as many."""
        self._left = 0 if found else self._patience
        self._patience = FIRST if found else min(2 * self._patience, MOST)
