"""noise/cipher.py: counters and their end, and what a failure leaves behind."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from stronghold_p2p.errors import ConnectionClosed, DecryptError
from stronghold_p2p.noise.cipher import MAX_NONCE, CipherState
from tests.noise.pair import KEY


def test_without_a_key_everything_passes_through() -> None:
    cipher = CipherState()
    assert cipher.EncryptWithAd(b"ad", b"text") == b"text"
    assert cipher.DecryptWithAd(b"ad", b"text") == b"text"
    assert cipher.n == 0


def test_each_message_has_its_own_nonce() -> None:
    cipher = CipherState(KEY)
    sealed = [cipher.EncryptWithAd(b"ad", b"text") for _ in range(3)]
    plain = ChaCha20Poly1305(KEY)
    assert sealed == [plain.encrypt(b"\0\0\0\0" + bytes([n]) + bytes(7), b"text", b"ad") for n in range(3)]
    opener = CipherState(KEY)
    assert [opener.DecryptWithAd(b"ad", message) for message in sealed] == [b"text"] * 3
    assert cipher.n == opener.n == 3


@pytest.mark.parametrize("damage", ["other text", "other ad", "short", "empty", "out of order"])
def test_a_failure_does_not_move_the_counter(damage: str) -> None:
    sealed = CipherState(KEY).EncryptWithAd(b"ad", b"text")
    bad, ad = {
        "other text": (sealed[:-1] + bytes([sealed[-1] ^ 1]), b"ad"),
        "other ad": (sealed, b"da"),
        "short": (sealed[:15], b"ad"),
        "empty": (b"", b"ad"),
        "out of order": (CipherState(KEY, n=1).EncryptWithAd(b"ad", b"text"), b"ad"),
    }[damage]
    opener = CipherState(KEY)
    with pytest.raises(DecryptError):
        opener.DecryptWithAd(ad, bad)
    assert opener.n == 0
    assert opener.DecryptWithAd(b"ad", sealed) == b"text"


def test_the_last_nonce_is_never_used() -> None:
    """Hostile row 48, Noise spec 5.1."""
    assert MAX_NONCE == 2**64 - 1
    sealer, opener = CipherState(KEY, n=2**64 - 2), CipherState(KEY, n=2**64 - 2)
    sealed = sealer.EncryptWithAd(b"", b"last")
    assert opener.DecryptWithAd(b"", sealed) == b"last"
    with pytest.raises(ConnectionClosed):
        sealer.EncryptWithAd(b"", b"one more")
    with pytest.raises(ConnectionClosed):
        opener.DecryptWithAd(b"", sealed)
