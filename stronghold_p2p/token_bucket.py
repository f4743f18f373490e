"""A token bucket: how often something may happen in the long run, and how often at once.

It starts full, with ``burst`` tokens, and gains ``rate`` of them each second up to ``burst`` again. What happens takes
one. Time is an argument, in seconds on a clock that does not go back.
"""

from __future__ import annotations


class TokenBucket:
    """``take(now)`` is True as long as there is a token left to take."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = float(burst)
        self._level = self.burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        self._level = min(self.burst, self._level + max(0.0, now - self._at) * self.rate)
        self._at = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True
