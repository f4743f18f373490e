"""Who was heard of on the LAN, and where: what they said, for as long as they said, and no longer than ten minutes.

Anybody on the LAN can say anything, in anybody's name. So nothing here takes away what another source has said: what a
source says holds until it says otherwise, says goodbye, or falls silent. Where there is no room, the source that has
most gives way to one that has less.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.identity import PeerId

LONGEST: Final = 600.0  # seconds that anything holds, whatever its TTL says: go's is 3,200
PER_PEER: Final = 16  # addresses of one peer
RESCUE: Final = 1.0  # seconds from a goodbye to the end, in which somebody may say otherwise (RFC 6762, 10.1)


@dataclass(frozen=True, slots=True)
class Change:
    """Where ``peer`` was said to be, and where it is now: nothing before, it is new; nothing after, it is gone."""

    peer: PeerId
    before: tuple[Multiaddr, ...]
    after: tuple[Multiaddr, ...]


@dataclass(slots=True)
class _Said:
    """Who has said first that the peer is at an address, under which name lately, and until when that holds."""

    source: str
    name: str
    until: float


class _Entry:
    __slots__ = ("places", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.places: dict[Multiaddr, _Said] = {}

    @property
    def due(self) -> float:
        return min((said.until for said in self.places.values()), default=-math.inf)


class Table:
    """At most ``maximum`` peers (None: any number), of whom each has ``PER_PEER`` addresses at most."""

    def __init__(self, maximum: int | None) -> None:
        self._maximum = math.inf if maximum is None else maximum
        self._entries: dict[PeerId, _Entry] = {}
        self._per_source: Counter[str] = Counter()
        self.due = math.inf
        """When the first address of all expires."""

    def __len__(self) -> int:
        return len(self._entries)

    def addresses(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        entry = self._entries.get(peer)
        return () if entry is None else tuple(entry.places)

    def take(
        self, peer: PeerId, addresses: Sequence[Multiaddr], *, source: str, name: str, ttl: float, now: float
    ) -> list[Change]:
        """``source`` says, under ``name``, that ``peer`` is at ``addresses``, and nowhere else under this name."""
        changes: list[Change] = []
        before = self.addresses(peer)
        if peer not in self._entries:
            if not addresses or not self._make_room(source, changes):
                return changes
            self._entries[peer] = _Entry(source)
            self._per_source[source] += 1
        places, until = self._entries[peer].places, now + min(ttl, LONGEST)
        for address in addresses[:PER_PEER]:
            said = places.get(address)
            if said is not None and said.source != source:  # that stays, and holds no shorter than this
                said.until = max(said.until, until)
            elif said is not None or _has_room(places, source):
                places[address] = _Said(source, name, until)
        for address, said in list(places.items()):
            if (said.source, said.name) == (source, name) and address not in addresses:
                del places[address]
        return changes + self._changed(peer, before)

    def leave(self, names: Collection[str], *, source: str, now: float) -> None:
        """``source`` takes back, soon, what it has said under ``names``; what others have said stays."""
        for entry in self._entries.values():
            for said in entry.places.values():
                if said.source == source and said.name in names:
                    said.until = min(said.until, now + RESCUE)
                    self.due = min(self.due, said.until)

    def expire(self, now: float) -> list[Change]:
        """Forget what does not hold any more."""
        changes: list[Change] = []
        if now < self.due:
            return changes
        for peer, entry in list(self._entries.items()):
            if entry.due <= now:
                before = tuple(entry.places)
                entry.places = {address: said for address, said in entry.places.items() if said.until > now}
                changes += self._changed(peer, before)
        self._look()
        return changes

    def _changed(self, peer: PeerId, before: tuple[Multiaddr, ...]) -> list[Change]:
        entry = self._entries[peer]
        after = tuple(entry.places)
        if not after:
            self._forget(peer)
        else:
            self.due = min(self.due, entry.due)
        return [Change(peer, before, after)] if set(before) != set(after) else []

    def _make_room(self, source: str, changes: list[Change]) -> bool:
        """For one more peer of ``source``."""
        if len(self._entries) < self._maximum:
            return True
        most = max(self._per_source, key=lambda one: self._per_source[one], default=source)
        if self._per_source[most] <= self._per_source[source] + 1:
            return False
        peer = next(peer for peer, entry in self._entries.items() if entry.source == most)
        changes.append(Change(peer, self.addresses(peer), ()))
        self._forget(peer)
        return True

    def _forget(self, peer: PeerId) -> None:
        source = self._entries.pop(peer).source
        self._per_source[source] -= 1
        if not self._per_source[source]:
            del self._per_source[source]

    def _look(self) -> None:
        self.due = min((entry.due for entry in self._entries.values()), default=math.inf)


def _has_room(places: dict[Multiaddr, _Said], source: str) -> bool:
    """For one more address from ``source``."""
    if len(places) < PER_PEER:
        return True
    counts: Counter[str] = Counter(said.source for said in places.values())
    ((most, number),) = counts.most_common(1)
    if number <= counts[source] + 1:
        return False
    del places[next(address for address, said in places.items() if said.source == most)]
    return True


def grouped(found: Iterable[tuple[PeerId, Multiaddr]]) -> tuple[PeerId | None, list[Multiaddr]]:
    """The peer whom an announcement is about, as its first address says, and the addresses that are that peer's."""
    peer: PeerId | None = None
    addresses: dict[Multiaddr, None] = {}
    for named, address in found:
        peer = named if peer is None else peer
        if named == peer:
            addresses[address] = None
    return peer, list(addresses)
