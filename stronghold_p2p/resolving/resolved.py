"""What the resolving of an address leads to."""

from dataclasses import dataclass

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import NAMES
from stronghold_p2p.addressing.parse import walk


@dataclass(frozen=True, slots=True)
class Resolved:
    """An address that a transport may dial: no name stands in front of it any more.

    address: it begins with an IP address (or is what was given, if that began with no name).
    name: the DNS name that the IP address belongs to, in lower case, for the TLS and HTTP of a WebSocket; "" for none.
    """

    address: Multiaddr
    name: str = ""


def has_name(address: Multiaddr) -> bool:
    """``address`` begins with ``/dns``, ``/dns4``, ``/dns6`` or ``/dnsaddr``: it has to be resolved before a dial."""
    return walk(bytes(address))[0].protocol in NAMES
