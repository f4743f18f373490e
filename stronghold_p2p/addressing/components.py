"""The components of an address: codes, names, and the values that each may have (multiaddr's ``protocols.csv``).

What is not in this table is no address for us: an unknown code has a value of unknown length.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as PackageError

from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.peer_id import PeerId

MAX_NAME: Final = 253  # bytes of a domain (RFC 1035)

Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _uint(bits: int) -> Callable[[str], bytes]:
    """Decimal numbers in their one form: no sign, no leading zero."""

    def to_bytes(text: str) -> bytes:
        if not (text.isascii() and text.isdigit() and len(text) <= 20) or str(int(text)) != text or int(text) >> bits:
            raise DecodeError(f"{text[:20]!r} is no number of {bits} bits")
        return int(text).to_bytes(bits // 8, "big")

    return to_bytes


def _ip(kind: type[Ip]) -> Callable[[str], bytes]:
    def to_bytes(text: str) -> bytes:
        host, _, zone = text.partition("%")
        advice = ""
        try:
            packed = kind(host).packed
        except ValueError:
            pass
        else:
            if "%" not in text:
                return packed
            if len(packed) == 16 and zone:
                advice = f": the zone stands before it, /ip6zone/{zone[:16]}/ip6/{host}"
        raise DecodeError(f"{text[:64]!r} is no IP address{advice}")

    return to_bytes


def _check_text(value: bytes) -> None:
    """Names and zones: UTF-8, printable, without the separator."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise DecodeError("a name is not UTF-8") from None
    if not text or len(value) > MAX_NAME or "/" in text or " " in text or not text.isprintable():
        raise DecodeError("a name is empty, too long or not printable")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DecodeError("text that is not Unicode") from None


def _of_package(name: str) -> Callable[[str], bytes]:
    """For the rare kinds of value: the package parses them, and we cut its prefix off."""

    def to_bytes(text: str) -> bytes:
        try:
            encoded: bytes = Multiaddr(f"/{name}/{text}").to_bytes()
        except PackageError:
            raise DecodeError(f"{text[:64]!r} is no value of {name}") from None
        protocol = BY_NAME[name]
        offset = len(varint.encode(protocol.code))
        return encoded[offset:] if protocol.size else encoded[varint.decode(encoded, offset)[1] :]

    return to_bytes


@dataclass(frozen=True)
class Protocol:
    """One row of multiaddr's ``protocols.csv``: ``size`` in bytes, ``None`` for a length prefix.

    ``certain``: a value that passed ``check`` prints, and parses back, for sure; otherwise that is tried.
    """

    code: int
    name: str
    size: int | None = 0
    to_bytes: Callable[[str], bytes] = str.encode  # of those without a value, which are given an empty text
    check: Callable[[bytes], object] = len  # none: the length is enough, or it is checked by printing and parsing
    certain: bool = True

    def prefixed(self, value: bytes) -> bytes:
        length = varint.encode(len(value)) if self.size is None else b""
        return varint.encode(self.code) + length + value


IP4 = Protocol(4, "ip4", 4, _ip(ipaddress.IPv4Address))
IP6 = Protocol(41, "ip6", 16, _ip(ipaddress.IPv6Address))
IP6ZONE = Protocol(42, "ip6zone", None, _utf8, _check_text, certain=False)
TCP = Protocol(6, "tcp", 2, _uint(16))
P2P = Protocol(421, "p2p", None, lambda text: bytes(PeerId(text)), PeerId)
UNIX = Protocol(400, "unix", None, lambda text: _utf8("/" + text), certain=False)
CIRCUIT = Protocol(290, "p2p-circuit")
TLS = Protocol(448, "tls")
SNI = Protocol(449, "sni", None, _utf8, _check_text, certain=False)
WS = Protocol(477, "ws")
WSS = Protocol(478, "wss")
HTTP_PATH = Protocol(481, "http-path", None, _of_package("http-path"), certain=False)
NAMES = tuple(
    Protocol(code, name, None, _utf8, _check_text, certain=False)
    for code, name in ((53, "dns"), (54, "dns4"), (55, "dns6"), (56, "dnsaddr"))
)
_PROTOCOLS: Final = (
    *(IP4, IP6, IP6ZONE, TCP, P2P, CIRCUIT, UNIX, *NAMES),
    Protocol(43, "ipcidr", 1, _uint(8)),
    Protocol(273, "udp", 2, _uint(16)),
    Protocol(280, "webrtc-direct"),
    Protocol(281, "webrtc"),
    Protocol(443, "https"),
    Protocol(445, "onion3", 37, _of_package("onion3"), certain=False),
    *(TLS, SNI, WS, WSS, HTTP_PATH),
    Protocol(454, "noise"),
    Protocol(460, "quic"),
    Protocol(461, "quic-v1"),
    Protocol(465, "webtransport"),
    Protocol(466, "certhash", None, _of_package("certhash"), certain=False),
    Protocol(480, "http"),
    Protocol(777, "memory", 8, _uint(64)),
)
BY_CODE: Final = {protocol.code: protocol for protocol in _PROTOCOLS}
BY_PREFIX: Final = {varint.encode(protocol.code): protocol for protocol in _PROTOCOLS}  # one byte or two
BY_NAME: Final = {protocol.name: protocol for protocol in _PROTOCOLS} | {"ipfs": P2P}
