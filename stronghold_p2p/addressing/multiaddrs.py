"""Addresses: multiaddrs, checked strictly (multiformats/multiaddr, "Specification"; libp2p addressing/README.md).

An address is a row of components, each a code and a value whose length the code tells. Its object is the ``multiaddr``
package's ``Multiaddr``, but that package takes any bytes and fails later, when they are printed or walked. So whatever
comes from outside passes this module first: a walk over codes, lengths and values of our own, and for text a parser
that produces those bytes. What ``parse`` returns can be printed, and its text parses back to the same bytes.

An unknown code ends the walk, because the length of its value is unknown too; that loses one address, never the
message it came in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as PackageError

from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.identity.peer_id import PeerId

MAX_SIZE: Final = 1_024  # bytes, and characters
MAX_COMPONENTS: Final = 32
MAX_NAME: Final = 253  # of a domain (RFC 1035)

_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def _uint(bits: int) -> Callable[[str], bytes]:
    """Decimal numbers in their one form: no sign, no leading zero."""

    def to_bytes(text: str) -> bytes:
        if not (text.isascii() and text.isdigit() and len(text) <= 20) or str(int(text)) != text or int(text) >> bits:
            raise DecodeError(f"{text[:20]!r} is no number of {bits} bits")
        return int(text).to_bytes(bits // 8, "big")

    return to_bytes


def _ip(kind: type[_Ip]) -> Callable[[str], bytes]:
    def to_bytes(text: str) -> bytes:
        try:
            if "%" not in text:
                return kind(text).packed
        except ValueError:
            pass
        raise DecodeError(f"{text[:64]!r} is no IP address")

    return to_bytes


def _check_text(value: bytes) -> None:
    """Names and zones: UTF-8, printable, without the separator."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise DecodeError("a name is not UTF-8") from None
    if not text or len(value) > MAX_NAME or "/" in text or " " in text or not text.isprintable():
        raise DecodeError("a name is empty, too long or not printable")


def _check_anything(_value: bytes) -> None:
    """The length says it all, or printing and parsing it again will tell."""


def _check_peer_id(value: bytes) -> None:
    PeerId(value)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DecodeError("text that is not Unicode") from None


def _nothing(_text: str) -> bytes:
    return b""


def _of_package(name: str) -> Callable[[str], bytes]:
    """The rare kinds of value: the package parses them, and we cut its prefix off again."""

    def to_bytes(text: str) -> bytes:
        try:
            encoded: bytes = Multiaddr(f"/{name}/{text}").to_bytes()
        except PackageError:
            raise DecodeError(f"{text[:64]!r} is no value of {name}") from None
        protocol = _BY_NAME[name]
        offset = len(varint.encode(protocol.code))
        return encoded[offset:] if protocol.size else encoded[varint.decode(encoded, offset)[1] :]

    return to_bytes


@dataclass(frozen=True)
class _Protocol:
    """One row of multiaddr's ``protocols.csv``: ``size`` in bytes, ``None`` for a length prefix.

    ``certain``: a value that passed ``check`` prints, and parses back, for sure; otherwise that is tried.
    """

    code: int
    name: str
    size: int | None = 0
    to_bytes: Callable[[str], bytes] = _nothing
    check: Callable[[bytes], None] = _check_anything
    certain: bool = True

    def prefixed(self, value: bytes) -> bytes:
        length = varint.encode(len(value)) if self.size is None else b""
        return varint.encode(self.code) + length + value


_IP4 = _Protocol(4, "ip4", 4, _ip(ipaddress.IPv4Address))
_IP6 = _Protocol(41, "ip6", 16, _ip(ipaddress.IPv6Address))
_IP6ZONE = _Protocol(42, "ip6zone", None, _utf8, _check_text, certain=False)
_TCP = _Protocol(6, "tcp", 2, _uint(16))
_P2P = _Protocol(421, "p2p", None, lambda text: bytes(PeerId(text)), _check_peer_id)
_UNIX = _Protocol(400, "unix", None, lambda text: _utf8("/" + text), certain=False)
_CIRCUIT = _Protocol(290, "p2p-circuit")
_NAMES = tuple(
    _Protocol(code, name, None, _utf8, _check_text, certain=False)
    for code, name in ((53, "dns"), (54, "dns4"), (55, "dns6"), (56, "dnsaddr"))
)
_PROTOCOLS: Final = (
    *(_IP4, _IP6, _IP6ZONE, _TCP, _P2P, _CIRCUIT, _UNIX, *_NAMES),
    _Protocol(43, "ipcidr", 1, _uint(8)),
    _Protocol(273, "udp", 2, _uint(16)),
    _Protocol(280, "webrtc-direct"),
    _Protocol(281, "webrtc"),
    _Protocol(443, "https"),
    _Protocol(445, "onion3", 37, _of_package("onion3"), certain=False),
    _Protocol(448, "tls"),
    _Protocol(449, "sni", None, _utf8, _check_text, certain=False),
    _Protocol(454, "noise"),
    _Protocol(460, "quic"),
    _Protocol(461, "quic-v1"),
    _Protocol(465, "webtransport"),
    _Protocol(466, "certhash", None, _of_package("certhash"), certain=False),
    _Protocol(477, "ws"),
    _Protocol(478, "wss"),
    _Protocol(480, "http"),
    _Protocol(481, "http-path", None, _of_package("http-path"), certain=False),
    _Protocol(777, "memory", 8, _uint(64)),
)
P2P_CODE: Final = varint.encode(_P2P.code)  # without these bytes an address names no peer
_CIRCUIT_CODE: Final = varint.encode(_CIRCUIT.code)
_BY_CODE: Final = {protocol.code: protocol for protocol in _PROTOCOLS}
_BY_NAME: Final = {protocol.name: protocol for protocol in _PROTOCOLS} | {"ipfs": _P2P}


