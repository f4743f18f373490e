"""What an address book remembers, within its limits, and what the swarm tells it of dials and of what peers say.

There are two tables of entries: those that hold something lasting (the caller said it, or a dial found it), and
hearsay, which peers have told of themselves. The entry that was used last stands last in its table. To change an entry,
take a copy by ``entry`` and give it back by ``put``: that makes room by forgetting others, or says that there is none
and leaves what is known of the peer as it was.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from functools import wraps
from time import monotonic
from typing import Any, Final, TypeVar, cast

from multiaddr import Multiaddr

from stronghold_p2p.book.entry import FOUND, GIVEN, LEARNED, TOLD, BookEntry, checked
from stronghold_p2p.book.json_form import ADDRESSES, PEERS, PER_PEER, RELAYS, Content, SavedPeer
from stronghold_p2p.errors import ConfigError, LimitExceeded
from stronghold_p2p.identity import Edition, PeerId

SIZE = 8 << 20  # bytes of all addresses: with the rest of a full book they stay below 32 MiB (hostile row 94)


@dataclass(frozen=True, slots=True)
class Past:
    """What a dial wants to know of a peer's addresses besides the order in which the book has them.

    ``last``: where the peer was found last, if that is known. ``given``: those that the caller has given; all others
    come from the peer. ``relays_first``: the caller has named relays for this peer.
    """

    last: bytes
    given: frozenset[bytes]
    relays_first: bool


NO_PAST: Final = Past(b"", frozenset(), relays_first=False)

Method = TypeVar("Method", bound=Callable[..., Any])


def locked(method: Method) -> Method:
    """One thread at a time: a program may use its book in any thread, while a network does so in its loop."""

    @wraps(method)
    def alone(self: "Store", *args: Any, **options: Any) -> Any:
        with self.lock:
            return method(self, *args, **options)

    return cast("Method", alone)


class Store:
    """The entries of one book. ``peers`` and ``per_peer`` set lower limits than those of a file.

    Whoever takes a copy of an entry to change it has the ``lock`` until it is given back.
    """

    def __init__(self, peers: int | None, per_peer: int | None) -> None:
        self.lock = threading.RLock()
        self.relays: list[PeerId] = []
        self.maximum = _at_most("peers", PEERS, peers)
        self.per_peer = _at_most("per_peer", PER_PEER, per_peer)
        self._lasting: OrderedDict[PeerId, BookEntry] = OrderedDict()
        self._hearsay: OrderedDict[PeerId, BookEntry] = OrderedDict()
        self._count = 0
        self._size = 0
        self._held: list[Container[PeerId]] = []

    @locked
    def entry(self, peer: PeerId) -> BookEntry:
        """A copy of what is known of ``peer``, without what has expired; an empty one if nothing is."""
        known = self._known(peer)
        return BookEntry() if known is None else replace(known, places=dict(known.places))

    @locked
    def put(self, peer: PeerId, entry: BookEntry, *, lasting: bool = True) -> bool:
        """Make ``entry`` the one of ``peer``, as the one that was used last. False: the book is full, nothing changed.

        ``lasting``: it holds something that stays, so entries of which the caller has given nothing make room for it.
        """
        before = self._known(peer)
        self._replace(peer, before, entry)
        while (over := self._over()) is not None:
            if self._evict(self._hearsay, peer):
                continue
            if not lasting or not ((over != "peers" and self._strip(peer)) or self._evict(self._lasting, peer)):
                self._replace(peer, entry, before)
                return False
        return True

    @locked
    def peers(self) -> list[PeerId]:
        """Those of whom an address is known."""
        known = {peer: self._known(peer) for peer in (*self._lasting, *self._hearsay)}
        return [peer for peer, entry in known.items() if entry is not None and entry.places]

    @locked
    def edition(self, peer: PeerId) -> Edition | None:
        """That of the newest signed record that ``peer`` has told; None: none is known."""
        known = self._known(peer)
        return None if known is None else known.edition

    @locked
    def past(self, peer: PeerId) -> Past:
        entry = self._known(peer)
        if entry is None:
            return NO_PAST
        given = frozenset(place for place, until in entry.places.items() if until == GIVEN)
        return Past(entry.last, given, entry.relays is not None)

    @locked
    def learn(
        self,
        peer: PeerId,
        addresses: Iterable[Multiaddr],
        *,
        edition: Edition | None = None,
        besides: bool = False,
        seconds: float = LEARNED,
    ) -> None:
        """``peer`` says that it can be reached there: for an hour, or ``seconds``, if there is room.

        ``edition`` is that of the signed record which says so, if one does. ``besides``: where a signed record holds,
        they are kept behind what that says.
        """
        told: dict[bytes, None] = {}
        for address in addresses:
            if (place := checked(peer, address)) is not None:
                told[place] = None
            if len(told) == PER_PEER:
                break
        entry = self.entry(peer)
        entry.tell(told, monotonic(), self.per_peer, edition, besides=besides, seconds=seconds)
        if not self.put(peer, entry, lasting=False):
            entry.drop(TOLD)
            self.put(peer, entry, lasting=False)

    @locked
    def unlearn(self, peer: PeerId, addresses: Iterable[Multiaddr], *, seconds: float) -> None:
        """What was learned for ``seconds`` at most does not hold any more. What the peer told for an hour does."""
        entry, soon = self.entry(peer), monotonic() + seconds
        for address in addresses:
            place = checked(peer, address)
            if place is not None and entry.places.get(place, GIVEN) <= soon:
                del entry.places[place]
        self.put(peer, entry, lasting=False)

    @locked
    def worked(self, peer: PeerId, address: Multiaddr, *, given: bool = False) -> None:
        """A dial to ``address`` found the peer there: the address stays, and comes first from now on.

        ``given``: it counts as one that the caller gave. The peer itself may still be forgotten.
        """
        place, entry = checked(peer, address), self.entry(peer)
        if place is not None and entry.keep(place, GIVEN if given else FOUND, self.per_peer, first=True):
            entry.last = place
            self.put(peer, entry)

    @locked
    def failed(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial to ``address`` failed while another worked: it comes last from now on, if it is known."""
        place, known = checked(peer, address), self._known(peer)
        if place is not None and known is not None:
            known.failed(place)

    def hold(self, peers: Container[PeerId]) -> None:
        """Never forget a peer that ``peers`` contains at the time, until ``let_go``."""
        self._held.append(peers)

    def let_go(self, peers: Container[PeerId]) -> None:
        self._held = [held for held in self._held if held is not peers]

    @locked
    def content(self) -> Content:
        """What is saved: all that stays."""
        entries = (
            SavedPeer(peer, entry.lasting, entry.pinned, entry.relays, entry.exclusive, entry.edition, entry.unread)
            for peer, entry in self._lasting.items()
        )
        said = tuple(one for one in entries if one.places or one.unread or one.relays is not None or one.exclusive)
        return Content(said, tuple(dict.fromkeys(self.relays)))

    @locked
    def take(self, content: Content) -> None:
        """Add what a file says, behind what is known already. ``LimitExceeded``: it does not fit; nothing changes."""
        self._check_room(content)
        for saved in content.peers:
            entry = self.entry(saved.peer)
            if saved.places and not (entry.places or saved.pinned):  # those that dials have found, last success first
                entry.last = saved.places[0]
            for place in saved.places:
                if entry.places.get(place, 0.0) < FOUND:
                    entry.keep(place, GIVEN if saved.pinned else FOUND, self.per_peer)
            entry.unread = tuple(dict.fromkeys((*entry.unread, *saved.unread)))[:PER_PEER]
            entry.pinned = entry.pinned or saved.pinned
            if saved.relays is not None or saved.exclusive:
                entry.relays, entry.exclusive = saved.relays, saved.exclusive
            if saved.edition is not None and saved.edition.follows(entry.edition):
                entry.edition = saved.edition
            self.put(saved.peer, entry)
        self.relays += [relay for relay in content.relays if relay not in self.relays]

    def _check_room(self, content: Content) -> None:
        """An import forgets nothing that stays, and leaves a book that can be saved; else ``LimitExceeded``."""
        if len({*self.relays, *content.relays}) > RELAYS:
            raise full("relays", RELAYS)
        more: dict[PeerId, tuple[bytes | str, ...]]
        more = {saved.peer: (*saved.places, *saved.unread) for saved in content.peers}
        if len(self._lasting.keys() | more.keys()) > self.maximum:
            raise full("peers", self.maximum)
        merged = [{*entry.lasting, *entry.unread, *more.pop(peer, ())} for peer, entry in self._lasting.items()]
        places = [place for of_peer in (*merged, *more.values()) for place in of_peer]
        if len(places) > ADDRESSES or sum(map(len, places)) > SIZE:
            raise full("addresses", ADDRESSES)

    def _known(self, peer: PeerId) -> BookEntry | None:
        entry = self._lasting.get(peer) or self._hearsay.get(peer)
        now = monotonic()
        if entry is not None and any(until <= now for until in entry.places.values()):
            self._drop(entry, now)
        return entry

    def _replace(self, peer: PeerId, old: BookEntry | None, new: BookEntry | None) -> None:
        self._lasting.pop(peer, None)
        self._hearsay.pop(peer, None)
        self._measure(old, -1)
        if new is not None and (new.places or new.bound or new.unread):
            (self._lasting if new.stays else self._hearsay)[peer] = new
            self._measure(new, 1)

    def _over(self) -> str | None:
        if len(self._lasting) + len(self._hearsay) > self.maximum:
            return "peers"
        return "addresses" if self._count > ADDRESSES or self._size > SIZE else None

    def _evict(self, table: OrderedDict[PeerId, BookEntry], spared: PeerId) -> bool:
        """Forget the peer that was used longest ago, of those that may be forgotten."""
        for _ in range(len(table)):
            peer, entry = next(iter(table.items()))
            if peer != spared and not entry.bound and not self._is_held(peer):
                self._measure(table.pop(peer), -1)
                return True
            table.move_to_end(peer)
        return False

    def _strip(self, spared: PeerId) -> bool:
        """Forget what peers with a lasting entry have only told: an eighth of all, so that it is rarely needed."""
        before = self._count
        for peer, entry in self._lasting.items():
            if self._count <= ADDRESSES * 7 // 8 and self._size <= SIZE * 7 // 8:
                break
            if peer != spared and not self._is_held(peer):
                self._drop(entry, TOLD)
        return self._count < before

    def _is_held(self, peer: PeerId) -> bool:
        return any(peer in peers for peers in self._held)

    def _drop(self, entry: BookEntry, moment: float) -> None:
        self._measure(entry, -1)
        entry.drop(moment)
        self._measure(entry, 1)

    def _measure(self, entry: BookEntry | None, times: int) -> None:
        """Count the addresses of ``entry`` and their bytes once more, or (-1) no longer."""
        if entry is not None:
            self._count += times * (len(entry.places) + len(entry.unread))
            self._size += times * (sum(map(len, entry.places)) + sum(map(len, entry.unread)))


def _at_most(name: str, maximum: int, given: int | None) -> int:
    number: object = given
    if given is not None and not (isinstance(number, int) and 0 <= given <= maximum):
        raise ConfigError(f"AddressBook({name}={given!r}): a file has at most {maximum}", where=name)
    return maximum if given is None else given


def full(limit: str, maximum: int, peer: PeerId | None = None) -> LimitExceeded:
    """The error where there is no place for what the caller wants to add."""
    what = {
        "peers": f"the book holds {maximum} peers, or {ADDRESSES} addresses, that may not be forgotten",
        "per_peer": f"{maximum} addresses of {peer} are known",
        "relays": f"the book would have more than {maximum} relays",
        "addresses": f"the book would hold more than {maximum} addresses, or {SIZE} bytes of them",
    }[limit]
    return LimitExceeded(f"{what}: remove some", limit=limit, current=maximum, maximum=maximum, peer=peer)
