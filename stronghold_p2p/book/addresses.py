"""Known addresses of peers, in the order in which they are dialed: last success first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from time import monotonic

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import relays_of, through_relay
from stronghold_p2p.addressing.parse import with_peer
from stronghold_p2p.book import json_form
from stronghold_p2p.book.entry import (
    FOUND,
    GIVEN,
    BookEntry,
    checked,
    place_of,
)
from stronghold_p2p.book.file import BookFile
from stronghold_p2p.book.json_form import (
    ADDRESSES,
    PEERS,
    PER_PEER,
    RELAYS,
    Content,
    SavedPeer,
)
from stronghold_p2p.errors import ConfigError, LimitExceeded
from stronghold_p2p.identity import PeerId

SIZE = 8 << 20  # bytes of all addresses: with the rest of a full book they stay below 32 MiB (hostile row 94)


class AddressBook:
    """Where peers can be reached: at most 64 addresses of each of 10,000 peers, and 100,000 in all.

    An address that was added here, or at which a dial found the peer, stays until it is removed. One that peers
    told is forgotten after an hour, and whenever its place is needed; while a peer's signed record holds, nothing else
    that it tells counts. Where a peer's connection came from is never taken for its address.

    When the book is full, peers of whom only such addresses are known are forgotten first, then those that dials have
    found, each time the one that was used longest ago. Never forgotten are peers that the caller has named (``add``,
    ``via``), and those to whom a network has a connection, or that stand in its ``protected``.

    ``relays`` are the peers through which any other may be reached, in order, at most 64; change the list as you like.
    ``peers`` and ``per_peer`` set lower limits (``ConfigError``: they are higher).
    """

    def __init__(
        self,
        *,
        peers: int | None = None,
        per_peer: int | None = None,
    ) -> None:
        self.relays: list[PeerId] = []
        self._lasting: OrderedDict[PeerId, BookEntry] = OrderedDict()
        self._hearsay: OrderedDict[PeerId, BookEntry] = OrderedDict()
        self._maximum = _at_most("peers", PEERS, peers)
        self._per_peer = _at_most("per_peer", PER_PEER, per_peer)
        self._count = 0
        self._size = 0
        self._held: list[Container[PeerId]] = []
        self._file: BookFile | None = None

    # ------------------------------------------------------------------ files

    @staticmethod
    def load(path: Path | str, *, autosave: bool = True) -> AddressBook:
        """The book in the file at ``path``; an empty one if there is none.

        With ``autosave`` a network that uses the book saves it when it closes, if it has changed. ``ConfigError``: the
        file cannot be read or understood; ``where`` names the file and the place in it, and it stays as it is.
        """
        book = AddressBook()
        book._file = BookFile(Path(path), autosave=autosave)
        content = book._file.read()
        if content is not None:
            book._take(content)
            book._file.saved = book._content()
        return book

    def save(self, path: Path | str | None = None) -> None:
        """Write the book to ``path``, or (None) to the file that it was loaded from, in one step.

        What peers have only told is not saved. ``ConfigError``: it cannot be written, or what is there is no address
        book; then the file is as it was.
        """
        if path is None and self._file is None:
            raise ConfigError("the book was loaded from no file: name one", where="path")
        if path is None or (self._file is not None and Path(path) == self._file.path):
            assert self._file is not None
            self._file.write(self._content())
        else:
            BookFile(Path(path)).write(self._content())

    def export(self) -> str:
        """The book as JSON, as it stands in a file."""
        return json_form.dumps(self._content()).decode()

    def import_(self, text: str) -> None:
        """Add what ``export``, or the Rust library, has written; addresses and relays come behind those known already.

        ``ConfigError``: it is no address book. ``LimitExceeded``: it does not fit. Then nothing changes.
        """
        self._take(json_form.loads(text.encode(errors="surrogatepass"), "the text"))

    # ------------------------------------------------------------------ for the application

    def add(self, peer: PeerId, address: Multiaddr | str) -> None:
        """``address`` is one of ``peer``'s; it is dialed after those that are known, and never forgotten.

        ``ConfigError``: no address, or one that ends in another peer's id. ``LimitExceeded``: there is no place that is
        not taken by something that the caller gave, too.
        """
        place = place_of(peer, address)
        entry = self._entry(peer)
        was = entry.pinned
        entry.pinned = True
        if entry.places.get(place, 0.0) >= FOUND:
            entry.places[place] = GIVEN
        elif not entry.keep(place, GIVEN, self._per_peer):
            entry.pinned = was
            raise _full("per_peer", self._per_peer, peer)
        if not self._settle(peer, entry, lasting=True):
            del entry.places[place]
            entry.pinned = was
            self._settle(peer, entry, lasting=True)
            raise _full("peers", self._maximum, peer)

    def remove(self, peer: PeerId, address: Multiaddr | str | None = None) -> None:
        """Forget one address of ``peer``, or (None) all; nothing happens if it is not known."""
        entry = self._entry(peer)
        if address is not None:
            entry.places.pop(place_of(peer, address), None)
        else:
            entry.places = {}
        if not entry.places:
            entry.pinned = False
        self._settle(peer, entry, lasting=True)

    def addresses(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        """The addresses of ``peer`` in dial order: as ``via`` says, and those known in the order of their success.

        One at the peer itself is without ``/p2p/``; one through a relay is
        ``<relay's address>/p2p/<relay>/p2p-circuit/p2p/<peer>``.
        """
        entry = self._entry(peer)
        order = entry.order(peer, self._circuits(peer, self.relays if entry.relays is None else entry.relays))
        found = map(Multiaddr, order)
        return tuple(with_peer(one, peer) if relays_of(one) else one for one in found)

    def peers(self) -> tuple[PeerId, ...]:
        """Every peer of whom an address is known."""
        return tuple(peer for peer in (*self._lasting, *self._hearsay) if self._entry(peer).places)

    def via(self, to: PeerId, relays: Sequence[PeerId] | None, *, exclusive: bool = False) -> None:
        """Set through which relays ``to`` may be reached. None: all of ``self.relays``, after the peer's addresses, as
        without this call; ``()``: none; others: these, before its addresses. ``exclusive``: through relays only.

        ``ConfigError``: nothing would be left, or more than 64 relays. ``LimitExceeded``: the book is full.
        """
        named = None if relays is None else tuple(dict.fromkeys(relays))
        if exclusive and named == ():
            raise ConfigError("exclusive, and through no relay: nothing is left to dial", where="relays")
        if named is not None and len(named) > RELAYS:
            raise ConfigError(f"{len(named)} relays, at most {RELAYS}", where="relays")
        entry = self._entry(to)
        before = entry.relays, entry.exclusive
        entry.relays, entry.exclusive = named, exclusive
        if not self._settle(to, entry, lasting=True):
            entry.relays, entry.exclusive = before
            self._settle(to, entry, lasting=True)
            raise _full("peers", self._maximum, to)

    # ------------------------------------------------------------------ for the swarm

    def learn(self, peer: PeerId, addresses: Iterable[Multiaddr], *, seq: int | None = None) -> None:
        """``peer`` says that it can be reached there: the addresses count for an hour, as far as there is room.

        ``seq``: the sequence number of the signed record that they come from.
        """
        told: dict[bytes, None] = {}
        for address in addresses:
            if (place := checked(peer, address)) is not None:
                told[place] = None
            if len(told) == PER_PEER:
                break
        entry = self._entry(peer)
        entry.tell(told, monotonic(), self._per_peer, seq)
        if not self._settle(peer, entry, lasting=False):
            entry.drop_told()
            self._settle(peer, entry, lasting=False)

    def worked(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial to ``address`` found the peer there: the address stays, and comes first from now on."""
        place = checked(peer, address)
        if place is None:
            return
        entry = self._entry(peer)
        if not entry.keep(place, FOUND, self._per_peer, first=True):
            return
        if not self._settle(peer, entry, lasting=True):
            del entry.places[place]
            self._settle(peer, entry, lasting=True)

    def failed(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial to ``address`` failed while another worked: it comes last from now on, if it is known."""
        if (place := checked(peer, address)) is not None:
            self._entry(peer).failed(place)

    def hold(self, peers: Container[PeerId]) -> None:
        """Never forget a peer that ``peers`` contains at the time, until ``let_go``."""
        self._held.append(peers)

    def let_go(self, peers: Container[PeerId]) -> None:
        """Undo ``hold`` with the same object."""
        self._held = [held for held in self._held if held is not peers]

    def save_changes(self) -> str | None:
        """Save the book of a network that closes, if it came from a file and has changed; returns why that failed."""
        if self._file is None or not self._file.autosave or self._file.saved == (content := self._content()):
            return None
        try:
            self._file.write(content)
        except ConfigError as error:
            return str(error)
        return None

    # ------------------------------------------------------------------ inside

    def _entry(self, peer: PeerId) -> BookEntry:
        """The entry of ``peer`` without what has expired; a fresh one becomes part of the book with ``_settle``."""
        entry = self._lasting.get(peer) or self._hearsay.get(peer) or BookEntry()
        if entry.expire(monotonic()):
            self._recount(entry)
        return entry

    def _circuits(self, peer: PeerId, relays: Iterable[PeerId]) -> list[bytes]:
        """One address of ``peer`` through each relay of which an address is known; nobody is a relay to itself."""
        found: list[bytes] = []
        for relay in dict.fromkeys(relays):
            place = None if relay == peer else self._entry(relay).direct()
            if place is not None:
                found.append(bytes(through_relay(Multiaddr(place), relay)))
        return found

    def _content(self) -> Content:
        entries = (
            SavedPeer(peer, entry.lasting, entry.pinned, entry.relays, entry.exclusive)
            for peer, entry in self._lasting.items()
        )
        said = tuple(saved for saved in entries if saved.places or saved.relays is not None or saved.exclusive)
        return Content(said, tuple(dict.fromkeys(self.relays)))

    def _take(self, content: Content) -> None:
        self._check_room(content)
        for saved in content.peers:
            entry = self._entry(saved.peer)
            for place in saved.places:
                if entry.places.get(place, 0.0) < FOUND:
                    entry.keep(place, GIVEN if saved.pinned else FOUND, self._per_peer)
            entry.pinned = entry.pinned or saved.pinned
            if saved.relays is not None or saved.exclusive:
                entry.relays, entry.exclusive = saved.relays, saved.exclusive
            self._settle(saved.peer, entry, lasting=True)
        self.relays += [relay for relay in content.relays if relay not in self.relays]

    def _check_room(self, content: Content) -> None:
        """An import forgets nothing that stays, and leaves a book that can be saved; else ``LimitExceeded``."""
        if len({*self.relays, *content.relays}) > RELAYS:
            raise _full("relays", RELAYS, None)
        more = {saved.peer: saved.places for saved in content.peers}
        if len(self._lasting.keys() | more.keys()) > self._maximum:
            raise _full("peers", self._maximum, None)
        merged = [{*entry.lasting, *more.pop(peer, ())} for peer, entry in self._lasting.items()]
        places = [place for of_peer in (*merged, *more.values()) for place in of_peer]
        if len(places) > ADDRESSES or sum(map(len, places)) > SIZE:
            raise _full("addresses", ADDRESSES, None)

    # ------------------------------------------------------------------ limits

    def _settle(self, peer: PeerId, entry: BookEntry, *, lasting: bool) -> bool:
        """Make ``entry`` the one of ``peer``, as the one that was used last. False: the book is full without it.

        ``lasting``: it holds something that stays, so entries of which the caller has given nothing make room for it.
        """
        self._lasting.pop(peer, None)
        self._hearsay.pop(peer, None)
        if entry.places or entry.bound:
            (self._lasting if entry.stays else self._hearsay)[peer] = entry
            self._recount(entry)
        else:
            self._discount(entry)
        while (over := self._over()) is not None:
            if self._evict(self._hearsay, peer):
                continue
            if not lasting or not ((over != "peers" and self._strip(peer)) or self._evict(self._lasting, peer)):
                return False
        return True

    def _over(self) -> str | None:
        if len(self._lasting) + len(self._hearsay) > self._maximum:
            return "peers"
        return "addresses" if self._count > ADDRESSES or self._size > SIZE else None

    def _evict(self, room: OrderedDict[PeerId, BookEntry], spared: PeerId) -> bool:
        """Forget the peer that was used longest ago, of those that may be forgotten."""
        for _ in range(len(room)):
            peer, entry = next(iter(room.items()))
            if peer != spared and not entry.bound and not self._is_held(peer):
                del room[peer]
                self._discount(entry)
                return True
            room.move_to_end(peer)
        return False

    def _strip(self, spared: PeerId) -> bool:
        """Forget what peers with a lasting entry have only told: an eighth of all, so that it is rarely needed."""
        before = self._count
        for peer, entry in self._lasting.items():
            if self._count <= ADDRESSES * 7 // 8 and self._size <= SIZE * 7 // 8:
                break
            if peer != spared and not self._is_held(peer):
                entry.drop_told()
                self._recount(entry)
        return self._count < before

    def _is_held(self, peer: PeerId) -> bool:
        return any(peer in peers for peers in self._held)

    def _recount(self, entry: BookEntry) -> None:
        self._discount(entry)
        entry.counted = len(entry.places), sum(map(len, entry.places))
        self._count += entry.counted[0]
        self._size += entry.counted[1]

    def _discount(self, entry: BookEntry) -> None:
        self._count -= entry.counted[0]
        self._size -= entry.counted[1]
        entry.counted = (0, 0)


def _at_most(name: str, maximum: int, given: int | None) -> int:
    if given is not None and given > maximum:
        raise ConfigError(f"AddressBook({name}={given}): a file has at most {maximum}", where=name)
    return maximum if given is None else given


def _full(limit: str, maximum: int, peer: PeerId | None) -> LimitExceeded:
    what = {
        "peers": f"the book holds {maximum} peers, or {ADDRESSES} addresses, that may not be forgotten",
        "per_peer": f"{maximum} addresses of {peer} are known",
        "relays": f"the book would have more than {maximum} relays",
        "addresses": f"the book would hold more than {maximum} addresses, or {SIZE} bytes of them",
    }[limit]
    return LimitExceeded(f"{what}: remove some", limit=limit, current=maximum, maximum=maximum, peer=peer)
