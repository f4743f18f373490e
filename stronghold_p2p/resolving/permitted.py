"""Which IP addresses a name may lead to: every result passes here, after it was looked up (hostile rows 10 and 11).

A name is only a name until it is resolved. Whoever owns it may let it lead to the services of our machine and of our
private network, today or from the second look-up on ("DNS rebinding"). So what a peer has told leads to public
addresses only. What the application named itself may be its company's: that leads into private networks as well.
"""

import ipaddress
from enum import Enum
from typing import Final

from stronghold_p2p.addressing.kinds import inner_ip4, unmapped
from stronghold_p2p.addressing.reach import Reach, reach_of_ip
from stronghold_p2p.addressing.values import Ip


class Source(Enum):
    """Who has named an address, and what it may lead to besides the public ones."""

    GIVEN = frozenset({Reach.SITE, Reach.MACHINE})
    """The application: also to private networks, and to this machine."""
    RECORD = frozenset({Reach.SITE})
    """A TXT record of a name that the application gave, or a name in one of its own domains: to private networks."""
    TOLD = frozenset[Reach]()
    """A peer."""
    TOLD_HERE = frozenset({Reach.MACHINE})
    """A peer, by the name ``localhost``: who may tell that is judged when it is learned, as of 127.0.0.1."""


# RFC 1918; RFC 6598 (carriers, and overlays such as Tailscale); RFC 2544 (what proxies give instead of the addresses of
# all names); RFC 4193. What else is special is nobody's address: documentation, reserved, broadcast.
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7")
)


def why_refused(packed: bytes, source: Source) -> str | None:
    """What is wrong with an IP address as the result of a name that ``source`` gave; None: nothing."""
    ip = ipaddress.ip_address(packed)
    inside = inner_ip4(ip) or unmapped(ip)
    reach = reach_of_ip(inside.packed)
    if reach is Reach.WORLD:
        return None
    if inside is not ip:
        return f"{ip} hides {inside}, which is not public"
    if reach is Reach.MACHINE:
        return None if Reach.MACHINE in source.value else f"{ip} is this machine"
    if reach is Reach.SITE and _is_private(ip):
        return None if Reach.SITE in source.value else f"{ip} is in a private network"
    return f"{ip} is no address of one machine" if reach is not Reach.LINK else f"{ip} is one in each link"


def _is_private(ip: Ip) -> bool:
    return any(ip in network for network in _PRIVATE if network.version == ip.version)
