"""What identify tells, field by field, so that any field can be wrong: its message, signed records, addresses."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from tests.hostile.codec import Identity, blob, integer, prefixed

RECORD_DOMAIN = b"libp2p-peer-record"
RECORD_TYPE = b"\x03\x01"


def ip4_tcp(host: str, port: int) -> bytes:
    """A binary multiaddr."""
    return b"\x04" + bytes(map(int, host.split("."))) + b"\x06" + port.to_bytes(2, "big")


def ip6_tcp(host: str, port: int) -> bytes:
    return b"\x29" + socket.inet_pton(socket.AF_INET6, host) + b"\x06" + port.to_bytes(2, "big")


def named_tcp(name: str, port: int) -> bytes:
    return b"\x36" + prefixed(name.encode()) + b"\x06" + port.to_bytes(2, "big")


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
