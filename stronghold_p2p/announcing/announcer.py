"""What others are told of where we are: where we listen, what the caller says, and what enough peers have observed."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import inner_ip4, reach_of, relays_of
from stronghold_p2p.addressing.parse import CheckedAddress
from stronghold_p2p.addressing.parts import canonical
from stronghold_p2p.addressing.reach import Reach, reach_of_ip
from stronghold_p2p.announcing.hidden import Hidden
from stronghold_p2p.announcing.observations import AGREED, Observation, Observations, network_of
from stronghold_p2p.identity import PeerId

# An IP address and a port of TCP or UDP, which is all that an address translator sees (go's "thin waist").
_WAIST: Final = re.compile(rb"(\x04(.{4})|\x29(.{16}))(\x06|\x91\x02)(..)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ObservedAddress:
    """Where peers see us. ``networks``: how many different networks they are in; from ``agreed`` on it is believed.

    ``address`` is ``/ip4/<ip>`` or ``/ip6/<ip>`` where only that means something, as the port is one that we dialed
    from: then it is never announced.
    """

    address: Multiaddr
    networks: int
    agreed: bool


class Announcer:
    """``announce``: what the caller wants to be told instead of anything else. ``hidden``: what nobody is told."""

    def __init__(self, announce: Iterable[Multiaddr] | None = None, hidden: Hidden | None = None) -> None:
        self.announce = None if announce is None else tuple(announce)
        self.observations = Observations()
        self._hidden = hidden or Hidden()

    def addresses(self, bound: Iterable[Multiaddr]) -> tuple[Multiaddr, ...]:
        """What peers are told: each once, and those where we listen first; ``bound`` is where we do."""
        told = self.announce
        if told is None:
            bound = tuple(bound)
            told = (*bound, *self.outside(bound))
        return tuple(address for address in dict.fromkeys(told) if not self._hidden(address))

    def outside(self, bound: Iterable[Multiaddr]) -> tuple[Multiaddr, ...]:
        """Where peers see our listeners, and enough of them agree: what is spoken there stays the same.

        Nothing is told of a listener that is seen where it is.
        """
        found: dict[Multiaddr, None] = {}
        for address in bound:
            data = bytes(address)
            if (waist := _WAIST.match(data)) is not None:
                for seen in self.observations.agreed(waist[0]):
                    found[CheckedAddress(seen + data[waist.end() :])] = None
        return tuple(one for one in found if one not in bound)

    def observed(self) -> tuple[ObservedAddress, ...]:
        """All that is observed, most agreed first."""
        counts = self.observations.counts()
        return tuple(ObservedAddress(CheckedAddress(seen), count, count >= AGREED) for seen, count in counts.items())

    def observe(
        self, peer: PeerId, ends: tuple[Multiaddr, Multiaddr], told: Multiaddr, bound: Iterable[Multiaddr]
    ) -> Observation | None:
        """``peer`` tells that it sees our end of an open connection as ``told``; ``ends`` are ours and the peer's.

        None: that says nothing of where we are, for others. So it is for relayed connections, for addresses of another
        kind than our end's (go), for what leads through a translator of the peer (NAT64, as in go), and for what is
        nearer than the peer itself: somebody in the Internet cannot see us at a private address.
        """
        local, remote = ends
        ours, theirs = _WAIST.match(bytes(local)), _WAIST.match(canonical(told))
        there = _WAIST.match(canonical(remote))
        if ours is None or theirs is None or there is None or relays_of(remote) or relays_of(told):
            return None
        if (ours[4], len(ours[1])) != (theirs[4], len(theirs[1])) or not _means_something(theirs, reach_of(remote)):
            return None
        listens = any(bytes(address).startswith(ours[0]) for address in bound)
        end, seen = (ours[0], theirs[0]) if listens else (b"", theirs[1])
        return self.observations.observe(peer, network_of(there[2] or there[3]), end, seen)


def _means_something(seen: re.Match[bytes], observer: Reach) -> bool:
    packed = seen[2] or seen[3]
    if seen[5] == b"\0\0" or inner_ip4(ipaddress.ip_address(packed)) is not None:
        return False
    reach = reach_of_ip(packed)
    return reach is Reach.WORLD or (reach is Reach.SITE and observer is not Reach.WORLD)
