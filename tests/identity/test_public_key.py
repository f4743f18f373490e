"""identity/public_key.py: the key protobuf of all four types, from the specification's vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.public_key import KeyType, PublicKey
from tests.identity import vectors


@pytest.mark.parametrize("kind", vectors.KINDS)
def test_vectors(kind: str) -> None:
    encoded = vectors.public(kind)
    key = PublicKey.decode(encoded)
    assert key.type is KeyType[kind.upper()]
    assert key.encode() == encoded
    assert PublicKey.from_message(key.message()) == key
    assert hash(key) == hash(PublicKey.decode(bytearray(encoded)))


def test_a_sloppy_encoding_becomes_the_canonical_one() -> None:
    canonical = vectors.public("ed25519")
    data = canonical[4:]
    sloppy = b"\x12\x20" + data + b"\x08\x81\x00" + b"\x18\x07"
    assert PublicKey.decode(sloppy).encode() == canonical


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "without type or data"),
        (b"\x08\x01", "without type or data"),
        (b"\x12\x20" + bytes(32), "without type or data"),
        (b"\x08\x63\x12\x20" + bytes(32), "unknown key type 99"),
        (b"\x08\x04\x12\x20" + bytes(32), "unknown key type 4"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x20" + bytes(32), "unknown key type -1"),
        (b"\x08\x01\x12\x1f" + bytes(31), "ED25519 key of 31 bytes"),
        (b"\x08\x01\x12\x21" + bytes(33), "ED25519 key of 33 bytes"),
        (b"\x08\x01\x12\x20" + bytes(32), "ED25519 key of small order"),
        (b"\x12\x20\xee" + b"\xff" * 31 + b"\x08\x01", "not in its canonical form"),
        (b"\x08\x02\x12\x20" + bytes(32), "SECP256K1 key of 32 bytes"),
        (b"\x08\x03\x12\x9f\x01" + bytes(159), "ECDSA key of 159 bytes"),
        (b"\x08\x00\x12\xa7\x08" + bytes(1_063), "RSA key of 1063 bytes"),
        (bytes(2_049), "allowed"),
    ],
)
def test_refused(encoded: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        PublicKey.decode(encoded)


@pytest.mark.parametrize("key_type", KeyType)
def test_verify_never_raises(key_type: KeyType) -> None:
    assert not PublicKey(key_type, b"").verify(b"", b"")
    assert not PublicKey(key_type, bytes(64)).verify(b"message", bytes(64))


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    """Nothing but ``DecodeError`` comes out, and what is accepted has a canonical form."""
    try:
        key = PublicKey.decode(data)
    except DecodeError:
        return
    assert PublicKey.decode(key.encode()) == key