@dataclass(frozen=True)
class _Part:
    """One component of an address, and where it starts."""

    protocol: _Protocol
    value: bytes
    start: int


def check(data: bytes) -> None:
    """Walk a binary address; ``DecodeError`` if any part of it is not what the specification says.

    That is: unknown code, truncated, a value of the wrong size or shape, empty, more than 1 KiB or 32 components.
    """
    _walk(data)


def parse(address: str | bytes | Multiaddr) -> Multiaddr:
    """An address from its text, its bytes, or the package's object; ``DecodeError`` as for ``check``.

    Text starts with a slash and may end with one; ``/p2p/`` (or the old ``/ipfs/``) takes every form of a peer id.
    """
    data = _from_text(address) if isinstance(address, str) else bytes(address)
    parts = _walk(data)
    result = Multiaddr(data)
    if not all(part.protocol.certain for part in parts):
        _check_round_trip(result)
    return result


def tcp_address(address: Multiaddr) -> tuple[str, int, PeerId | None] | None:
    """Host, port and peer of ``<ip>/tcp/<port>[/p2p/<peer>]``; ``None`` for every other shape, names included.

    The host is an IP address, with a zone behind ``%`` if the address has one.
    """
    parts = _walk(bytes(address))
    peer = PeerId(parts.pop().value) if parts[-1].protocol is _P2P else None
    zone = "%" + parts.pop(0).value.decode() if parts and parts[0].protocol is _IP6ZONE else ""
    if len(parts) != 2 or parts[1].protocol is not _TCP:
        return None
    ip = _ip_of(parts[0])
    if ip is None or (zone and ip.version == 4):
        return None
    return f"{ip}{zone}", int.from_bytes(parts[1].value, "big"), peer


def from_socket(sockaddr: tuple[Any, ...]) -> Multiaddr:
    """The address of a socket, as ``getsockname`` and ``getpeername`` tell it for IPv4 and IPv6.

    An IPv4 address that a dual-stack socket shows in IPv6 form becomes an ``ip4`` again.
    ``DecodeError`` for other families.
    """
    try:
        host, _, zone = str(sockaddr[0]).partition("%")
        ip, port = ipaddress.ip_address(host), int(sockaddr[1]).to_bytes(2, "big")
    except (ValueError, IndexError, OverflowError):
        raise DecodeError(f"{sockaddr!r} is no IP socket address") from None
    ip = _unmapped(ip)
    data = _IP4.prefixed(ip.packed) if ip.version == 4 else _IP6.prefixed(ip.packed)
    return parse((_IP6ZONE.prefixed(zone.encode()) if zone else b"") + data + _TCP.prefixed(port))


def split_peer(address: Multiaddr) -> tuple[Multiaddr, PeerId | None]:
    """``address`` without the ``/p2p/`` at its end, and that peer; without one, ``address`` itself and ``None``.

    Of a bare ``/p2p/<peer>`` an empty address is left.
    """
    data = bytes(address)
    last = _walk(data)[-1]
    if last.protocol is not _P2P:
        return address, None
    return Multiaddr(data[: last.start]), PeerId(last.value)


def with_peer(address: Multiaddr, peer: PeerId) -> Multiaddr:
    """``address`` with ``/p2p/<peer>`` at its end; ``ConfigError`` if another peer stands there."""
    named = split_peer(address)[1]
    if named is None:
        return Multiaddr(bytes(address) + _P2P.prefixed(bytes(peer)))
    if named != peer:
        raise ConfigError(f"{address} names another peer than {peer}", where=str(address))
    return address


def relays(address: Multiaddr) -> tuple[PeerId | None, ...]:
    """The relays that a relayed address leads through, in order, ``None`` for one without a name; of others none.

    Each is named before its ``/p2p-circuit`` (addressing/README.md, "p2p-circuit Relay Addresses").
    """
    data = bytes(address)
    if _CIRCUIT_CODE not in data:
        return ()
    found: list[PeerId | None] = []
    before: PeerId | None = None
    for part in _walk(data):
        if part.protocol is _CIRCUIT:
            found.append(before)
        before = PeerId(part.value) if part.protocol is _P2P else None
    return tuple(found)


