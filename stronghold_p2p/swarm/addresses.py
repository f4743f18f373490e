"""Known addresses of peers, in the order in which they are dialed: last success first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from multiaddr import Multiaddr

from stronghold_p2p.identity import PeerId

PEERS = 10_000  # reliability 2.7, ADDRBOOK
PER_PEER = 64


class AddressBook:
    """Bounded: the peer that was used longest ago is forgotten first, and of a peer the last addresses."""

    def __init__(self, *, peers: int = PEERS, per_peer: int = PER_PEER) -> None:
        self._peers: OrderedDict[PeerId, list[Multiaddr]] = OrderedDict()
        self._maximum = peers
        self._per_peer = per_peer

    def add(self, peer: PeerId, addresses: Iterable[Multiaddr]) -> None:
        """Append what is not known yet."""
        known = self._touch(peer)
        for address in addresses:
            if address not in known and len(known) < self._per_peer:
                known.append(address)

    def worked(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial to this address succeeded: it comes first from now on."""
        known = self._touch(peer)
        if address in known:
            known.remove(address)
        known.insert(0, address)
        del known[self._per_peer :]

    def failed(self, peer: PeerId, address: Multiaddr) -> None:
        """A dial failed while another worked: it comes last from now on; one that is not known is not learned."""
        known = self._peers.get(peer, [])
        if address in known:
            known.remove(address)
            known.append(address)

    def remove(self, peer: PeerId, address: Multiaddr | None = None) -> None:
        """Forget one address, or (None) the peer."""
        if address is None:
            self._peers.pop(peer, None)
        elif address in (known := self._peers.get(peer, [])):
            known.remove(address)

    def addresses(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        """In dial order."""
        return tuple(self._peers.get(peer, ()))

    def peers(self) -> tuple[PeerId, ...]:
        return tuple(self._peers)

    def _touch(self, peer: PeerId) -> list[Multiaddr]:
        known = self._peers.setdefault(peer, [])
        self._peers.move_to_end(peer)
        while len(self._peers) > self._maximum:
            self._peers.popitem(last=False)
        return known
