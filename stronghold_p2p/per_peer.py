"""How many of something each peer has at once: connections, requests, questions, streams.

What happens beyond the maximum (an error, a reset, a no) is for the caller to say, so ``take`` only answers. A peer
that has none any more takes no memory.
"""

import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class PerPeer(Generic[K]):
    """Counts up to ``maximum`` for each peer (None: without end). A peer is whatever names it, as its ``PeerId``."""

    __slots__ = ("_counts", "maximum")

    def __init__(self, maximum: int | None) -> None:
        self.maximum = math.inf if maximum is None else maximum
        self._counts: dict[K, int] = {}

    def __len__(self) -> int:
        """How many peers have at least one."""
        return len(self._counts)

    @property
    def total(self) -> int:
        """How many all peers have together."""
        return sum(self._counts.values())

    def count(self, peer: K) -> int:
        return self._counts.get(peer, 0)

    def full(self, peer: K) -> bool:
        return self._counts.get(peer, 0) >= self.maximum

    def take(self, peer: K) -> bool:
        """Count one more for ``peer``; False: it has ``maximum`` already, and nothing is counted."""
        count = self._counts.get(peer, 0)
        if count >= self.maximum:
            return False
        self._counts[peer] = count + 1
        return True

    def give_back(self, peer: K) -> None:
        """``peer`` has one less; each ``take`` that was True is given back once."""
        count = self._counts[peer]
        if count == 1:
            del self._counts[peer]
        else:
            self._counts[peer] = count - 1
