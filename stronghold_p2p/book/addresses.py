"""What users see of a book: known addresses of peers, the last success first.

Its file is read whole or not at all, replaced in one step, and only where an address book was.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from multiaddr import Multiaddr

from stronghold_p2p import files
from stronghold_p2p.addressing.kinds import relays_of, through_relay
from stronghold_p2p.addressing.parse import CheckedAddress, with_peer
from stronghold_p2p.arguments import check_kind
from stronghold_p2p.book import json_form
from stronghold_p2p.book.entry import FOUND, GIVEN, place_of
from stronghold_p2p.book.json_form import RELAYS, Content
from stronghold_p2p.book.store import Store, full
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.identity import PeerId


class AddressBook:
    """Where peers can be reached: at most 64 addresses of each of 10,000 peers, and 100,000 in all.

    An address that was added here, or at which a dial found the peer, stays until it is removed. One that peers
    told is forgotten after an hour, and whenever its place is needed; while a peer's signed record holds, nothing else
    that it tells counts, and an older one is never taken. Where a peer's connection came from is never taken for its
    address.

    When the book is full, peers of whom only such addresses are known are forgotten first, then those that dials have
    found, each time the one that was used longest ago. Never forgotten are peers that the caller has named (``add``,
    ``via``), and those to whom a network has a connection, or that stand in its ``protected``.

    ``relays`` are the peers through which any other may be reached, in order, at most 64; change the list as you like.
    ``peers`` and ``per_peer`` set lower limits (``ConfigError``: they are higher). Every method may be called from any
    thread, with or without an event loop.
    """

    def __init__(self, *, peers: int | None = None, per_peer: int | None = None) -> None:
        self._store = Store(peers, per_peer)
        self._file: BookFile | None = None

    @property
    def relays(self) -> list[PeerId]:
        """Through whom any peer may be reached."""
        return self._store.relays

    @relays.setter
    def relays(self, relays: Iterable[PeerId]) -> None:
        if isinstance(relays, PeerId | str | bytes):
            raise ConfigError("relays is one peer: take a list", where="relays")
        self._store.relays = list(relays)
        _check_peers(*self._store.relays)

    @staticmethod
    def load(path: Path | str, *, autosave: bool = True) -> "AddressBook":
        """The book in the file at ``path``; an empty one if there is none.

        With ``autosave`` a network that uses the book saves it when it closes, if it has changed. ``ConfigError``: the
        file cannot be read or understood; ``where`` names the file and the place in it, and it stays as it is.
        """
        book = AddressBook()
        book._file = BookFile(files.located(path), autosave=autosave)
        content = book._file.read()
        if content is not None:
            book._store.take(content)
            book._file.saved = book._store.content()
        return book

    def save(self, path: Path | str | None = None) -> None:
        """Write the book to ``path``, or (None) to the file that it was loaded from, in one step.

        What peers have only told is not saved. ``ConfigError``: it cannot be written, or what is there is no address
        book; then the file is as it was.
        """
        file = self._file
        if path is not None and (file is None or files.located(path) != file.path):
            file = BookFile(files.located(path))
        if file is None:
            raise ConfigError("the book was loaded from no file: name one", where="path")
        file.write(self._store.content())

    def export(self) -> str:
        """The book as JSON, as it stands in a file."""
        return json_form.dumps(self._store.content()).decode()

    def import_(self, text: str) -> None:
        """Add what ``export``, or the Rust library, has written; addresses and relays come behind those known already.

        ``ConfigError``: it is no address book. ``LimitExceeded``: it does not fit. Then nothing changes.
        """
        check_kind("text", text, str, "take what export() gives")
        self._store.take(json_form.loads(text.encode(errors="surrogatepass"), "the text"))

    def add(self, peer: PeerId, address: Multiaddr | str) -> None:
        """``address`` is one of ``peer``'s; it is dialed after those that are known, and never forgotten.

        ``ConfigError``: no address, or one that ends in another peer's id. ``LimitExceeded``: there is no place that is
        not taken by something that the caller gave, too.
        """
        store, place = self._store, place_of(peer, address)
        with store.lock:
            entry = store.entry(peer)
            entry.pinned = True
            if entry.places.get(place, 0.0) >= FOUND:
                entry.places[place] = GIVEN
            elif not entry.keep(place, GIVEN, store.per_peer):
                raise full("per_peer", store.per_peer, peer)
            if not store.put(peer, entry):
                raise full("peers", store.maximum, peer)

    def remove(self, peer: PeerId, address: Multiaddr | str | None = None) -> None:
        """Forget one address of ``peer``, or (None) all; nothing happens if it is not known."""
        _check_peers(peer)
        with self._store.lock:
            entry = self._store.entry(peer)
            if address is None:
                entry.places, entry.unread = {}, ()
            elif isinstance(address, str) and address in entry.unread:
                entry.unread = tuple(text for text in entry.unread if text != address)
            else:
                entry.places.pop(place_of(peer, address), None)
            if not entry.places:
                entry.pinned = False
            self._store.put(peer, entry)

    def addresses(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        """The addresses of ``peer``: as ``via`` says, and those known in the order of their success. A dial ranks them.

        One at the peer itself is without ``/p2p/``; one through a relay is
        ``<relay's address>/p2p/<relay>/p2p-circuit/p2p/<peer>``.
        """
        entry = self._store.entry(peer)
        if not entry.places:
            _check_peers(peer)
        order = entry.order(peer, self._circuits(peer, self.relays if entry.relays is None else entry.relays))
        found = map(CheckedAddress, order)
        return tuple(with_peer(one, peer) if relays_of(one) else one for one in found)

    def peers(self) -> tuple[PeerId, ...]:
        """Every peer of whom an address is known."""
        return tuple(self._store.peers())

    def via(self, to: PeerId, relays: Sequence[PeerId] | None, *, exclusive: bool = False) -> None:
        """Set through which relays ``to`` may be reached. None: all of ``self.relays``, after the peer's addresses, as
        without this call; ``()``: none; others: these, before its addresses. ``exclusive``: through relays only.

        ``ConfigError``: nothing would be left, or more than 64 relays. ``LimitExceeded``: the book is full.
        """
        if isinstance(relays, PeerId | str | bytes):
            raise ConfigError("relays is one peer: take a list", where="relays")
        named = None if relays is None else tuple(dict.fromkeys(relays))
        _check_peers(to, *(named or ()))
        if exclusive and named == ():
            raise ConfigError("exclusive, and through no relay: nothing is left to dial", where="relays")
        if named is not None and len(named) > RELAYS:
            raise ConfigError(f"{len(named)} relays, at most {RELAYS}", where="relays")
        with self._store.lock:
            entry = self._store.entry(to)
            entry.relays, entry.exclusive = named, exclusive
            if not self._store.put(to, entry):
                raise full("peers", self._store.maximum, to)

    def _circuits(self, peer: PeerId, relays: Iterable[PeerId]) -> list[bytes]:
        """One address of ``peer`` through each relay of which an address is known; nobody is a relay to itself."""
        found: list[bytes] = []
        for relay in dict.fromkeys(relays):
            place = None if relay == peer else self._store.entry(relay).direct()
            if place is not None:
                found.append(bytes(through_relay(Multiaddr(place), relay)))
        return found


def _check_peers(*peers: object) -> None:
    for peer in peers:
        check_kind("peer", peer, PeerId, "take PeerId(text)")


class BookFile:
    """One file. ``saved`` is what it held when we last read or wrote it; ``autosave``: networks save changes."""

    def __init__(self, path: Path, *, autosave: bool = False) -> None:
        self.path = path
        self.autosave = autosave
        self.saved = Content()
        self._stamp: files.Stamp | None = None

    def read(self) -> Content | None:
        """What the file holds; None: there is no file. ``ConfigError``: it cannot be read or understood."""
        try:
            data, stamp = files.read(self.path, json_form.MAX_FILE, "address book")
        except FileNotFoundError:
            return None
        content = json_form.loads(data, str(self.path))
        self._stamp = stamp
        return content

    def write(self, content: Content) -> None:
        """Replace what the file holds. ``ConfigError``: it cannot be, or is no address book; it stays as it was."""
        data = json_form.dumps(content)
        if len(data) > json_form.MAX_FILE:
            what = f"{len(data)} bytes of addresses, at most {json_form.MAX_FILE}: remove some"
            raise ConfigError(f"{self.path}: {what}", where=str(self.path))
        if self._stamp is None or files.stamp(self.path) != self._stamp:
            try:
                self.read()
            except ConfigError as error:  # what somebody else has put there may be worth more than ours
                raise ConfigError(f"{error}; it is not overwritten: move it away", where=error.where) from None
        self._stamp = files.replace(self.path, data)
        self.saved = content


def store_of(book: AddressBook) -> Store:
    """What the swarm works with."""
    return book._store  # noqa: SLF001 - ours, and no part of what users see


def save_changes(book: AddressBook) -> str | None:
    """Save the book of a network that closes, if it came from a file and has changed; returns why that failed."""
    file, content = book._file, book._store.content()  # noqa: SLF001 - as above
    if file is None or not file.autosave or file.saved == content:
        return None
    try:
        file.write(content)
    except ConfigError as error:
        return str(error)
    return None
