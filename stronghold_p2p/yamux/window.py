"""Receive windows: how much the peer may still send on one stream, and on all of them.

Yamux only knows increments of credit (yamux/README.md, "Flow Control"). How far a window grows and when
an increment is sent is the receiver's own business; here, as in go-yamux and rust-yamux: credit is given
back once the reader has freed half of the window, and a window that is used up within four round trips
doubles, up to ``max_window`` and as far as the connection's budget reaches.
"""

from __future__ import annotations

from stronghold_p2p.yamux.header import INITIAL_WINDOW

GROW_WITHIN_ROUND_TRIPS = 4


class ReceiveBudget:
    """What one connection may hold: bytes that nobody has read, and windows beyond the initial one."""

    __slots__ = ("buffered", "grown", "maximum")

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.buffered = 0
        self.grown = 0

    def grow(self, wanted: int) -> int:
        """Grant up to ``wanted`` more bytes of window."""
        granted = max(0, min(wanted, self.maximum - self.grown))
        self.grown += granted
        return granted


class ReceiveWindow:
    """One stream's window.

    Invariants, which the tests check after every step:

    * ``credit >= 0``, ``buffered >= 0``;
    * ``credit + buffered <= size``: never more is promised than the window holds;
    * the budget's ``buffered`` is the sum over its windows, its ``grown`` the sum of ``size - 256 KiB``;
    * ``INITIAL_WINDOW <= size <= maximum``.
    """

    __slots__ = ("_budget", "_maximum", "_updated", "buffered", "credit", "size")

    def __init__(self, budget: ReceiveBudget, maximum: int) -> None:
        self._budget = budget
        self._maximum = maximum
        self._updated = 0.0
        self.size = INITIAL_WINDOW
        self.credit = INITIAL_WINDOW
        self.buffered = 0

    def received(self, count: int) -> bool:
        """Take ``count`` bytes off the credit; False: the peer sent more than it was allowed to."""
        if count > self.credit:
            return False
        self.credit -= count
        self.buffered += count
        self._budget.buffered += count
        return True

    def consumed(self, count: int) -> bool:
        """The reader took ``count`` bytes; True: half of the window is free, so credit is worth a frame."""
        self.buffered -= count
        self._budget.buffered -= count
        return (self.size - self.buffered - self.credit) * 2 >= self.size

    def dropped(self, count: int) -> None:
        """Nobody will read ``count`` bytes: they are not kept, and their credit is not given back."""
        self.buffered -= count
        self._budget.buffered -= count

    def announce(self, now: float, round_trip: float) -> int:
        """Promise all that is free; returns the increment of credit for the peer."""
        freed = self.size - self.buffered - self.credit
        if now - self._updated < GROW_WITHIN_ROUND_TRIPS * round_trip and self.size < self._maximum:
            freed += self._grow()
        self._updated = now
        self.credit += freed
        return freed

    def close(self) -> None:
        """Give everything back to the budget; what is still in flight is the session's to drop."""
        self._budget.buffered -= self.buffered
        self._budget.grown -= self.size - INITIAL_WINDOW
        self.buffered = 0
        self.size = INITIAL_WINDOW

    def _grow(self) -> int:
        more = self._budget.grow(min(self.size, self._maximum - self.size))
        self.size += more
        return more
