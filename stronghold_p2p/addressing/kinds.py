"""What kind of address it is: whom it reaches, by which transport, through which relays.

Every function takes an address that ``parse`` has made, or one whose bytes it would take (``DecodeError`` otherwise).
"""

import ipaddress
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import CIRCUIT, IP4, IP6, IP6ZONE, NAMES, P2P, TCP
from stronghold_p2p.addressing.parse import IP_TCP, CheckedAddress, Part, beginning, parse, walk, with_peer
from stronghold_p2p.addressing.reach import Reach, reach_of_ip
from stronghold_p2p.addressing.values import Ip
from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.peer_id import PeerId

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # the well-known prefix (RFC 6052, 2.1)
# For multicast DNS (RFC 6762, 3), for homes (RFC 8375, 3), and what ICANN keeps free for networks of one's own.
_OF_A_SITE: Final = (".local", ".home.arpa", ".internal")
_CIRCUIT_CODE: Final = varint.encode(CIRCUIT.code)


def tcp_address(address: Multiaddr) -> tuple[str, int, PeerId | None] | None:
    """Host, port and peer of ``<ip>/tcp/<port>[/p2p/<peer>]``; ``None`` for every other shape, names included.

    The host is an IP address, with a zone behind ``%`` if the address has one.
    """
    parts = walk(bytes(address))
    peer = PeerId(parts.pop().value) if parts[-1].protocol is P2P else None
    zone = "%" + parts.pop(0).value.decode() if parts and parts[0].protocol is IP6ZONE else ""
    if len(parts) != 2 or parts[1].protocol is not TCP:
        return None
    ip = _ip_of(parts[0])
    if ip is None or (zone and ip.version == 4):
        return None
    return f"{ip}{zone}", int.from_bytes(parts[1].value, "big"), peer


def from_socket(sockaddr: tuple[Any, ...]) -> Multiaddr:
    """The address of a socket, as ``getsockname`` and ``getpeername`` tell it for IPv4 and IPv6.

    An IPv4 address that a dual-stack socket shows in IPv6 form becomes an ``ip4`` again.
    ``DecodeError`` for other families.
    """
    try:
        host, _, zone = str(sockaddr[0]).partition("%")
        ip, port = ipaddress.ip_address(host), int(sockaddr[1]).to_bytes(2, "big")
    except (ValueError, IndexError, OverflowError):
        raise DecodeError(f"{sockaddr!r} is no IP socket address") from None
    ip = unmapped(ip)
    data = IP4.prefixed(ip.packed) if ip.version == 4 else IP6.prefixed(ip.packed)
    return parse((IP6ZONE.prefixed(zone.encode()) if zone else b"") + data + TCP.prefixed(port))


def relays_of(address: Multiaddr) -> tuple[PeerId | None, ...]:
    """The relays that a relayed address leads through, in order, ``None`` for one without a name; of others none.

    Each is named before its ``/p2p-circuit`` (addressing/README.md, "p2p-circuit Relay Addresses").
    """
    data = bytes(address)
    if _CIRCUIT_CODE not in data:
        return ()
    found: list[PeerId | None] = []
    before: PeerId | None = None
    for part in walk(data):
        if part.protocol is CIRCUIT:
            found.append(before)
        before = PeerId(part.value) if part.protocol is P2P else None
    return tuple(found)


def through_relay(address: Multiaddr, relay: PeerId) -> Multiaddr:
    """``address`` is the relay's own; this is where peers behind it are: ``<address>/p2p/<relay>/p2p-circuit``.

    The relay is named once, also where ``address`` ends in its name; ``ConfigError`` if another peer stands there.
    """
    return CheckedAddress(bytes(with_peer(address, relay)) + CIRCUIT.prefixed(b""))


def reach_of(address: Multiaddr) -> Reach:
    """From where it can be reached; of a relayed address, from where the relay can be."""
    plain = IP_TCP.fullmatch(bytes(address))
    if plain is not None:
        return reach_of_ip(plain[1] or _innermost(ipaddress.IPv6Address(plain[2])).packed)
    parts = beginning(bytes(address))
    if (ip := _host_of(parts)) is not None:
        return reach_of_ip(ip.packed)
    return reach_of_name(parts[0].value.decode()) if parts[0].protocol in NAMES else Reach.SITE


def reach_of_name(name: str) -> Reach:
    """As far as a name tells before it is looked up. The last label of a public one is a word (RFC 3696, 2): behind a
    number some systems look for an IPv4 address in one of its old forms.
    """
    name = name.lower().removesuffix(".")
    if ip4 := _ip4(name):
        return reach_of_ip(ip4.packed)
    if name == "localhost" or name.endswith(".localhost"):
        return Reach.MACHINE
    last = name.rpartition(".")[2]
    return Reach.SITE if last == name or last[0].isdigit() or name.endswith(_OF_A_SITE) else Reach.WORLD


def _ip4(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text) if text[-1:].isdigit() else None
    except ValueError:
        return None


def is_unspecified(address: Multiaddr) -> bool:
    """Stands for all addresses of this machine: ``0.0.0.0`` or ``::``."""
    return bool((ip := _host_of(beginning(bytes(address)))) and ip.is_unspecified)


def _host_of(parts: list[Part]) -> Ip | None:
    """The innermost IP address at the beginning; of a relayed address it is the relay's."""
    ip = _ip_of(parts[0]) or (_ip_of(parts[1]) if len(parts) > 1 and parts[0].protocol is IP6ZONE else None)
    return _innermost(ip) if ip else None


def _innermost(ip: Ip) -> Ip:
    return inner_ip4(ip) or unmapped(ip)


def _ip_of(part: Part) -> Ip | None:
    if part.protocol is IP4:
        return ipaddress.IPv4Address(part.value)
    return ipaddress.IPv6Address(part.value) if part.protocol is IP6 else None


def inner_ip4(ip: Ip) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to through somebody who translates or tunnels; None for all others.

    By NAT64 with the well-known prefix (RFC 6052), where any other prefix tells nothing, and by 6to4 (RFC 3056).
    """
    if isinstance(ip, ipaddress.IPv6Address):
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else ip.sixtofour
    return None


def unmapped(ip: Ip) -> Ip:
    """The IPv4 address inside a mapped one (RFC 4291, 2.5.5.2); any other as it is."""
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