def through(address: Multiaddr, relay: PeerId) -> Multiaddr:
    """``address`` is the relay's own; this is where peers behind it are: ``<address>/p2p/<relay>/p2p-circuit``.

    The relay is named once, also where ``address`` ends in its name; ``ConfigError`` if another peer stands there.
    """
    return Multiaddr(bytes(with_peer(address, relay)) + _CIRCUIT.prefixed(b""))


def is_loopback(address: Multiaddr) -> bool:
    """Reaches only this machine: a loopback IP address or the name ``localhost``."""
    ip = _first_ip(address)
    return ip.is_loopback if ip else _name(address) == "localhost"


def is_unspecified(address: Multiaddr) -> bool:
    """Stands for all addresses of this machine: ``0.0.0.0`` or ``::``."""
    ip = _first_ip(address)
    return ip is not None and ip.is_unspecified


def is_multicast(address: Multiaddr) -> bool:
    """Nobody can be dialed there."""
    ip = _first_ip(address)
    return ip is not None and ip.is_multicast


def is_link_local(address: Multiaddr) -> bool:
    """Reaches only neighbours on the same link; in a cloud also the service that knows a machine's secrets."""
    ip = _first_ip(address)
    return ip is not None and ip.is_link_local


def is_public(address: Multiaddr) -> bool:
    """May be reached from anywhere: a global unicast IP address, or a name other than ``localhost``."""
    ip = _first_ip(address)
    return ip.is_global and not ip.is_multicast if ip else _name(address) not in {"", "localhost"}


def is_private(address: Multiaddr) -> bool:
    """An IP address for some network only: private, link-local, shared or otherwise not global."""
    ip = _first_ip(address)
    return ip is not None and not (ip.is_loopback or ip.is_unspecified or is_public(address))


def _walk(data: bytes) -> list[_Part]:
    if not 0 < len(data) <= MAX_SIZE:
        raise DecodeError(f"address of {len(data)} bytes, 1 to {MAX_SIZE} allowed")
    parts: list[_Part] = []
    offset = 0
    while offset < len(data):
        start = offset
        if len(parts) == MAX_COMPONENTS:
            raise DecodeError(f"address of more than {MAX_COMPONENTS} components")
        code, offset = varint.decode(data, offset)
        protocol = _BY_CODE.get(code)
        if protocol is None:
            raise DecodeError(f"unknown protocol code {code} in an address")
        size = protocol.size
        if size is None:
            size, offset = varint.decode(data, offset, maximum=MAX_SIZE)
        if offset + size > len(data):
            raise DecodeError(f"truncated {protocol.name} in an address")
        value = data[offset : offset + size]
        protocol.check(value)
        parts.append(_Part(protocol, value, start))
        offset += size
    return parts


def _from_text(text: str) -> bytes:
    if len(text) > MAX_SIZE:
        raise DecodeError(f"an address has at most {MAX_SIZE} characters, not {len(text)}")
    if not text.startswith("/"):
        raise DecodeError("an address looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3...; a peer id alone is PeerId(text)")
    words = text.removesuffix("/").split("/")[1:]
    out = bytearray()
    while words:
        name = words.pop(0)
        protocol = _BY_NAME.get(name)
        if protocol is None:
            raise DecodeError(f"unknown protocol {name[:64]!r} in an address")
        if protocol.size == 0:
            value = ""
        elif not words:
            raise DecodeError(f"{name} without a value in an address")
        elif protocol is _UNIX:
            value, words = "/".join(words), []
        else:
            value = words.pop(0)
        out += protocol.prefixed(protocol.to_bytes(value))
    return bytes(out)


def _check_round_trip(address: Multiaddr) -> None:
    """For values whose text is the package's business: they have to print, and to parse back the same."""
    try:
        text = str(address)
    except PackageError:
        raise DecodeError("an address holds a value that has no text") from None
    if _from_text(text) != bytes(address):
        raise DecodeError(f"the text {text!r} is another address than its bytes")


def _first_ip(address: Multiaddr) -> _Ip | None:
    """The IP address at the start; of a relayed address it is the relay's."""
    parts = _walk(bytes(address))
    ip = _ip_of(parts[0]) or (_ip_of(parts[1]) if len(parts) > 1 and parts[0].protocol is _IP6ZONE else None)
    return _innermost(ip) if ip else None


def _ip_of(part: _Part) -> _Ip | None:
    if part.protocol is _IP4:
        return ipaddress.IPv4Address(part.value)
    return ipaddress.IPv6Address(part.value) if part.protocol is _IP6 else None


def _unmapped(ip: _Ip) -> _Ip:
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def _innermost(ip: _Ip) -> _Ip:
    """Where it leads in the end: an IPv4 address behind the well-known prefix of NAT64 (RFC 6052, 2.1)."""
    return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else _unmapped(ip)


def _name(address: Multiaddr) -> str:
    first = _walk(bytes(address))[0]
    return first.value.decode().lower().rstrip(".") if first.protocol in _NAMES else ""
