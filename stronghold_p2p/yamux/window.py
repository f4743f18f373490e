"""Receive windows: how much the peer may still send on one stream, on all of them, and all peers together.

Yamux only knows increments of credit (yamux/README.md, "Flow Control"). How far a window grows and when
an increment is sent is the receiver's own business; here, as in go-yamux and rust-yamux: credit is given
back once the reader has freed half of the window, and a window that is used up within four round trips
doubles, up to ``max_window`` and as far as the connection's budget and the pool of all connections reach.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.yamux.header import INITIAL_WINDOW
from stronghold_p2p.yamux.pool import Pool

GROW_WITHIN_ROUND_TRIPS = 4

# What each connection may hold whatever the others do: a peer that uses one stream as the specification lets it is
# never refused, and most connections never come to the pool. They take from it in steps of the same size.
OWN: Final = INITIAL_WINDOW
STEP: Final = INITIAL_WINDOW

REMEMBERED: Final = 1_024  # ids of streams that ended early, or that the peer opened lately
_ALL: Final = (1 << REMEMBERED) - 1


class ReceivePool(Pool):
    """What all connections of a network may hold together, beyond ``OWN`` on each; None is any amount.

    ``taken`` counts unread bytes, in steps; ``grown`` what windows are beyond the initial one: a promise and no
    memory yet, so it only reaches as far as unread bytes leave room.
    """

    __slots__ = ("grown",)

    def __init__(self, maximum: int | None) -> None:
        super().__init__(maximum)
        self.grown = 0

    def grow(self, wanted: int, *, protected: bool) -> int:
        """Grant up to ``wanted`` more bytes of window."""
        granted = max(0, min(wanted, self.share(protected=protected) - self.taken - self.grown))
        self.grown += granted
        return granted

    def snapshot(self) -> Mapping[str, int]:
        return {"receive_memory": self.taken, "grown_windows": self.grown}


class ReceiveBudget:
    """What one connection may hold: bytes that nobody has read, and windows beyond the initial one.

    ``limit`` is for each of both. ``maximum`` is how many bytes may be unread for now: once there are more, either
    ``refusal`` says why they cannot be kept, or it has raised ``maximum`` by what it took from the pool. At ``spare``
    unread bytes or less, part of that goes back. ``protected`` tells whether the peer is, at the time.
    """

    __slots__ = ("_pool", "_protected", "buffered", "grown", "limit", "maximum", "spare")

    def __init__(self, limit: int, pool: ReceivePool, protected: Callable[[], bool]) -> None:
        self.limit = limit
        self.maximum = min(limit, OWN)
        self.spare = -1
        self.buffered = 0
        self.grown = 0
        self._pool = pool
        self._protected = protected

    def refusal(self) -> LimitExceeded | None:
        """Why more than ``maximum`` bytes cannot be kept; None: they can."""
        pool = self._pool
        if self.buffered > self.limit:
            return _unread("receive_memory", self.limit, self.limit)
        protected = self._protected()
        if pool.take(self._needed() - self.maximum, protected=protected):
            self._settle()
            return None
        # One cause for all streams that it meets: what was taken when the first of them met it would tell no more.
        full = pool.share(protected=protected)
        return _unread("receive_memory_total", full, full)

    def give_back(self) -> None:
        """Return to the pool what was taken and is not needed any more."""
        self._pool.taken -= self.maximum - self._needed()
        self._settle()

    def grow(self, wanted: int) -> int:
        """Grant up to ``wanted`` more bytes of window."""
        granted = self._pool.grow(max(0, min(wanted, self.limit - self.grown)), protected=self._protected())
        self.grown += granted
        return granted

    def shrink(self, count: int) -> None:
        self.grown -= count
        self._pool.grown -= count

    def _needed(self) -> int:
        steps = -(-max(0, self.buffered - OWN) // STEP)
        return min(OWN + steps * STEP, self.limit)

    def _settle(self) -> None:
        self.maximum = self._needed()
        self.spare = (self.maximum - 1) // STEP * STEP if self.maximum > OWN else -1


@lru_cache(16)
def _unread(limit: str, current: int, maximum: int) -> LimitExceeded:
    told = f"{limit} {current}/{maximum} bytes are unread: read faster, or raise it in Limits"
    return LimitExceeded(told, limit=limit, current=current, maximum=maximum)


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
        budget = self._budget
        budget.buffered -= count
        if budget.buffered <= budget.spare:
            budget.give_back()
        return (self.size - self.buffered - self.credit) * 2 >= self.size

    def dropped(self, count: int) -> None:
        """Nobody will read ``count`` bytes: they are not kept, and their credit is not given back."""
        self.buffered -= count
        budget = self._budget
        budget.buffered -= count
        if budget.buffered <= budget.spare:
            budget.give_back()

    def announce(self, now: float, round_trip: float) -> int:
        """Promise all that is free; returns the increment of credit for the peer."""
        freed = self.size - self.buffered - self.credit
        if now - self._updated < GROW_WITHIN_ROUND_TRIPS * round_trip and self.size < self._maximum:
            more = self._budget.grow(min(self.size, self._maximum - self.size))
            self.size += more
            freed += more
        self._updated = now
        self.credit += freed
        return freed

    def close(self) -> None:
        """Give everything back to the budget; what is still in flight is the session's to drop."""
        budget = self._budget
        budget.buffered -= self.buffered
        if budget.buffered <= budget.spare:
            budget.give_back()
        if self.size > INITIAL_WINDOW:
            budget.shrink(self.size - INITIAL_WINDOW)
        self.buffered = 0
        self.size = INITIAL_WINDOW


class DroppedBytes:
    """Remembers what may still arrive for streams that are gone.

    A stream that we reset while the peer was sending has credit left: what arrives within it is in order.
    Anything else (ids never opened, or long gone) is counted against ``maximum`` in total.
    """

    __slots__ = ("_credit", "_highest", "_opened", "_total", "maximum")

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self._total = 0
        self._credit: dict[int, int] = {}
        self._highest = -1
        self._opened = 0  # as bits: the lowest is that of the highest id, the next one that of two less

    def bury(self, stream_id: int, credit: int) -> None:
        """The stream is gone while the peer could still send ``credit`` bytes."""
        if len(self._credit) >= REMEMBERED:
            del self._credit[next(iter(self._credit))]
        self._credit[stream_id] = credit

    def allow(self, stream_id: int, length: int) -> bool:
        """Count bytes that were dropped; False: too many."""
        left = self._credit.get(stream_id, -1)
        if left >= length:
            self._credit[stream_id] = left - length
            return True
        self._total += length
        return self._total <= self.maximum

    def fresh(self, stream_id: int) -> bool:
        """Whether the peer may open this id now: ids are never used twice.

        go-yamux takes its ids before it takes the lock for sending, so that SYNs may overtake each other:
        an id below the highest is taken as long as it is among the last ones and has not been seen.
        """
        ahead = (stream_id - self._highest) >> 1  # all ids of a peer are odd, or all even
        if ahead > 0:
            self._opened = (self._opened << ahead if ahead < REMEMBERED else 0) & _ALL | 1
            self._highest = stream_id
            return True
        known = ahead <= -REMEMBERED or self._opened >> -ahead & 1
        if not known:
            self._opened |= 1 << -ahead
        return not known
