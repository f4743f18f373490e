"""Messages field by field, so that any field can be wrong: lines, protobuf, what a handshake says."""

from __future__ import annotations

import os
from collections.abc import Iterable

from stronghold_p2p.encoding.varint import encode as varint
from stronghold_p2p.encoding.varint import leb128
from stronghold_p2p.identity.keys import identity as keys
from tests.hostile.names import MULTISTREAM, YAMUX

SIGNATURE_PREFIX = b"noise-libp2p-static-key:"

noise = os.urandom


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
    """A protobuf field with a varint, of up to 64 bits."""
    return varint(number << 3) + leb128(value)


class Identity:
    """An Ed25519 key and what follows from it: the protobuf of the public key, the peer id's bytes and text."""

    def __init__(self) -> None:
        key = keys.Identity()
        self.sign = key.sign
        self.public = key.public_key.encode()
        self.peer = bytes(key.peer_id)
        self.name = str(key.peer_id)


def handshake_payload(key: bytes, signature: bytes, muxers: Iterable[str] = (YAMUX,), extra: bytes = b"") -> bytes:
    """What libp2p says inside the Noise handshake."""
    listed = b"".join(blob(2, muxer.encode()) for muxer in muxers)
    return blob(1, key) + blob(2, signature) + (blob(4, listed) if listed else b"") + extra
