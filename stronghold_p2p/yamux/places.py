"""How many streams a peer may have open on one connection, and all peers on all connections together.

Each open stream is a handler at work, some kilobytes and many objects, whatever it costs the peer: with 512 streams on
each of 290 connections, a full collection of the interpreter's garbage held everybody up for half a second
(hostile row 38). go-libp2p's resource manager bounds the streams of all connections for the same reason
(``rcmgr``, "System Scope").
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.yamux.pool import Pool

# What each connection may have open whatever the others do; they take from the pool in steps of the same size.
OWN: Final = 32
STEP: Final = OWN
_ANY: Final = 1 << 63


class StreamPool(Pool):
    """Streams that peers may have open on all connections of a network, beyond ``OWN`` on each. ``taken`` counts them
    in steps.
    """

    __slots__ = ()

    def snapshot(self) -> Mapping[str, int]:
        return {"streams_in": self.taken}


class Places:
    """The places of one connection, of which it may have ``limit``.

    ``maximum`` is how many streams the peer may have open for now: when there are so many, either ``refusal`` says why
    there is no place for one more, or it has raised ``maximum`` by what it took from the pool. At ``spare`` open
    streams or less, part of that goes back. ``protected`` tells whether the peer is, at the time.
    """

    __slots__ = ("_limit", "_pool", "_protected", "maximum", "spare")

    def __init__(self, limit: int | None, pool: StreamPool, protected: Callable[[], bool]) -> None:
        self._limit = _ANY if limit is None else limit
        self._pool = pool
        self._protected = protected
        self.maximum = min(self._limit, OWN)
        self.spare = -1

    def refusal(self, opened: int) -> LimitExceeded | None:
        """Why there is no place beside ``opened`` streams, which are ``maximum``; None: there is one now."""
        if opened >= self._limit:
            return _full("streams_in", "on its connection", self._limit)
        protected = self._protected()
        if self._pool.take(self._needed(opened + 1) - self.maximum, protected=protected):
            self._settle(opened + 1)
            return None
        return _full("streams_in_total", "on all connections", self._pool.share(protected=protected))

    def give_back(self, opened: int) -> None:
        """Return to the pool what was taken and is not needed for ``opened`` streams."""
        self._pool.taken -= self.maximum - self._needed(opened)
        self._settle(opened)

    def _needed(self, opened: int) -> int:
        steps = -(-max(0, opened - OWN) // STEP)
        return min(OWN + steps * STEP, self._limit)

    def _settle(self, opened: int) -> None:
        self.maximum = self._needed(opened)
        self.spare = (self.maximum - 1) // STEP * STEP - STEP // 2 if self.maximum > OWN else -1


@lru_cache(16)
def _full(limit: str, where: str, maximum: int) -> LimitExceeded:
    told = f"{limit} {maximum}/{maximum} {where}: raise it in Limits"
    return LimitExceeded(told, limit=limit, current=maximum, maximum=maximum)
