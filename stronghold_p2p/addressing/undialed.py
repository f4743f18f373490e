"""Why an address cannot be dialed, in words for whoever gave it: looked at when that is so, or when a dial failed."""

import ipaddress
from collections.abc import Callable
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import (
    CIRCUIT,
    HTTP_PATH,
    IP4,
    IP6,
    IP6ZONE,
    NAMES,
    P2P,
    SNI,
    TCP,
    TLS,
    UNIX,
    WS,
    WSS,
)
from stronghold_p2p.addressing.parse import Part, walk
from stronghold_p2p.addressing.values import Ip

RELAYED: Final = "relays are not supported yet: give a direct address"
UNKNOWN: Final = "nobody here knows its kind: give one like /ip4/192.0.2.7/tcp/4001"

# What may stand behind an IP address: TCP, WebSocket, and secure WebSocket in its two forms.
_SPOKEN: Final = ([TCP], [TCP, WS], [TCP, WSS], [TCP, TLS, WS])


def why_not(address: Multiaddr) -> str | None:
    """What keeps anybody from dialing ``address``, or from listening there, and what to give instead; None: nothing
    that it tells. A name is looked up by whoever dials, before this is asked.
    """
    parts = [part for part in walk(bytes(address)) if part.protocol is not P2P]
    return next(filter(None, (reason(parts) for reason in _REASONS)), None)


def _relay(parts: list[Part]) -> str | None:
    return RELAYED if any(part.protocol is CIRCUIT for part in parts) else None


def _name(parts: list[Part]) -> str | None:
    if not parts or parts[0].protocol not in NAMES:
        return None
    return f"it has a name: give the IP address of {parts[0].value.decode()}"


def _no_ip(parts: list[Part]) -> str | None:
    if parts and parts[0].protocol is UNIX:
        return "sockets in the file system are not supported: give /ip4/127.0.0.1/tcp/<port>"
    ip, zone = _ip_of(parts)
    if ip is None or (zone and ip.version == 4):
        return UNKNOWN
    return None


def _no_place(parts: list[Part]) -> str | None:
    ip, zone = _ip_of(parts)
    if ip is not None and ip.is_unspecified:
        return f"{ip} stands for all addresses of a machine: take one of them"
    if ip is not None and ip.is_multicast:
        return f"{ip} stands for a group: take the address of one machine"
    if ip is not None and ip.version == 6 and ip.is_link_local and not zone:
        return f"{ip} is one in each link: name the zone, as in /ip6zone/eth0/ip6/{ip}"
    return None


def _transport(parts: list[Part]) -> str | None:
    rest = [part.protocol for part in parts if part.protocol not in (IP4, IP6, IP6ZONE, SNI, HTTP_PATH)]
    if not rest:
        return "it names no port: add /tcp/<port>"
    if rest not in _SPOKEN:
        names = "/".join(protocol.name for protocol in rest if protocol is not TCP) or "tcp/tcp"
        return f"{names} is not supported: give an address that ends in /tcp/<port>, or /tcp/<port>/ws or /wss"
    return None


def _port(parts: list[Part]) -> str | None:
    if any(part.protocol is TCP and not any(part.value) for part in parts):
        return "port 0 stands for any free one: take the port that the peer listens on"
    return None


def _ip_of(parts: list[Part]) -> tuple[Ip | None, bool]:
    """The IP address at the beginning, and whether it has a zone."""
    zoned = bool(parts) and parts[0].protocol is IP6ZONE
    first = parts[1:2] if zoned else parts[:1]
    if first and first[0].protocol is IP4:
        return ipaddress.IPv4Address(first[0].value), zoned
    return ipaddress.IPv6Address(first[0].value) if first and first[0].protocol is IP6 else None, zoned


_REASONS: Final[tuple[Callable[[list[Part]], str | None], ...]] = (_relay, _name, _no_ip, _no_place, _transport, _port)
