"""How many of something each peer has at once: connections, requests, questions, streams; and bytes.

What happens beyond the maximum (an error, a reset, a no) is for the caller to say, so ``take`` only answers. A peer
that has none any more takes no memory.
"""

import math
from collections.abc import Callable, Hashable, Mapping
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


class Memory(Generic[K]):
    """Bytes that peers make us keep: at most ``maximum`` of all together, ``share`` of each (None: any number).

    The last quarter is for those who are preferred: whoever fills all the rest does not stop them. ``relieve(peer,
    fits)`` gives back what is kept for nobody's need, of ``peer`` (None: of all), until that ``fits``; and says so.
    """

    __slots__ = ("_sizes", "common", "maximum", "relieve", "share", "total")

    def __init__(self, maximum: int | None, share: int | None) -> None:
        self.maximum = math.inf if maximum is None else maximum
        self.common = math.inf if maximum is None else maximum - maximum // 4
        self.share = math.inf if share is None else share
        self.total = 0
        self.relieve: Callable[[K | None, Callable[[], bool]], bool] = lambda _peer, _fits: False
        self._sizes: dict[K, int] = {}

    def size(self, peer: K) -> int:
        return self._sizes.get(peer, 0)

    def take(self, peer: K, size: int, *, preferred: bool = False) -> bool:
        """Count ``size`` more bytes for ``peer``; False: there is no room, and nothing is counted."""
        own = self._sizes.get(peer, 0) + size
        if own > self.share or self.total + size > (self.maximum if preferred else self.common):
            return False
        self._sizes[peer] = own
        self.total += size
        return True

    def give_back(self, peer: K, size: int) -> None:
        """``peer`` keeps ``size`` bytes less, which a ``take`` that was True has counted."""
        self.total -= size
        left = self._sizes[peer] - size
        if left:
            self._sizes[peer] = left
        else:
            del self._sizes[peer]

    def snapshot(self) -> Mapping[str, int]:
        return {"request_memory": self.total}


class Hold(Generic[K]):
    """``size`` bytes of a ``memory`` that ``peer`` has, until the last one who keeps what they stand for lets go.

    ``preferred`` is asked when there is no room otherwise.
    """

    __slots__ = ("_keepers", "memory", "peer", "preferred", "size")

    def __init__(self, memory: Memory[K], peer: K, preferred: Callable[[], bool]) -> None:
        self.memory = memory
        self.peer = peer
        self._keepers = 1
        self.preferred = preferred
        self.size = 0

    def resize(self, size: int) -> bool:
        """It is ``size`` bytes from now on; False: there is no room, and it stays as it is. Less is always granted."""
        more = size - self.size
        if more > 0:
            if not self.memory.take(self.peer, more) and not self._make_room(more):
                return False
        elif more:
            self.memory.give_back(self.peer, -more)
        self.size = size
        return True

    def _make_room(self, more: int) -> bool:
        memory, peer = self.memory, self.peer

        def fits() -> bool:
            return memory.take(peer, more, preferred=self.preferred())

        whose = peer if memory.size(peer) + more > memory.share else None
        return fits() or memory.relieve(whose, fits)

    def keep(self) -> None:
        """One more keeps it."""
        self._keepers += 1

    def let_go(self) -> None:
        self._keepers -= 1
        if not self._keepers:
            self.resize(0)
