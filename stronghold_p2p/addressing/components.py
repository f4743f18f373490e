"""The components of an address: codes, names, and the values that each may have (multiaddr's ``protocols.csv``).

What is not in this table is no address for us: an unknown code has a value of unknown length.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stronghold_p2p.addressing import values
from stronghold_p2p.encoding import varint
from stronghold_p2p.identity.peer_id import PeerId


@dataclass(frozen=True)
class Protocol:
    """One row of multiaddr's ``protocols.csv``: ``size`` in bytes, ``None`` for a length prefix.

    ``to_bytes`` is given text, and ``check`` what that became, or what came as bytes; a value that passed it has a
    text, and is that text's value.
    """

    code: int
    name: str
    size: int | None = 0
    to_bytes: Callable[[str], bytes] = values.none
    to_text: Callable[[bytes], str] = values.to_text
    check: Callable[[bytes], object] = len  # none: the length is enough

    def prefixed(self, value: bytes) -> bytes:
        length = varint.encode(len(value)) if self.size is None else b""
        return varint.encode(self.code) + length + value


def _number(code: int, name: str, bits: int) -> Protocol:
    return Protocol(code, name, bits // 8, values.uint_to_bytes(bits), values.uint_to_text)


def _named(code: int, name: str) -> Protocol:
    return Protocol(code, name, None, values.utf8, check=values.ensure_name)


IP4 = Protocol(4, "ip4", 4, values.ip_to_bytes(ipaddress.IPv4Address), values.ip4_to_text)
IP6 = Protocol(41, "ip6", 16, values.ip_to_bytes(ipaddress.IPv6Address), values.ip6_to_text)
IP6ZONE = Protocol(42, "ip6zone", None, values.utf8, check=values.ensure_zone)
TCP = _number(6, "tcp", 16)
UDP = _number(273, "udp", 16)
P2P = Protocol(421, "p2p", None, lambda text: bytes(PeerId(text)), lambda value: str(PeerId(value)), PeerId)
UNIX = Protocol(400, "unix", None, values.unix_to_bytes, values.unix_to_text, values.ensure_unix)
CIRCUIT = Protocol(290, "p2p-circuit")
TLS = Protocol(448, "tls")
SNI = _named(449, "sni")
WS = Protocol(477, "ws")
WSS = Protocol(478, "wss")
HTTP_PATH = Protocol(481, "http-path", None, values.path_to_bytes, values.path_to_text, values.ensure_path)
DNSADDR = _named(56, "dnsaddr")
NAMES = (_named(53, "dns"), _named(54, "dns4"), _named(55, "dns6"), DNSADDR)

_PROTOCOLS: Final = (
    *(IP4, IP6, IP6ZONE, TCP, UDP, P2P, CIRCUIT, UNIX, TLS, SNI, WS, WSS, HTTP_PATH, *NAMES),
    _number(33, "dccp", 16),
    _number(43, "ipcidr", 8),
    _number(132, "sctp", 16),
    Protocol(275, "p2p-webrtc-star"),
    Protocol(276, "p2p-webrtc-direct"),
    Protocol(277, "p2p-stardust"),
    Protocol(280, "webrtc-direct"),
    Protocol(281, "webrtc"),
    Protocol(301, "udt"),
    Protocol(302, "utp"),
    Protocol(443, "https"),
    Protocol(445, "onion3", 37, values.onion3_to_bytes, values.onion3_to_text, values.ensure_onion3),
    Protocol(454, "noise"),
    Protocol(460, "quic"),
    Protocol(461, "quic-v1"),
    Protocol(465, "webtransport"),
    Protocol(466, "certhash", None, values.certhash_to_bytes, values.certhash_to_text, values.ensure_certhash),
    Protocol(479, "p2p-websocket-star"),
    Protocol(480, "http"),
    _number(777, "memory", 64),
)
BY_CODE: Final = {protocol.code: protocol for protocol in _PROTOCOLS}
BY_PREFIX: Final = {varint.encode(protocol.code): protocol for protocol in _PROTOCOLS}  # one byte or two
BY_NAME: Final = {protocol.name: protocol for protocol in _PROTOCOLS} | {"ipfs": P2P}
