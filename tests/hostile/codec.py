"""Messages field by field, so that any field can be wrong: frames, lines, protobuf, identify, signed records."""

from __future__ import annotations

import os
from collections.abc import Iterable

from stronghold_p2p.encoding.varint import encode as varint
from stronghold_p2p.identity import keys
from stronghold_p2p.yamux import header
from tests.hostile.names import MULTISTREAM, YAMUX

DATA, UPDATE, PINGS, GO_AWAY = header.DATA, header.WINDOW_UPDATE, header.PING, header.GO_AWAY
SYN, ACK, FIN, RST = header.SYN, header.ACK, header.FIN, header.RST
WINDOW = header.INITIAL_WINDOW

SIGNATURE_PREFIX = b"noise-libp2p-static-key:"
RECORD_DOMAIN = b"libp2p-peer-record"
RECORD_TYPE = b"\x03\x01"

noise = os.urandom


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"", version: int = 0) -> bytes:
    return header.HEADER.pack(version, kind, flags, stream, length) + body


def data(stream: int, body: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, len(body), body)


def update(stream: int, credit: int = 0, flags: int = 0) -> bytes:
    return frame(UPDATE, flags, stream, credit)


def ping(value: int, flags: int = SYN) -> bytes:
    return frame(PINGS, flags, 0, value)


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


def ip4_tcp(host: str, port: int) -> bytes:
    """A binary multiaddr."""
    return b"\x04" + bytes(map(int, host.split("."))) + b"\x06" + port.to_bytes(2, "big")


class Identity:
    """An Ed25519 key and what follows from it: the protobuf of the public key, the peer id's bytes and text."""

    def __init__(self) -> None:
        key = keys.Identity()
        self.sign = key.sign
        self.public = key.public_key.encode()
        self.peer = bytes(key.peer_id)
        self.name = str(key.peer_id)


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
