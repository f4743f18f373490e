"""What waits while a reader of events is slow and has chosen ``overflow="wait"``: sockets, and handlers that are due.

A reader has room for ``buffer`` events. From half of that on nothing new begins: accepted sockets are not read from,
and handlers of streams that peers have opened do not start. The other half is for what is under way by then, and for
what the application itself does; that never waits, because the reader may be the one that waits for it. One source, a
peer or an address, has an eighth: one that fills it waits alone, and the others go on.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import Final, TypeAlias

from stronghold_p2p.events import events
from stronghold_p2p.events.events import Event
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.per_peer import Hold, PerPeer

Source: TypeAlias = Hashable

UNDER_WAY: Final = 2  # one part of so many is kept for what has begun already
SHARES: Final = 8  # one source has one part of so many

log = logging.getLogger("stronghold_p2p.network")


def source_of(event: Event) -> Source:
    """The peer that has brought this event about, or the address of one that is not proven yet; None: we have."""
    match event:
        case events.Opened(connection) | events.Ended(connection, _):
            return connection.peer if connection.direction == "in" else None
        case events.RequestUnread(connection, _, _):
            return connection.peer
        case events.Judged(attempt, _):
            return attempt.peer if attempt.direction == "in" else None
        case events.RequestFailed(request):
            peer: PeerId = request.peer
            return peer
        case (
            events.ReservationMade(_, holder) | events.ReservationLost(_, holder) | events.ReservationRefused(_, holder)
        ):
            return holder
        case events.CircuitOpened(source) | events.CircuitClosed(source):
            return source
        case events.Accepting(remote) | events.AcceptFailed(remote, _):
            return remote
        case _:
            return None


def held_of(event: Event) -> Hold[bytes] | None:
    """What the request that this event shows takes of the memory for requests: it does so until the reader has it."""
    if isinstance(event, events.Judged):
        event_held: Hold[bytes] | None = event.attempt.held
        return event_held
    return event.held if isinstance(event, events.RequestFailed) else None


def refuses(event: Event) -> bool:
    """Whether somebody was turned away: no handler and no connection, so nothing of it can be made to wait."""
    return isinstance(event, events.AcceptFailed | events.RequestUnread | events.ReservationRefused) or (
        isinstance(event, events.Judged) and event.rule == Rule.REJECT
    )


class Crowd(PerPeer[Source]):
    """How many events wait for one reader, and of whom."""

    __slots__ = ("_buffer", "_mark", "_share")

    def __init__(self, buffer: int) -> None:
        super().__init__(None)
        self._buffer = buffer
        self._mark = -(-buffer // UNDER_WAY)
        self._share = max(1, buffer // SHARES)

    @property
    def room(self) -> int:
        """How much may begin now."""
        return self._mark - self.total

    def crowded(self, source: Source) -> bool:
        """Whether what ``source`` brings has to wait."""
        return self.total >= self._mark or (source is not None and self.count(source) >= self._share)

    def takes(self, event: Event) -> bool:
        """Whether there is a place for one more. An event that refuses has none beyond its source's share."""
        return self.total < self._buffer and not (refuses(event) and self.count(source_of(event)) >= self._share)


class Backlog:
    """Sockets and handlers that wait until all readers have room again. What bounds these bounds the backlog."""

    def __init__(self) -> None:
        self.readers: list[Crowd] = []
        self._held: dict[Source, dict[object, Callable[[], None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None  # where they wait
        self._due = False
        self._told = False

    @property
    def held(self) -> int:
        return sum(map(len, self._held.values()))

    def holds(self, source: Source) -> bool:
        """Whether what ``source`` brings now has to wait."""
        return bool(self.readers) and (source in self._held or self.crowded(source))

    def hold(self, source: Source, go: Callable[[], None]) -> Callable[[], None]:
        """Call ``go`` when it is the turn of ``source``; returns what takes that back. ``go`` must not raise."""
        if not self._told:
            waiting = max((crowd.total for crowd in self.readers), default=0)
            log.warning("a reader of events() is %d behind: new connections and handlers wait for it", waiting)
            self._told = True
        self._loop = asyncio.get_running_loop()
        token = object()
        self._held.setdefault(source, {})[token] = go
        return partial(self._forget, source, token)

    async def turn(self, source: Source) -> None:
        if not self.holds(source):
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        forget = self.hold(source, lambda: None if mine.done() else mine.set_result(None))
        try:
            await mine
        finally:
            forget()

    def relieve(self) -> None:
        """A reader has taken an event: what may begin now does so in the next turn of the loop."""
        if self._held and self._loop is not None and not self._due:
            self._due = True
            self._loop.call_soon_threadsafe(self._relieve)  # a reader that is forgotten leaves in any thread

    def leave(self, crowd: Crowd) -> None:
        if crowd in self.readers:
            self.readers.remove(crowd)
            self.relieve()

    def _relieve(self) -> None:
        self._due = False
        room = min((crowd.room for crowd in self.readers), default=self.held)
        for source in list(self._held):
            if room <= 0:
                break
            if self.crowded(source):
                continue
            room -= 1
            waiting = self._held.pop(source)
            go = waiting.pop(next(iter(waiting)))
            if waiting:
                self._held[source] = waiting  # behind the others
            go()
            self.relieve()  # once more, when what has begun has told of itself
        self._told = self._told and bool(self._held)

    def crowded(self, source: Source) -> bool:
        """Whether what ``source`` brings has to wait, also where its turn has been."""
        return any(crowd.crowded(source) for crowd in self.readers)

    def _forget(self, source: Source, token: object) -> None:
        waiting = self._held.get(source, {})
        if waiting.pop(token, None) is not None and not waiting:
            del self._held[source]
