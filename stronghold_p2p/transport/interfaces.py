"""The addresses of this host, for listeners on ``0.0.0.0`` and ``::``."""

from __future__ import annotations

import ipaddress
import socket

from multiaddr.utils import get_network_addrs

_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_FAMILY = {socket.AF_INET: 4, socket.AF_INET6: 6}


def host_addresses(family: int) -> list[str]:
    """Every address of this family, loopback first, without link-local ones (they need a zone to be dialed)."""
    kind = socket.AF_INET6 if family == socket.AF_INET6 else socket.AF_INET
    found = [_LOOPBACK[kind]]
    for text in get_network_addrs(_FAMILY[kind]):
        address = ipaddress.ip_address(text)
        if not address.is_link_local and str(address) not in found:
            found.append(str(address))
    return found
