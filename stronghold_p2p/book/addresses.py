"""Known addresses of peers, in the order in which they are dialed: last success first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

from multiaddr import Multiaddr

from stronghold_p2p.addressing import multiaddrs
from stronghold_p2p.book import book_json
from stronghold_p2p.book.book_file import BookFile
from stronghold_p2p.book.book_json import (
    ADDRESSES,
    PEERS,
    PER_PEER,
    RELAYS,
    Content,
    PeerEntry,
)
from stronghold_p2p.book.known import (
    FOUND,
    GIVEN,
    Known,
    checked,
    place_of,
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
    ``peers`` and ``per_peer`` set lower limits (``ConfigError``: they are higher), ``clock`` tells seconds.
    """

    def __init__(
        self,
        *,
        peers: int | None = None,
        per_peer: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.relays: list[PeerId] = []
        self._kept: OrderedDict[PeerId, Known] = OrderedDict()
        self._told: OrderedDict[PeerId, Known] = OrderedDict()
        self._maximum = _at_most("peers", PEERS, peers)
        self._per_peer = _at_most("per_peer", PER_PEER, per_peer)
        self._count = 0
        self._size = 0
        self._clock = clock
        self._in_use: list[Container[PeerId]] = []
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
        return book_json.dumps(self._content()).decode()

    def import_(self, text: str) -> None:
        """Add what ``export``, or the Rust library, has written; addresses and relays come behind those known already.

        ``ConfigError``: it is no address book. ``LimitExceeded``: it does not fit. Then nothing changes.
        """
        self._take(book_json.loads(text.encode(errors="surrogatepass"), "the text"))

    # ------------------------------------------------------------------ for the application

    def add(self, peer: PeerId, address: Multiaddr | str) -> None:
        """``address`` is one of ``peer``'s; it is dialed after those that are known, and never forgotten.

        ``ConfigError``: no address, or one that ends in another peer's id. ``LimitExceeded``: there is no place that is
        not taken by something that the caller gave, too.
        """
        place = place_of(peer, address)
        known = self._known(peer)
        was = known.pinned
        known.pinned = True
        if known.places.get(place, 0.0) >= FOUND:
            known.places[place] = GIVEN
        elif not known.keep(place, GIVEN, self._per_peer):
            known.pinned = was
            raise _full("per_peer", self._per_peer, peer)
        if not self._settle(peer, known, kept=True):
            del known.places[place]
            known.pinned = was
            self._settle(peer, known, kept=True)
            raise _full("peers", self._maximum, peer)

    def remove(self, peer: PeerId, address: Multiaddr | str | None = None) -> None:
        """Forget one address of ``peer``, or (None) all; nothing happens if it is not known."""
        known = self._known(peer)
        if address is not None:
            known.places.pop(place_of(peer, address), None)
        else:
            known.places = {}
        if not known.places:
            known.pinned = False
        self._settle(peer, known, kept=True)

    def addresses(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        """The addresses of ``peer`` in dial order: as ``via`` says, and those known in the order of their success.

        One at the peer itself is without ``/p2p/``; one through a relay is
        ``<relay's address>/p2p/<relay>/p2p-circuit/p2p/<peer>``.
        """
        known = self._known(peer)
        order = known.order(peer, self._circuits(peer, self.relays if known.relays is None else known.relays))
        found = map(Multiaddr, order)
        return tuple(multiaddrs.with_peer(one, peer) if multiaddrs.relays(one) else one for one in found)

    def peers(self) -> tuple[PeerId, ...]:
        """Every peer of whom an address is known."""
        return tuple(peer for peer in (*self._kept, *self._told) if self._known(peer).places)

    def via(self, to: PeerId, relays: Sequence[PeerId] | None, *, exclusive: bool = False) -> None:
        """Through which relays ``to`` may be reached: None: all of ``self.relays``, after what is known of the peer (as
        without this call); ``()``: none; others: these, and before what is known. ``exclusive``: through relays only.

        ``ConfigError``: nothing would be left, or more than 64 relays. ``LimitExceeded``: the book is full.
        """
        named = None if relays is None else tuple(dict.fromkeys(relays))
        if exclusive and named == ():
            raise ConfigError("exclusive, and through no relay: nothing is left to dial", where="relays")
        if named is not None and len(named) > RELAYS:
            raise ConfigError(f"{len(named)} relays, at most {RELAYS}", where="relays")
        known = self._known(to)
        before = known.relays, known.exclusive
        known.relays, known.exclusive = named, exclusive
        if not self._settle(to, known, kept=True):
            known.relays, known.exclusive = before
            self._settle(to, known, kept=True)
            raise _full("peers", self._maximum, to)

    # ------------------------------------------------------------------ for the swarm

    def learn(self, peer: PeerId, addresses: Iterable[Multiaddr], *, seq: int | None = None) -> None:
        """``peer`` says that it can be reached there: worth a try for an hour, in the places that are free.

        ``seq``: the sequence number of the record in which it has signed that.
        """
        told: dict[bytes, None] = {}
        for address in addresses:
            if (place := checked(peer, address)) is not None:
                told[place] = None
            if len(told) == PER_PEER:
                break
        known = self._known(peer)
        known.tell(told, self._clock(), self._per_peer, seq)
        if not self._settle(peer, known, kept=False):
            known.drop_told()
            self._settle(peer, known, kept=False)

    def worked(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial to this address found the peer: it stays, and comes first from now on."""
        place = checked(peer, address)
        if place is None:
            return
        known = self._known(peer)
        if not known.keep(place, FOUND, self._per_peer, first=True):
            return
        if not self._settle(peer, known, kept=True):
            del known.places[place]
            self._settle(peer, known, kept=True)

    def failed(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial failed while another worked: it comes last from now on; one that is not known is not learned."""
        if (place := checked(peer, address)) is not None:
            self._known(peer).failed(place)

    def hold(self, peers: Container[PeerId]) -> None:
        """Never forget one of ``peers``, whoever they are at that time, until ``let_go``."""
        self._in_use.append(peers)

    def let_go(self, peers: Container[PeerId]) -> None:
        self._in_use = [held for held in self._in_use if held is not peers]

    def save_changes(self) -> str | None:
        """For a network that closes: save the book, if it came from a file and has changed; why that failed."""
        if self._file is None or not self._file.autosave or self._file.saved == (content := self._content()):
            return None
        try:
            self._file.write(content)
        except ConfigError as error:
            return str(error)
        return None

    # ------------------------------------------------------------------ inside

    def _known(self, peer: PeerId) -> Known:
        """What is still known; a fresh entry becomes part of the book with ``_settle``."""
        known = self._kept.get(peer) or self._told.get(peer) or Known()
        if known.expire(self._clock()):
            self._recount(known)
        return known

    def _circuits(self, peer: PeerId, relays: Iterable[PeerId]) -> list[bytes]:
        """One address of ``peer`` through each relay of which an address is known; nobody is a relay to itself."""
        found: list[bytes] = []
        for relay in dict.fromkeys(relays):
            place = None if relay == peer else self._known(relay).direct()
            if place is not None:
                found.append(bytes(multiaddrs.through(Multiaddr(place), relay)))
        return found

    def _content(self) -> Content:
        entries = (
            PeerEntry(peer, known.lasting, known.pinned, known.relays, known.exclusive)
            for peer, known in self._kept.items()
        )
        said = tuple(entry for entry in entries if entry.known or entry.relays is not None or entry.exclusive)
        return Content(said, tuple(dict.fromkeys(self.relays)))

    def _take(self, content: Content) -> None:
        self._check_room(content)
        for entry in content.peers:
            known = self._known(entry.peer)
            for place in entry.known:
                if known.places.get(place, 0.0) < FOUND:
                    known.keep(place, GIVEN if entry.pinned else FOUND, self._per_peer)
            known.pinned = known.pinned or entry.pinned
            if entry.relays is not None or entry.exclusive:
                known.relays, known.exclusive = entry.relays, entry.exclusive
            self._settle(entry.peer, known, kept=True)
        self.relays += [relay for relay in content.relays if relay not in self.relays]

    def _check_room(self, content: Content) -> None:
        """What stays is never forgotten for an import, and what it makes of the book can be saved."""
        if len({*self.relays, *content.relays}) > RELAYS:
            raise _full("relays", RELAYS, None)
        more = {entry.peer: entry.known for entry in content.peers}
        if len(self._kept.keys() | more.keys()) > self._maximum:
            raise _full("peers", self._maximum, None)
        merged = [{*known.lasting, *more.pop(peer, ())} for peer, known in self._kept.items()]
        places = [place for of_peer in (*merged, *more.values()) for place in of_peer]
        if len(places) > ADDRESSES or sum(map(len, places)) > SIZE:
            raise _full("addresses", ADDRESSES, None)

    # ------------------------------------------------------------------ limits

    def _settle(self, peer: PeerId, known: Known, *, kept: bool) -> bool:
        """``known`` is what is known of ``peer`` now, used last of all. False: the book is full without it.

        ``kept``: something stays that others, of whom nothing was given by the caller, have to make room for.
        """
        self._kept.pop(peer, None)
        self._told.pop(peer, None)
        if known.places or known.bound:
            (self._kept if known.stays else self._told)[peer] = known
            self._recount(known)
        else:
            self._discount(known)
        while (over := self._over()) is not None:
            if self._evict(self._told, peer):
                continue
            if not kept or not ((over != "peers" and self._strip(peer)) or self._evict(self._kept, peer)):
                return False
        return True

    def _over(self) -> str | None:
        if len(self._kept) + len(self._told) > self._maximum:
            return "peers"
        return "addresses" if self._count > ADDRESSES or self._size > SIZE else None

    def _evict(self, room: OrderedDict[PeerId, Known], spared: PeerId) -> bool:
        """Forget the peer that was used longest ago, of those that may be forgotten."""
        for _ in range(len(room)):
            peer, known = next(iter(room.items()))
            if peer != spared and not known.bound and not self._is_held(peer):
                del room[peer]
                self._discount(known)
                return True
            room.move_to_end(peer)
        return False

    def _strip(self, spared: PeerId) -> bool:
        """Forget what was only told about peers that stay, an eighth of all at once: the next time is far away then."""
        before = self._count
        for peer, known in self._kept.items():
            if self._count <= ADDRESSES * 7 // 8 and self._size <= SIZE * 7 // 8:
                break
            if peer != spared and not self._is_held(peer):
                known.drop_told()
                self._recount(known)
        return self._count < before

    def _is_held(self, peer: PeerId) -> bool:
        return any(peer in peers for peers in self._in_use)

    def _recount(self, known: Known) -> None:
        self._discount(known)
        known.counted = len(known.places), sum(map(len, known.places))
        self._count += known.counted[0]
        self._size += known.counted[1]

    def _discount(self, known: Known) -> None:
        self._count -= known.counted[0]
        self._size -= known.counted[1]
        known.counted = (0, 0)


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
