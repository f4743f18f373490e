"""In which order the addresses of one peer are dialed ("Happy Eyeballs", RFC 8305, 4 and 5).

Nothing here knows whether an address works: it only says which is worth a try before which, and the others begin
soon, too. IP versions alternate, as an IPv6 that leads nowhere would otherwise hold up IPv4 once for each address
("First Address Family Count" of 1).
"""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import IP4, IP6
from stronghold_p2p.addressing.kinds import reach_of
from stronghold_p2p.addressing.parse import IP_TCP, walk
from stronghold_p2p.addressing.parts import parts_of
from stronghold_p2p.addressing.reach import Reach

Near = Callable[[bytes], bool]
"""Whether a private IP address, by its bytes, is one of the network that we are in ourselves."""

# Where the peer is: in our network it answers soonest, and nobody is in between. Private addresses of other networks
# mean nobody here, or somebody else.
_NEAR, _WORLD, _ELSEWHERE = range(3)
_FAMILIES: Final = {16: 0, 4: 1, 0: 2}  # by the bytes of an IP address; a name has none

# What is spoken there: WebSocket takes a round trip more than TCP, and TLS below it one more.
_CARRIERS: Final = {"tcp": 0, "ws": 1, "wss": 2}

# Private networks, and how many bits at the front two addresses have in common that are in the same one: "a single
# class A network number, [...] contiguous class B [...] class C network numbers" (RFC 1918, 3), the space that carriers
# and overlays share (RFC 6598), one link (RFC 3927), and the 48 bits of a site's own prefix (RFC 4193, 3.1).
_NETWORKS: Final = tuple(
    (ipaddress.ip_network(network), common)
    for network, common in (
        *(("10.0.0.0/8", 8), ("172.16.0.0/12", 16), ("192.168.0.0/16", 24), ("100.64.0.0/10", 10)),
        *(("169.254.0.0/16", 16), ("fc00::/7", 48)),
    )
)


class Rank(NamedTuple):
    """The lower, the earlier. ``family`` is 0 for IPv6, 1 for IPv4, 2 for a name that somebody else looks up."""

    preference: int
    relayed: bool
    place: int
    carrier: int
    family: int


def rank(address: Multiaddr, near: Near, preference: int = 0) -> Rank:
    """``preference`` is what is known besides the form: the lower ones come before all others."""
    plain = IP_TCP.fullmatch(bytes(address))
    if plain is not None:  # as nearly all are
        packed, carrier, relayed = plain[1] or plain[2], _CARRIERS["tcp"], False
    else:
        parts = parts_of(address)
        packed = next((part.value for part in walk(bytes(address))[:2] if part.protocol in (IP4, IP6)), b"")
        carrier, relayed = _CARRIERS.get(parts.transport, len(_CARRIERS)), bool(parts.relays)
    return Rank(preference, relayed, _place(address, packed, near), carrier, _FAMILIES[len(packed)])


def first_of(ranks: Sequence[Rank], before: Rank | None) -> int:
    """Which of ``ranks`` is dialed next, after one of rank ``before`` has been; of equal ones the first."""
    best = min(ranks)
    if before is not None and before[:-1] == best[:-1] and before.family == best.family:
        others = [one for one in ranks if one[:-1] == best[:-1] and one.family != best.family]
        best = min(others, default=best)
    return ranks.index(best)


def in_one_network(ours: bytes, theirs: bytes) -> bool:
    """Whether two IP addresses, by their bytes, are private ones of the same network, as far as their form tells."""
    one, other = ipaddress.ip_address(ours), ipaddress.ip_address(theirs)
    if one.version != other.version:
        return False
    size = one.max_prefixlen
    return any(
        one in network and other in network and int(one) >> (size - common) == int(other) >> (size - common)
        for network, common in _NETWORKS
        if network.version == one.version
    )


def _place(address: Multiaddr, packed: bytes, near: Near) -> int:
    reach = reach_of(address)
    if reach is Reach.WORLD:
        return _WORLD
    if reach is Reach.MACHINE or (reach is Reach.LINK and len(packed) == 16):  # its zone says where
        return _NEAR
    return _NEAR if packed and near(packed) else _ELSEWHERE
