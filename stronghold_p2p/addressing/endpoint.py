"""What a transport needs to know of an address: where its socket leads, and what is spoken there first.

``<ip or name>/tcp/<port>``, then nothing for TCP; ``/ws`` for WebSocket; ``/tls/ws``, ``/tls/sni/<name>/ws`` or the
older ``/wss`` for secure WebSocket (addressing/README.md, "WebSockets"); ``/http-path/<path>`` may stand behind
these, and ``/p2p/<peer>`` at the end.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import (
    HTTP_PATH,
    IP4,
    IP6,
    IP6ZONE,
    NAMES,
    P2P,
    SNI,
    TCP,
    TLS,
    WS,
    WSS,
    Protocol,
)
from stronghold_p2p.addressing.parse import Part, walk
from stronghold_p2p.identity.peer_id import PeerId

Spoken: TypeAlias = Literal["tcp", "ws", "wss"]

_HOSTS: Final = (IP4, IP6, *(name for name in NAMES if name.name != "dnsaddr"))
_SPOKEN: Final[dict[tuple[Protocol, ...], Spoken]] = {(): "tcp", (WS,): "ws", (WSS,): "wss", (TLS, WS): "wss"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``host`` is an IP address, with its zone behind ``%`` if it has one; or, where ``named``, a name to be looked up.

    ``sni`` is the name that a certificate has to bear: of ``/sni/``, or else the host's; of an IP address none, "".
    ``path`` begins with a slash. ``peer`` is who has to be there.
    """

    host: str
    port: int
    spoken: Spoken
    named: str = ""
    sni: str = ""
    path: str = "/"
    peer: PeerId | None = None


def endpoint_of(address: Multiaddr) -> Endpoint | None:
    """None: it is no TCP or WebSocket address of a machine; a relayed one is none, nor is ``/dnsaddr``.

    ``DecodeError``: it is no address, as for ``walk``.
    """
    parts = walk(bytes(address))
    peer = PeerId(parts.pop().value) if parts[-1].protocol is P2P else None
    zone = "%" + parts.pop(0).value.decode() if parts and parts[0].protocol is IP6ZONE else ""
    if len(parts) < 2 or parts[0].protocol not in _HOSTS or parts[1].protocol is not TCP:
        return None
    if zone and parts[0].protocol is not IP6:
        return None
    name = parts[0].value.decode() if parts[0].protocol in NAMES else ""
    path = parts.pop().value.decode() if parts[-1].protocol is HTTP_PATH else ""
    rest = parts[2:]
    sni = rest.pop(1).value.decode() if len(rest) == 3 and rest[1].protocol is SNI else name
    spoken = _SPOKEN.get(tuple(part.protocol for part in rest))
    if spoken is None or (spoken == "tcp" and path):
        return None
    port = int.from_bytes(parts[1].value, "big")
    return Endpoint(
        _host(parts[0]) + zone, port, spoken, name, sni if spoken == "wss" else "", "/" + path.lstrip("/"), peer
    )


def _host(part: Part) -> str:
    if part.protocol is IP4:
        return str(IPv4Address(part.value))
    return str(IPv6Address(part.value)) if part.protocol is IP6 else part.value.decode()
