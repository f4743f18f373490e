"""The formats of the layers, by hand: varints, protobuf, lines, keys, peer ids, identify. Nothing of the package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MULTISTREAM = b"\x13/multistream/1.0.0\n"
NOISE = "/noise"
YAMUX = "/yamux/1.0.0"
IDENTIFY = "/ipfs/id/1.0.0"
PUSH = "/ipfs/id/push/1.0.0"
PING = "/ipfs/ping/1.0.0"
PERF = "/perf/1.0.0"
RR = "/bench/rr/1"
ECHO = "/bench/echo/1"
HOLD = "/bench/hold/1"
ASK = "/hostile/ask/1"

SIGNATURE_PREFIX = b"noise-libp2p-static-key:"
RECORD_DOMAIN = b"libp2p-peer-record"
RECORD_TYPE = b"\x03\x01"

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int = 0) -> tuple[int, int]:
    """The number and where it ends; ``IndexError`` when it is cut."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def prefixed(data: bytes) -> bytes:
    return varint(len(data)) + data


def line(text: str | bytes) -> bytes:
    """One multistream message."""
    return prefixed((text.encode() if isinstance(text, str) else text) + b"\n")


def propose(*protocols: str) -> bytes:
    """The header and proposals, all in one flight."""
    return MULTISTREAM + b"".join(map(line, protocols))


def blob(number: int, data: bytes) -> bytes:
    """A protobuf field with bytes."""
    return varint(number << 3 | 2) + prefixed(data)


def integer(number: int, value: int) -> bytes:
    """A protobuf field with a varint."""
    return varint(number << 3) + varint(value)


def fields(data: bytes) -> dict[int, list[bytes | int]]:
    """A protobuf message that has only these two kinds of field."""
    found: dict[int, list[bytes | int]] = {}
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if key & 7 == 2:
            found.setdefault(key >> 3, []).append(data[at : at + value])
            at += value
        else:
            found.setdefault(key >> 3, []).append(value)
    return found


def base58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def ip4_tcp(host: str, port: int) -> bytes:
    """A binary multiaddr."""
    return b"\x04" + bytes(map(int, host.split("."))) + b"\x06" + port.to_bytes(2, "big")


@dataclass(frozen=True)
class Identity:
    """An Ed25519 key and what follows from it."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        """The public key's protobuf."""
        return integer(1, 1) + blob(2, self.key.public_key().public_bytes_raw())

    @property
    def peer(self) -> bytes:
        """The peer id: a multihash that holds the key itself."""
        return b"\0" + prefixed(self.public)

    @property
    def name(self) -> str:
        return base58(self.peer)

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data)


def envelope(
    identity: Identity,
    payload: bytes,
    *,
    domain: bytes = RECORD_DOMAIN,
    kind: bytes = RECORD_TYPE,
    signer: Identity | None = None,
) -> bytes:
    """A signed envelope; ``signer`` signs in the name of ``identity``."""
    signature = (signer or identity).sign(prefixed(domain) + prefixed(kind) + prefixed(payload))
    return blob(1, identity.public) + blob(2, kind) + blob(3, payload) + blob(5, signature)


def peer_record(peer: bytes, seq: int, addresses: Iterable[bytes]) -> bytes:
    listed = b"".join(blob(3, blob(1, address)) for address in addresses)
    return blob(1, peer) + integer(2, seq) + listed


def identify(
    identity: Identity | None,
    *,
    addresses: Iterable[bytes] = (),
    protocols: Iterable[str | bytes] = (),
    agent: bytes = b"hostile",
    record: bytes | None = None,
) -> bytes:
    """An identify message, without its length."""
    names = (name.encode() if isinstance(name, str) else name for name in protocols)
    parts = [] if identity is None else [blob(1, identity.public)]
    parts += [blob(2, address) for address in addresses]
    parts += [blob(3, name) for name in names]
    parts += [blob(5, b"ipfs/0.1.0"), blob(6, agent)]
    if record is not None:
        parts.append(blob(8, record))
    return b"".join(parts)


def handshake_payload(key: bytes, signature: bytes, muxers: Iterable[str] = (YAMUX,), extra: bytes = b"") -> bytes:
    """What libp2p says inside the Noise handshake."""
    listed = b"".join(blob(2, muxer.encode()) for muxer in muxers)
    return blob(1, key) + blob(2, signature) + (blob(4, listed) if listed else b"") + extra


def noise(count: int) -> bytes:
    return os.urandom(count)
