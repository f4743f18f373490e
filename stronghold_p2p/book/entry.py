"""The entry of one peer: its addresses in dial order, and through which relays it may be reached.

An address is kept as a ``place``, its bytes without ``/p2p/`` at the end: an object for each would take four times the
memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, nextafter
from sys import float_info
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import relays_of
from stronghold_p2p.addressing.parse import P2P_CODE, parse, shown, split_peer
from stronghold_p2p.arguments import check_kind
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.identity import Edition, PeerId

LEARNED: Final = 3_600.0  # seconds; as go's ``AddressTTL``

# The time of an address that the caller gave, and of one at which a dial found the peer: they never expire. What a peer
# only tells expires after ``LEARNED``.
GIVEN: Final = inf
FOUND: Final = float_info.max
TOLD: Final = nextafter(FOUND, 0.0)
"""No address that a peer only tells counts longer than this."""


@dataclass(slots=True, eq=False)
class BookEntry:
    """The addresses of one peer in an address book.

    ``places`` maps each address to the time until which it counts; those that are ``GIVEN`` or ``FOUND`` stay.
    ``unread`` are addresses of kinds that we do not know, as a file had them: kept for it, and never dialed.
    ``pinned``: the caller named this peer, so the book never forgets it by itself.
    ``relays`` and ``exclusive`` are what ``AddressBook.via`` said. ``edition`` is that of the newest signed record,
    which holds until ``record_until``; no older one counts after that, either.
    ``last`` is the place at which a dial has found the peer last, if that is known.
    """

    places: dict[bytes, float] = field(default_factory=dict)
    pinned: bool = False
    relays: tuple[PeerId, ...] | None = None
    exclusive: bool = False
    edition: Edition | None = None
    record_until: float = -inf
    unread: tuple[str, ...] = ()
    last: bytes = b""

    @property
    def bound(self) -> bool:
        """The caller has said something about this peer."""
        return self.pinned or self.exclusive or self.relays is not None

    @property
    def stays(self) -> bool:
        """Something lasting is known of this peer."""
        return self.bound or bool(self.unread) or any(until >= FOUND for until in self.places.values())

    @property
    def lasting(self) -> tuple[bytes, ...]:
        return tuple(place for place, until in self.places.items() if until >= FOUND)

    def drop(self, moment: float) -> None:
        """Forget the addresses that count until ``moment`` at most: now, or ``TOLD`` for all that was only told."""
        self.places = {place: until for place, until in self.places.items() if until > moment}

    def keep(self, place: bytes, until: float, maximum: int, *, first: bool = False) -> bool:
        """Let ``place`` stay from now on (``until`` is ``GIVEN`` or ``FOUND``), as the first or the last address.

        Where there are ``maximum`` others, one gives way: the last one that was told, or else the last one that was
        found. False: all of them were given.
        """
        others = {other: end for other, end in self.places.items() if other != place}
        if len(others) >= maximum:
            told = [other for other, end in others.items() if end <= TOLD]
            found = [other for other, end in others.items() if end == FOUND]
            if not told and not found:
                return False
            del others[(told or found)[-1]]
        until = max(until, self.places.get(place, until))
        self.places = {place: until, **others} if first else {**others, place: until}
        return True

    def tell(
        self,
        places: Iterable[bytes],
        now: float,
        maximum: int,
        edition: Edition | None,
        *,
        besides: bool = False,
        seconds: float = LEARNED,
    ) -> None:
        """Take the addresses that the peer tells of itself; ``edition`` is that of their record, if it is signed.

        While a signed record holds, addresses that are not signed change nothing; or, ``besides``, they come behind
        its own, and only for as long as no newer one is told. A newer one (RFC 0003, "Peer Record":
        a higher ``seq``) replaces what was told before, the same holds longer, and no other is ever taken.
        """
        until = now + seconds
        signed = self.record_until > now
        if (signed and not besides) if edition is None else not edition.follows(self.edition):
            return
        told = dict.fromkeys(places, until)
        if edition is not None:
            if not signed or edition != self.edition:
                self.places = {place: end for place, end in self.places.items() if end > TOLD or place in told}
            self.edition, self.record_until = edition, until
        for place in told:
            if place in self.places:
                self.places[place] = max(self.places[place], until)
            elif len(self.places) < maximum:
                self.places[place] = until

    def failed(self, place: bytes) -> None:
        if place in self.places:
            self.places[place] = self.places.pop(place)

    def order(self, peer: PeerId, circuits: Iterable[bytes]) -> tuple[bytes, ...]:
        """The addresses to dial; ``circuits`` are those through the relays that may be used, in their order.

        Relays that were named for this peer come first, then its own addresses, then the relays for all peers. An
        address leads through no relay that was not named, and never through the peer itself.
        """
        hops = {place: relays_of(Multiaddr(place)) for place in self.places}
        direct = [] if self.exclusive else [place for place, through in hops.items() if not through]
        relayed = [place for place, through in hops.items() if through and self._may_use(peer, through)]
        if self.relays is not None:
            order = [*circuits, *relayed, *direct]
        else:
            wanted = {*direct, *relayed}
            order = [*(place for place in self.places if place in wanted), *circuits]
        return tuple(dict.fromkeys(order))

    def _may_use(self, peer: PeerId, through: tuple[PeerId | None, ...]) -> bool:
        return peer not in through and (self.relays is None or set(through) <= set(self.relays))

    def direct(self) -> bytes | None:
        return next((place for place in self.places if not relays_of(Multiaddr(place))), None)


def checked(peer: PeerId, address: Multiaddr) -> bytes | None:
    """The place of an address that is parsed already; None if it names another peer. ``place_of`` also parses."""
    place = bytes(address)
    if P2P_CODE not in place:
        return place or None
    rest, named = split_peer(address)
    return bytes(rest) or None if named in (None, peer) else None


def place_of(peer: PeerId, address: Multiaddr | str) -> bytes:
    """The place of ``address``; ``ConfigError`` if that is no address, names another peer, or names only a peer."""
    check_kind("peer", peer, PeerId, "take PeerId(text)")
    check_kind("address", address, (str, Multiaddr), "take a text like '/ip4/192.0.2.7/tcp/4001', or a Multiaddr")
    try:
        place = checked(peer, parse(address))
    except DecodeError as error:
        raise ConfigError(f"{shown(address)}: {error}", where=shown(address)) from None
    if place is None:
        raise ConfigError(f"{address} names another peer than {peer}, or no place", where=str(address))
    return place
