"""Which of our own addresses a packet to somebody else would leave from. Nothing is sent."""

import ipaddress
import socket
from contextlib import suppress
from typing import Final

PORT: Final = 9  # any: connecting a datagram socket only asks for the route


def source_towards(packed: bytes) -> bytes | None:
    """Our IP address on the way to the one with these bytes; None: there is no way, or the system does not tell."""
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(ipaddress.ip_address(packed)), PORT))
        host, _, _ = str(probe.getsockname()[0]).partition("%")
        return ipaddress.ip_address(host).packed
    return None
