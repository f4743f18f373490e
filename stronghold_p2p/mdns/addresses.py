"""Which addresses are worth announcing on a link, and which of those that others announce mean anything here."""

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import IP4, IP6, IP6ZONE
from stronghold_p2p.addressing.kinds import reach_of
from stronghold_p2p.addressing.parse import Part, parse, split_peer, walk, with_peer
from stronghold_p2p.addressing.reach import Reach
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.mdns.messages import KEY, LONGEST_TEXT

Ip: TypeAlias = IPv4Address | IPv6Address

# js drops a whole packet for one address with a component that it does not know, so nothing else is announced.
KNOWN_TO_ALL: Final = {"ip4", "ip6", "tcp", "udp", "quic-v1", "dns", "dns4", "dns6", "ws", "wss", "tls", "sni"}
IPS: Final = ("/ip4/", "/ip6/", "/ip6zone/")


def worth_telling(
    addresses: Iterable[Multiaddr], peer: PeerId, link: Collection[Ip], host: Collection[Ip]
) -> Iterator[str]:
    """Our addresses as they are announced on one link, those that the link has itself first.

    ``link`` are our IP addresses there, ``host`` all that we have. What another link has is not told, as nobody here
    may get there: so loopback is for the loopback interface. What no link has was named by the user, or seen by others.
    """
    own: list[Multiaddr] = []
    others: list[Multiaddr] = []
    for address in addresses:
        parts = walk(bytes(address))
        ip = _ip_of(parts)
        if {part.protocol.name for part in parts} - KNOWN_TO_ALL or _no_place(address, parts):
            continue
        if ip in link:
            own.append(address)
        elif ip not in host and (ip is None or not (ip.is_loopback or ip.is_link_local)):
            others.append(address)
    for address in own + others:
        text = str(with_peer(address, peer))
        if len(KEY) + len(text) <= LONGEST_TEXT:
            yield text


def port_of(addresses: Iterable[str]) -> int | None:
    """The first port that they name."""
    for address in addresses:
        for part in walk(bytes(parse(address))):
            if part.protocol.name in ("tcp", "udp"):
                return int.from_bytes(part.value, "big")
    return None


def heard(text: str, *, here: bool, zone: str) -> tuple[PeerId, Multiaddr] | None:
    """The peer and the address that somebody announces; None: it means nothing here.

    Only IP addresses do: a name would have us ask name servers for whatever somebody on the LAN wants, and a relay is
    not on the LAN. ``here``: it was said on this machine, so loopback is ours. ``zone``: the interface on which it was
    said, which a link-local IPv6 address needs; what zone it had elsewhere tells nothing.
    """
    if not text.startswith(IPS):
        return None
    try:
        address, peer = split_peer(parse(text))
        parts = walk(bytes(address))
    except DecodeError:
        return None
    if peer is None or _no_place(address, parts):
        return None
    reach = reach_of(address)
    if reach is Reach.MACHINE and not here:
        return None
    if parts[0].protocol is IP6ZONE or (parts[0].protocol is IP6 and reach is Reach.LINK):
        first = parts[1] if parts[0].protocol is IP6ZONE and len(parts) > 1 else parts[0]
        if not zone or first.protocol is not IP6:
            return None
        address = Multiaddr(IP6ZONE.prefixed(zone.encode()) + bytes(address)[first.start :])
    return peer, address


def _no_place(address: Multiaddr, parts: list[Part]) -> bool:
    """Nobody can be there: it leads through a relay, to all addresses of a machine or to a group, or to port 0."""
    return (
        reach_of(address) is Reach.NOWHERE
        or any(part.protocol.name == "p2p-circuit" for part in parts)
        or any(part.protocol.name in ("tcp", "udp") and not any(part.value) for part in parts)
    )


def _ip_of(parts: list[Part]) -> Ip | None:
    if parts[0].protocol is IP4:
        return IPv4Address(parts[0].value)
    return IPv6Address(parts[0].value) if parts[0].protocol is IP6 else None
