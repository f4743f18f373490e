"""The links of this host, and a socket on each.

Each link has a socket of its own, so it is known where a packet has come in, and where one goes out. It shares port
5353 with everybody, by SO_REUSEADDR, which all set who share it. Other systems want SO_REUSEPORT, too; on Linux that
makes our sockets one group, and a packet that came in at one link was seen to reach the socket of another. There it is
bound to the group's address, so it takes no answers by unicast away from others, and IP_MULTICAST_ALL keeps away what
comes in at other links.
"""

import ipaddress
import logging
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, Final

import ifaddr

from stronghold_p2p.mdns.core import Interface, Link

PORT: Final = 5_353
GROUPS: Final = {4: "224.0.0.251", 6: "ff02::fb"}  # RFC 6762, 3
HOPS: Final = 255  # RFC 6762, 11
MAX_LINKS: Final = 64

# Linux; the socket module does not name them.
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29
_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP, _IFF_LOOPBACK, _IFF_MULTICAST = 0x1, 0x8, 0x1000

if sys.platform == "linux":
    import fcntl

log = logging.getLogger("stronghold_p2p.network")


def links() -> dict[Link, tuple[Interface, ...]]:
    """Every link of this host, with our addresses there. ``OSError``: the system does not tell.

    A link for IPv6 is one where we have a link-local address: without one nothing can be sent to the group. Loopback is
    one for IPv4: there those find each other that listen nowhere else, or are on a machine without a network.
    """
    found: dict[Link, list[Interface]] = {}
    for adapter in ifaddr.get_adapters():
        if adapter.index is None or not _carries_multicast(adapter.name):
            continue
        interfaces = list(_interfaces(adapter))
        for version in GROUPS:
            own = [one for one in interfaces if one.version == version]
            if own and (version == 4 or any(one.ip.is_link_local for one in own)):
                found[Link(adapter.name, adapter.index, version)] = own
    return {link: tuple(own) for link, own in list(found.items())[:MAX_LINKS]}


def _interfaces(adapter: ifaddr.Adapter) -> Iterator[Interface]:
    for address in adapter.ips:
        ip = address.ip if isinstance(address.ip, str) else address.ip[0]
        try:
            yield ipaddress.ip_interface(f"{ip}/{address.network_prefix}")
        except ValueError as error:
            log.debug("an address of %s that is none: %s", adapter.name, error)


def _carries_multicast(name: str) -> bool:
    """Whether the interface is up and made for it, or is the loopback one; where that is not told, it may be."""
    if sys.platform != "linux":
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("16sh14x", name.encode()[:15], 0))
        except OSError:
            return False
    (flags,) = struct.unpack_from("H", answer, 16)
    return bool(flags & _IFF_UP and flags & (_IFF_MULTICAST | _IFF_LOOPBACK))


def socket_on(link: Link, interfaces: tuple[Interface, ...]) -> socket.socket:
    """A socket that hears what is sent to the group on ``link``, and sends there. ``OSError``: the system's reason."""
    family = socket.AF_INET if link.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if link.version == 4:
            _join_4(made, link, interfaces[0].ip.packed)
        else:
            _join_6(made, link)
    except BaseException:
        made.close()
        raise
    return made


def _join_4(made: socket.socket, link: Link, ip: bytes) -> None:
    linux = sys.platform == "linux"
    group = socket.inet_aton(GROUPS[4])
    member = struct.pack("=4s4si", group, ip, link.index) if linux else group + ip
    if linux:
        made.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    made.bind((GROUPS[4] if linux else "", PORT))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, member if linux else ip)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)


def _join_6(made: socket.socket, link: Link) -> None:
    linux = sys.platform == "linux"
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if linux:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    made.bind((GROUPS[6] if linux else "", PORT, 0, link.index if linux else 0))
    member = socket.inet_pton(socket.AF_INET6, GROUPS[6]) + struct.pack("@I", link.index)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link.index)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)


def group_of(link: Link) -> tuple[Any, ...]:
    """Where packets for everybody on ``link`` go."""
    return (GROUPS[4], PORT) if link.version == 4 else (GROUPS[6], PORT, 0, link.index)
