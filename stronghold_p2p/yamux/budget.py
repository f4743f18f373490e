"""What a peer may send for streams that are gone, and which ids it may open."""

from __future__ import annotations

from typing import Final

REMEMBERED: Final = 1_024  # ids of streams that ended early, or that the peer opened lately
_ALL: Final = (1 << REMEMBERED) - 1


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
