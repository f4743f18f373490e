"""noise/symmetric.py: transcript hash and key derivation."""

from __future__ import annotations

import pytest

from stronghold_p2p.errors import HandshakeError
from stronghold_p2p.noise.symmetric import SymmetricState


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
