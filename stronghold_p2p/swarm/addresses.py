"""Known addresses of peers, in the order in which they are dialed: last success first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from math import inf
from typing import Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p import multiaddrs
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.identity import PeerId

# reliability 2.7, ADDRBOOK
PEERS: Final = 10_000
PER_PEER: Final = 64
LEARNED: Final = 3_600.0  # seconds

# An address and until when it is kept, in dial order; what the caller gave or a dial has proved stays.
_Addresses: TypeAlias = dict[Multiaddr, float]


class AddressBook:
    """Where peers can be reached: at most 64 addresses of each of 10,000 peers.

    An address that was added here, or at which a dial found the peer, stays until it is removed. One that peers
    told is forgotten after an hour, and whenever its place is needed. Of the peers, those of whom only such
    addresses are known are forgotten first, the one that was used longest ago before the others.
    """

    def __init__(
        self, *, peers: int = PEERS, per_peer: int = PER_PEER, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept: OrderedDict[PeerId, _Addresses] = OrderedDict()
        self._learned: OrderedDict[PeerId, _Addresses] = OrderedDict()
        self._maximum = peers
        self._per_peer = per_peer
        self._clock = clock

    # ------------------------------------------------------------------ for the application

    def add(self, peer: PeerId, address: Multiaddr | str) -> None:
        """``address`` is one of ``peer``'s; it is dialed after those that are known.

        ``ConfigError``: no address, or one that ends in another peer's id.
        """
        place = _place(peer, address)
        known = self._use(peer, keep=True)
        if known.get(place) != inf:
            known.pop(place, None)
            known[place] = inf
            self._shorten(known)

    def remove(self, peer: PeerId, address: Multiaddr | str | None = None) -> None:
        """Forget one address of ``peer``, or (None) all; nothing happens if it is not known."""
        known = self._known(peer)
        if address is not None:
            known.pop(_place(peer, address), None)
        if address is None or not known:
            self._kept.pop(peer, None)
            self._learned.pop(peer, None)

    def addresses(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        """The known addresses of ``peer`` in dial order, without ``/p2p/``."""
        return tuple(self._known(peer))

    def peers(self) -> tuple[PeerId, ...]:
        """Every peer of whom an address is known."""
        return tuple(peer for peer in (*self._kept, *self._learned) if self._known(peer))

    # ------------------------------------------------------------------ for the swarm

    def learn(self, peer: PeerId, addresses: Iterable[Multiaddr]) -> None:
        """``peer`` says that it can be reached there: worth a try for an hour, in the places that are free."""
        known = self._use(peer)
        until = self._clock() + LEARNED
        for address in addresses:
            if address in known:
                known[address] = max(known[address], until)
            elif len(known) < self._per_peer:
                known[address] = until

    def worked(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial to this address found the peer: it stays, and comes first from now on."""
        known = self._use(peer, keep=True)
        others = [(other, until) for other, until in known.items() if other != address]
        known.clear()
        known.update([(address, inf), *others])
        self._shorten(known)

    def failed(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial failed while another worked: it comes last from now on; one that is not known is not learned."""
        known = self._known(peer)
        if address in known:
            known[address] = known.pop(address)

    # ------------------------------------------------------------------ inside

    def _known(self, peer: PeerId) -> _Addresses:
        """What is still known; changes to it are kept."""
        known = self._kept.get(peer) or self._learned.get(peer, {})
        now = self._clock()
        for address in [address for address, until in known.items() if until <= now]:
            del known[address]
        return known

    def _use(self, peer: PeerId, *, keep: bool = False) -> _Addresses:
        known = self._known(peer)
        if peer in self._kept or keep:
            self._learned.pop(peer, None)
            self._kept[peer] = known
            self._kept.move_to_end(peer)
        else:
            self._learned[peer] = known
            self._learned.move_to_end(peer)
        while len(self._kept) + len(self._learned) > self._maximum:
            (self._learned or self._kept).popitem(last=False)
        return known

    def _shorten(self, known: _Addresses) -> None:
        """Make room: what was only learned goes first, the last of it before the others."""
        while len(known) > self._per_peer:
            learned = [address for address, until in known.items() if until < inf]
            del known[(learned or list(known))[-1]]


def _place(peer: PeerId, address: Multiaddr | str) -> Multiaddr:
    try:
        place, named = multiaddrs.split_peer(multiaddrs.parse(address))
    except DecodeError as error:
        raise ConfigError(f"{address}: {error}", where=str(address)) from None
    if named not in (None, peer):
        raise ConfigError(f"{address} names another peer than {peer}", where=str(address))
    if not bytes(place):
        raise ConfigError(f"{address} names a peer and no place", where=str(address))
    return place
