"""IP addresses and networks as the firewall counts them: one name for one place.

An IPv4 address that arrives mapped into IPv6 (``::ffff:a.b.c.d``, RFC 4291 section 2.5.5.2) is that IPv4
address, so that no rule and no counter can be passed by writing it the other way.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import unmapped
from stronghold_p2p.errors import ConfigError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Place: TypeAlias = tuple[int, int, int]
"""A network as the key of an index: IP version, length of the prefix, and the prefix as a number."""

ANYWHERE: Final[Place] = (0, 0, 0)

# Codes of the multicodec table, as a multiaddr's components begin.
_IP4, _IP6, _IP6ZONE = 4, 41, 42
_P2P_CIRCUIT = b"\xa2\x02"
_MAPPED_BITS = 96


def parse_subnet(text: str) -> Network:
    """The network that ``text`` names; a bare address is a network of one. ``ConfigError``: it names none."""
    try:
        if "%" in text:
            raise ValueError("a zone belongs to one machine")
        network = ip_network(text)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"subnet {text!r}: {error}") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def parse_host(text: str) -> Address | None:
    """The address in a socket's host text, without its zone; None if it is no IP address."""
    try:
        return unmapped(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def host_of(address: Multiaddr) -> Address | None:
    """The IP address of the machine at the other end; None if there is none or it is not known.

    A relayed address (``.../p2p-circuit``) begins with the relay's IP address, which says nothing about the
    peer behind it: no rule about subnets speaks of it.
    """
    data = bytes(address.to_bytes())
    # The two bytes may also stand inside a peer id: only the text tells.
    if _P2P_CIRCUIT in data and "/p2p-circuit" in str(address):
        return None
    if data[:1] == bytes((_IP6ZONE,)):
        data = data[2 + data[1] :]
    if data[:1] == bytes((_IP4,)):
        return IPv4Address(data[1:5])
    return unmapped(IPv6Address(data[1:17])) if data[:1] == bytes((_IP6,)) else None


def place_of(network: Network) -> Place:
    """The key of ``network``."""
    length = network.prefixlen
    return network.version, length, int(network.network_address) >> (network.max_prefixlen - length)
