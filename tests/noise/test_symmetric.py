"""noise/symmetric.py: transcript hash and key derivation."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf import hkdf

from stronghold_p2p.errors import HandshakeError
from stronghold_p2p.noise.symmetric import HKDF, PROTOCOL_NAME, SymmetricState


def test_the_name_is_the_first_hash() -> None:
    assert len(PROTOCOL_NAME) == 32
    assert SymmetricState().h == PROTOCOL_NAME
    state = SymmetricState()
    state.MixHash(b"")
    assert state.h == sha256(PROTOCOL_NAME).digest()


@pytest.mark.parametrize("ikm", [b"", b"\x01" * 32, b"x" * 100])
def test_hkdf_is_that_of_rfc_5869(ikm: bytes) -> None:
    expected = hkdf.HKDF(algorithm=SHA256(), length=64, salt=b"s" * 32, info=b"").derive(ikm)
    assert b"".join(HKDF(b"s" * 32, ikm)) == expected


def test_what_was_said_before_authenticates_what_is_said_now() -> None:
    one, two = SymmetricState(), SymmetricState()
    one.MixHash(b"one")
    two.MixHash(b"two")
    one.MixKey(b"k" * 32)
    two.MixKey(b"k" * 32)
    before = two.h
    with pytest.raises(HandshakeError):
        two.DecryptAndHash(one.EncryptAndHash(b"text"))
    assert two.h == before
