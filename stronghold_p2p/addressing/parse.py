"""Addresses are multiaddrs, checked strictly (multiformats/multiaddr, "Specification"; libp2p addressing/README.md).

An address is a row of components, each a code and a value whose length the code tells. Its object is a ``Multiaddr``
of the ``multiaddr`` package, but that package takes any bytes and fails later, when they are printed or walked. So
whatever comes from outside passes this module first: a walk over codes, lengths and values of our own, and for text a
parser that produces those bytes. What ``parse`` returns can be printed, and its text parses back to the same bytes.

An unknown code ends the walk, because the length of its value is unknown too; that loses one address, never the
message it came in.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import BY_NAME, BY_PREFIX, P2P, UNIX, Protocol
from stronghold_p2p.addressing.pasted import advice_for
from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.identity.peer_id import CID_PREFIX, PeerId

MAX_SIZE: Final = 1_024  # bytes, and characters
MAX_COMPONENTS: Final = 32
SHOWN: Final = 200  # characters of what is no address
_NAME: Final = re.compile("[a-z0-9-]{1,64}")
P2P_CODE: Final = varint.encode(P2P.code)  # an address without these bytes names no peer
UNIX_CODE: Final = varint.encode(UNIX.code)
IP_TCP: Final = re.compile(rb"(?:\x04(.{4})|\x29(.{16}))\x06..", re.DOTALL)
"""An IP address and a TCP port: what has this shape is an address, whatever the values."""


@dataclass(frozen=True)
class Part:
    """One component of an address, and where it starts."""

    protocol: Protocol
    value: bytes
    start: int


class CheckedAddress(Multiaddr):
    """A ``Multiaddr`` whose text is ours: the package has none for names such as ``my_relay``."""

    __slots__ = ()

    def __str__(self) -> str:
        try:
            return text_of(self._bytes)
        except DecodeError:  # somebody has made another one of it, with the package's own methods
            return super().__str__()


def parse(address: str | bytes | Multiaddr) -> Multiaddr:
    """An address from its text, its bytes, or the package's object; ``DecodeError`` as for ``walk``.

    Text starts with a slash and may end with one; ``/p2p/`` (or the old ``/ipfs/``) takes every form of a peer id.
    """
    if isinstance(address, str):
        data = _from_text(address)
    elif isinstance(address, Multiaddr):
        data = _from_object(address)
    else:
        data = bytes(address)
    _check(data)
    return CheckedAddress(data)


def _check(data: bytes) -> None:
    if not IP_TCP.fullmatch(data):
        walk(data)


def text_of(data: bytes) -> str:
    """The text of an address that was checked."""
    if len(data) == 8 and IP_TCP.fullmatch(data):  # as nearly all are
        return f"/ip4/{data[1]}.{data[2]}.{data[3]}.{data[4]}/tcp/{data[6] << 8 | data[7]}"
    text = ""
    for protocol, _, value in _components(data, MAX_COMPONENTS):
        text += "/" + protocol.name if protocol.size == 0 else f"/{protocol.name}/{protocol.to_text(value)}"
    return text


def _from_object(address: Multiaddr) -> bytes:
    """The bytes of an object that somebody else may have made.

    The package keeps in them the CID that stood behind ``/p2p/``, where a multihash belongs (addressing/README.md,
    "p2p"), and loses the first slash of a path.
    """
    data = address.to_bytes()
    if P2P_CODE not in data and UNIX_CODE not in data:
        return data
    right = b""
    for protocol, _, value in _components(data, MAX_COMPONENTS):
        if protocol is P2P:
            value = value.removeprefix(CID_PREFIX)
        elif protocol is UNIX and not value.startswith(b"/"):
            value = b"/" + value
        right += protocol.prefixed(value)
    return right


def walk(data: bytes) -> list[Part]:
    """The components of a binary address.

    ``DecodeError`` for an unknown code, a truncated value or one of the wrong size or shape, and for an address that is
    empty, above 1 KiB or above 32 components.
    """
    parts: list[Part] = []
    for protocol, start, value in _components(data, MAX_COMPONENTS):
        protocol.check(value)
        if parts and parts[-1].protocol is UNIX:
            raise DecodeError("in an address nothing stands behind a path, which would be a part of it")
        parts.append(Part(protocol, value, start))
    return parts


def beginning(data: bytes) -> list[Part]:
    """The first two components of a binary address, which tell the host; nobody has looked at the others."""
    parts: list[Part] = []
    for protocol, start, value in islice(_components(data, MAX_COMPONENTS), 2):
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
    return CheckedAddress(data[: last.start]), PeerId(last.value)


def with_peer(address: Multiaddr, peer: PeerId) -> Multiaddr:
    """``address`` with ``/p2p/<peer>`` at its end; ``ConfigError`` if another peer stands there."""
    named = split_peer(address)[1]
    if named is None:
        return CheckedAddress(bytes(address) + P2P.prefixed(bytes(peer)))
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
    try:
        return _encoded(text)
    except DecodeError as error:
        advice = advice_for(text)
        raise DecodeError(f"{error}: {advice}" if advice else str(error)) from None


def _encoded(text: str) -> bytes:
    if not text.startswith("/"):
        raise DecodeError("an address looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3...")
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
