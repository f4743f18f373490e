"""The parts of an address for programs: the ``multiaddr`` package's own walk shows parts that are not there where an
address has a zone, and its ``decapsulate`` cuts ``/tcp/1234`` where ``/tcp/1`` was asked for.
"""

from dataclasses import dataclass, field
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import CIRCUIT, IP4, IP6, IP6ZONE, NAMES, P2P, SNI, TLS, WS, WSS
from stronghold_p2p.addressing.kinds import relays_of
from stronghold_p2p.addressing.parse import IP_TCP, CheckedAddress, Part, parse, split_peer, walk
from stronghold_p2p.addressing.values import IP4_MAPPED
from stronghold_p2p.identity.peer_id import PeerId

_HOSTS: Final = (IP4, IP6, *NAMES)
_PORTS: Final = ("tcp", "udp")
_PATHS: Final = ("http-path", "unix")
_DETAILS: Final = ("sni", "http-path", "certhash", "ipcidr")  # they say more about a transport, and are none
_TRANSPORTS: Final = {
    "tcp/ws": "ws",
    "tcp/wss": "wss",
    "tcp/tls/ws": "wss",
    "udp/quic-v1": "quic-v1",
    "udp/quic-v1/webtransport": "webtransport",
    "udp/webrtc-direct": "webrtc-direct",
}
_NOWHERE: Final = CheckedAddress(b"")
_TLS_WS: Final = TLS.prefixed(b"") + WS.prefixed(b"")


@dataclass(frozen=True, slots=True)
class AddressParts:
    """What an address says. Of a relayed one, everything but ``peer`` is said of the first relay.

    host: an IP address, with its zone behind ``%`` if it has one, or a name; empty if there is neither.
    is_name: ``host`` has to be looked up.
    port: of TCP or UDP; None if there is none.
    transport: ``tcp``, ``ws``, ``wss``, ``quic-v1``, ``webtransport``, ``webrtc-direct``; of another one the names of
        its protocols, as they stand there: ``tcp/tls/http``. Empty if there is none.
    sni: the name for TLS, where one is given.
    path: of HTTP, or in the file system; empty if there is none.
    peer: who is to be found there; None: nobody is named.
    relays: the relays in order, None for one without a name; empty: the address is a direct one.
    place: the address without ``/p2p/`` and ``peer`` at its end.
    """

    host: str = ""
    is_name: bool = False
    port: int | None = None
    transport: str = ""
    sni: str = ""
    path: str = ""
    peer: PeerId | None = None
    relays: tuple[PeerId | None, ...] = ()
    place: Multiaddr = field(default=_NOWHERE, compare=False)

    @staticmethod
    def of(address: str | bytes | Multiaddr) -> "AddressParts":
        """``DecodeError``: it is no address; the error says what to write instead, where that can be told."""
        return parts_of(parse(address))


def parts_of(address: Multiaddr) -> AddressParts:
    """Of an address that was parsed."""
    parts = walk(bytes(address))
    named = [at for at, part in enumerate(parts) if part.protocol in (P2P, CIRCUIT)]
    own = parts[: named[0]] if named else parts
    host, is_name, rest = _host(own)
    values = {part.protocol.name: part for part in reversed(rest)}  # the first one counts
    names = "/".join(part.protocol.name for part in rest if part.protocol.name not in _DETAILS)
    return AddressParts(
        host=host,
        is_name=is_name,
        port=next((int.from_bytes(values[name].value, "big") for name in _PORTS if name in values), None),
        transport=_TRANSPORTS.get(names, names),
        sni=values["sni"].value.decode() if "sni" in values else "",
        path=next((values[name].value.decode() for name in _PATHS if name in values), ""),
        peer=PeerId(parts[-1].value) if parts[-1].protocol is P2P else None,
        relays=relays_of(address),
        place=split_peer(address)[0],
    )


def canonical(address: Multiaddr) -> bytes:
    """The same for all spellings of one place: names without case, ``/wss`` as ``/tls/ws``, and an IPv4 address that is
    written in IPv6 form (RFC 4291, 2.5.5.2) as IPv4. A name for TLS that is the host's own is left out.
    """
    data = bytes(address)
    if len(data) == 8 and IP_TCP.fullmatch(data):
        return data
    out, host = b"", b""
    for part in walk(data):
        protocol, value = part.protocol, part.value
        if protocol in NAMES or protocol is SNI:
            value = _folded(value)
            if protocol is SNI and value == host:
                continue
            host = host if protocol is SNI else value
        elif protocol is IP6 and value.startswith(IP4_MAPPED):
            protocol, value = IP4, value[12:]
        out += _TLS_WS if protocol is WSS else protocol.prefixed(value)
    return out


def _folded(name: bytes) -> bytes:
    return name.decode().lower().removesuffix(".").encode()


def _host(parts: list[Part]) -> tuple[str, bool, list[Part]]:
    """The host, whether it is a name, and what follows."""
    zone = ""
    if parts and parts[0].protocol is IP6ZONE:
        zone, parts = "%" + parts[0].value.decode(), parts[1:]
    if not parts or parts[0].protocol not in _HOSTS:
        return "", False, parts
    return parts[0].protocol.to_text(parts[0].value) + zone, parts[0].protocol in NAMES, parts[1:]
