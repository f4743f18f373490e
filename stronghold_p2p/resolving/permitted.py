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


class Source(Enum):
    """Who has named an address, and what it may lead to besides the public ones."""

    GIVEN = frozenset({Reach.SITE, Reach.MACHINE})
    """The application: also to private networks, and to this machine."""
    OF_SITE = frozenset({Reach.SITE})
    """A TXT record of a name that the application gave; or whoever it was, of a name in a domain of our own, or of one
    that shows that it is in a private network. To private networks.
    """
    TOLD = frozenset[Reach]()
    """A peer."""
    OF_MACHINE = frozenset({Reach.MACHINE})
    """A peer, by the name ``localhost``: to this machine."""


def source_of(shown: Reach, *, given: bool) -> Source:
    """``given``: by the application; else by a peer. ``shown``: what the address itself shows, before it is resolved;
    whether a peer may tell that, from where it is, has been judged when it was learned.
    """
    if given:
        return Source.GIVEN
    return {Reach.SITE: Source.OF_SITE, Reach.MACHINE: Source.OF_MACHINE}.get(shown, Source.TOLD)


_PERMIT: Final = (
    "whom others name is only sought in public; give the address yourself, or its domain in private_domains"
)

# RFC 1918; RFC 6598 (carriers, and overlays such as Tailscale); RFC 2544 (what proxies give instead of the addresses of
# all names); RFC 4193; RFC 8215 (a translator of the network's own, behind which anything may be). What else is special
# is nobody's address: documentation, reserved, broadcast.
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "198.18.0.0/15",
        "fc00::/7",
        "64:ff9b:1::/48",
    )
)


def why_refused(packed: bytes, source: Source) -> str | None:
    """What is wrong with an IP address as the result of a name that ``source`` gave; None: nothing."""
    ip = ipaddress.ip_address(packed)
    inside = inner_ip4(ip) or unmapped(ip)
    reach = Reach.SITE if (private := any(ip in network for network in _PRIVATE)) else reach_of_ip(inside.packed)
    if reach is Reach.WORLD:
        return None
    if inside is not ip:
        return f"{ip}, which stands for {inside}, and that is not public"
    if reach is Reach.MACHINE:
        return None if reach in source.value else f"{ip}, which is this machine: {_PERMIT}"
    if private:
        return None if reach in source.value else f"{ip}, which is in a private network: {_PERMIT}"
    return f"{ip}, which is no machine's" if reach is not Reach.LINK else f"{ip}, which is another one in each link"
