"""Addresses are multiaddrs, checked strictly (multiformats/multiaddr, "Specification"; libp2p addressing/README.md).

An address is a row of components, each a code and a value whose length the code tells. Its object is the ``multiaddr``
package's ``Multiaddr``, but that package takes any bytes and fails later, when they are printed or walked. So whatever
comes from outside passes this module first: a walk over codes, lengths and values of our own, and for text a parser
that produces those bytes. What ``parse`` returns can be printed, and its text parses back to the same bytes.

An unknown code ends the walk, because the length of its value is unknown too; that loses one address, never the
message it came in.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as PackageError

from stronghold_p2p.addressing.components import BY_NAME, BY_PREFIX, P2P, UNIX, Protocol
from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.identity.peer_id import PeerId

MAX_SIZE: Final = 1_024  # bytes, and characters
MAX_COMPONENTS: Final = 32
SHOWN: Final = 200  # characters of what is no address
_NAME: Final = re.compile("[a-z0-9-]{1,64}")
P2P_CODE: Final = varint.encode(P2P.code)  # an address without these bytes names no peer
IP_TCP: Final = re.compile(rb"(?:\x04(.{4})|\x29(.{16}))\x06..", re.DOTALL)
"""An IP address and a TCP port: what has this shape is an address, whatever the values."""


@dataclass(frozen=True)
class Part:
    """One component of an address, and where it starts."""

    protocol: Protocol
    value: bytes
    start: int


def parse(address: str | bytes | Multiaddr) -> Multiaddr:
    """An address from its text, its bytes, or the package's object; ``DecodeError`` as for ``walk``.

    Text starts with a slash and may end with one; ``/p2p/`` (or the old ``/ipfs/``) takes every form of a peer id.
    """
    data = _from_text(address) if isinstance(address, str) else bytes(address)
    parts = walk(data)
    result = Multiaddr(data)
    if all(part.protocol.certain for part in parts):
        return result
    try:
        text = str(result)
    except PackageError:
        raise DecodeError("an address holds a value that has no text") from None
    if _from_text(text) != data:
        raise DecodeError(f"the text {text!r} is another address than its bytes")
    return result


# Each kind of value that text shows in a form of its own.
_SAMPLES: Final = (
    *("/ip4/127.0.0.1/tcp/1", "/ip6zone/lo/ip6/::1/udp/1", "/dns4/localhost", "/ip4/0.0.0.0/ipcidr/8", "/memory/1"),
    *("/unix/a", "/http-path/a", "/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g", "/tls/sni/localhost"),
    "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234",
    "/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
)


@cache
def prepare_text() -> None:
    """Make one address of each kind into text: the package loads what it needs for that when it is first asked, which
    fails where no file can be opened any more.
    """
    for sample in _SAMPLES:
        str(parse(sample))


def walk(data: bytes) -> list[Part]:
    """The components of a binary address.

    ``DecodeError`` for an unknown code, a truncated value or one of the wrong size or shape, and for an address that is
    empty, above 1 KiB or above 32 components.
    """
    parts: list[Part] = []
    for protocol, start, value in _components(data, MAX_COMPONENTS):
        protocol.check(value)
        parts.append(Part(protocol, value, start))
    return parts


def kind_of(data: bytes, most: int) -> tuple[int, ...] | None:
    """The codes of the components of a binary address, whose values are passed over: they may cost much.

    None where ``walk`` would raise, but for what is wrong with a value, and for more than ``most`` components. Nothing
    is raised: an error costs more than the walk, and a stranger may send a hundred wrong ones (hostile row 120).
    """
    codes: list[int] = []
    offset, end = 0, len(data)
    while offset < end <= MAX_SIZE and len(codes) < most:
        protocol = BY_PREFIX.get(data[offset : offset + 1]) or BY_PREFIX.get(data[offset : offset + 2])
        if protocol is None:
            return None
        codes.append(protocol.code)
        offset += 1 if protocol.code < 0x80 else 2
        size = protocol.size
        if size is None:
            try:
                size, offset = varint.decode(data, offset, maximum=MAX_SIZE)
            except DecodeError:
                return None
        offset += size
    return tuple(codes) if offset == end and codes else None


def _components(data: bytes, most: int) -> Iterator[tuple[Protocol, int, bytes]]:
    """Each component: what it is, where it starts, and its value, at which nobody has looked."""
    if not 0 < len(data) <= MAX_SIZE:
        raise DecodeError(f"address of {len(data)} bytes, 1 to {MAX_SIZE} allowed")
    offset = count = 0
    while offset < len(data):
        start = offset
        if count == most:
            raise DecodeError(f"address of more than {most} components")
        count += 1
        protocol = BY_PREFIX.get(data[offset : offset + 1]) or BY_PREFIX.get(data[offset : offset + 2])
        if protocol is None:
            raise DecodeError(f"unknown protocol code {varint.decode(data, offset)[0]} in an address")
        offset += 1 if protocol.code < 0x80 else 2
        size = protocol.size
        if size is None:
            size, offset = varint.decode(data, offset, maximum=MAX_SIZE)
        if offset + size > len(data):
            raise DecodeError(f"truncated {protocol.name} in an address")
        yield protocol, start, data[offset : offset + size]
        offset += size


def split_peer(address: Multiaddr) -> tuple[Multiaddr, PeerId | None]:
    """``address`` without the ``/p2p/`` at its end, and that peer or None; of a bare ``/p2p/`` nothing is left."""
    data = bytes(address)
    last = walk(data)[-1]
    if last.protocol is not P2P:
        return address, None
    return Multiaddr(data[: last.start]), PeerId(last.value)


def with_peer(address: Multiaddr, peer: PeerId) -> Multiaddr:
    """``address`` with ``/p2p/<peer>`` at its end; ``ConfigError`` if another peer stands there."""
    named = split_peer(address)[1]
    if named is None:
        return Multiaddr(bytes(address) + P2P.prefixed(bytes(peer)))
    if named != peer:
        raise ConfigError(f"{address} names another peer than {peer}", where=str(address))
    return address


def shown(address: object) -> str:
    """What somebody gave as an address, for a message: in one line, and not without end."""
    text = str(address)
    short = text if len(text) <= SHOWN else text[:SHOWN] + "\N{HORIZONTAL ELLIPSIS}"
    return short if short.isprintable() else repr(short)


def known_part(text: str) -> str | None:
    """What stands in ``text`` before the first component of a kind that we do not know; None: there is no such one.

    The values in it may be wrong, and behind it nothing can be told, not even where the component ends.
    """
    words = text.split("/")
    at = 1
    while at < len(words):
        protocol = BY_NAME.get(words[at])
        if protocol is None:
            return "/".join(words[:at]) if _NAME.fullmatch(words[at]) else None
        at = len(words) if protocol is UNIX else at + (1 if protocol.size == 0 else 2)
    return None


def _from_text(text: str) -> bytes:
    if len(text) > MAX_SIZE:
        raise DecodeError(f"an address has at most {MAX_SIZE} characters, not {len(text)}")
    if not text.startswith("/"):
        raise DecodeError("an address looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3...; a peer id alone is PeerId(text)")
    words = text.removesuffix("/").split("/")[1:]
    out = bytearray()
    while words:
        name = words.pop(0)
        protocol = BY_NAME.get(name)
        if protocol is None:
            raise DecodeError(f"unknown protocol {name[:64]!r} in an address")
        if protocol.size == 0:
            value = ""
        elif not words:
            raise DecodeError(f"{name} without a value in an address")
        elif protocol is UNIX:
            value, words = "/".join(words), []
        else:
            value = words.pop(0)
        out += protocol.prefixed(protocol.to_bytes(value))
    return bytes(out)
