"""Requests of ours that wait, because as many as ``Limits.requests_per_peer`` are under way to their peer.

Who finds a place never comes here: the client counts with a plain ``PerPeer``, and with this in its stead as long as
somebody waits.
"""

import asyncio

from stronghold_p2p.per_peer import PerPeer


class Queue(PerPeer[bytes]):
    """The counts of ``places``, and who waits: a place that is given back is the first one's, without being free."""

    __slots__ = ("_waiting",)

    def __init__(self, places: PerPeer[bytes]) -> None:
        super().__init__(None)
        self.maximum = places.maximum
        self._counts = places._counts  # noqa: SLF001 - the same, not a copy
        self._waiting: dict[bytes, dict[asyncio.Future[None], None]] = {}  # in the order of their coming

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def waiting(self, peer: bytes) -> int:
        return len(self._waiting.get(peer, ()))

    def take(self, peer: bytes) -> bool:
        return peer not in self._waiting and super().take(peer)

    def give_back(self, peer: bytes) -> None:
        while queue := self._waiting.get(peer):
            place = next(iter(queue))
            self._leave(peer, place)
            if not place.done():
                place.set_result(None)
                return
        super().give_back(peer)

    async def wait(self, peer: bytes) -> None:
        """Return with a place. Cancelled, it has none."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer, {})[place] = None
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():  # both in one turn of the loop
                self.give_back(peer)
            raise
        finally:
            self._leave(peer, place)

    def _leave(self, peer: bytes, place: asyncio.Future[None]) -> None:
        queue = self._waiting.get(peer)
        if queue is not None:
            queue.pop(place, None)
            if not queue:
                del self._waiting[peer]
