"""From where an IP address can be reached: one look into a table.

``ipaddress`` compares an address with some fifteen networks, one after the other, and a peer may name 128 addresses at
once (hostile row 120). So the numbers are cut at the borders of the special networks, and each piece is judged once.
"""

import ipaddress
from bisect import bisect_right
from enum import Enum
from functools import cache
from typing import Final

from stronghold_p2p.addressing.values import Ip

# The IANA registries of special-purpose addresses (RFC 6890), and IPv6's global unicast space (RFC 4291, 2.4). One
# network more does no harm.
_SPECIAL: Final = (
    "0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29"
    " 192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/31 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24"
    " 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4"
    " 240.0.0.0/4 255.255.255.255/32"
    " ::/128 ::1/128 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2000::/3 2001::/23 2001::/32"
    " 2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28"
    " 2001:30::/28 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8"
)


class Reach(Enum):
    """From where an address can be reached, as far as its form tells."""

    NOWHERE = "it stands for all addresses of a machine, or for a group"
    MACHINE = "only from the same machine: loopback, or a name that ends in localhost"
    LINK = "only by neighbours on the same link; in a cloud also the service that knows a machine's secrets"
    SITE = "a private IP address or a name of a private network, or neither"
    WORLD = "from anywhere: a global unicast IP address, or a public name"


def reach_of_ip(packed: bytes) -> Reach:
    """Of an IP address by its 4 or 16 bytes, in which there is no other address (``kinds.unmapped``)."""
    borders, found = _table(len(packed))
    return found[bisect_right(borders, packed) - 1]


@cache
def _table(size: int) -> tuple[list[bytes], list[Reach]]:
    """The first address of each piece, and what the whole piece is."""
    networks = [one for one in map(ipaddress.ip_network, _SPECIAL.split()) if one.max_prefixlen == 8 * size]
    numbers = {0} | {int(one[0]) for one in networks} | {int(one[-1]) + 1 for one in networks}
    borders = [number.to_bytes(size, "big") for number in sorted(numbers) if number < 1 << 8 * size]
    return borders, [_judged(ipaddress.ip_address(border)) for border in borders]


def _judged(ip: Ip) -> Reach:
    if ip.is_unspecified or ip.is_multicast:
        return Reach.NOWHERE
    if ip.is_loopback:
        return Reach.MACHINE
    if ip.is_link_local:
        return Reach.LINK
    return Reach.WORLD if ip.is_global else Reach.SITE
