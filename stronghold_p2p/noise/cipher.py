"""The Noise CipherState: one key, one counter, one direction.

Noise spec, 5.1 The CipherState object, and 12.3 The ChaChaPoly cipher functions. The names are the spec's.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from stronghold_p2p.errors import ConnectionClosed, DecryptError

TAGLEN: Final = 16
"""Bytes that the AEAD adds to a plaintext."""

MAX_NONCE: Final = 2**64 - 1
"""Reserved (Noise spec, 5.1): the last message of a key is sealed under ``MAX_NONCE - 1``."""

pack_nonce: Final = Struct("<4xQ").pack
"""A counter as ChaChaPoly's nonce: four zero bytes, then the counter in eight, little-endian (12.3)."""


class CipherState:
    """Encrypts or decrypts the messages of one direction in order. Without a key (``None``) it passes them through.

    ``n`` is the counter of the next message; giving it is for tests of its limit. ``aead`` is the keyed
    cipher, which the record layer takes over together with ``n``; the key itself is not kept.
    """

    __slots__ = ("aead", "n")

    def __init__(self, key: bytes | None = None, *, n: int = 0) -> None:
        self.aead = None if key is None else ChaCha20Poly1305(key)
        self.n = n

    def EncryptWithAd(self, ad: bytes, plaintext: bytes) -> bytes:
        """Seal ``plaintext``. ``ConnectionClosed`` when the counter is used up."""
        if self.aead is None:
            return plaintext
        ciphertext = self.aead.encrypt(self._nonce(), plaintext, ad)
        self.n += 1
        return ciphertext

    def DecryptWithAd(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Open ``ciphertext``. ``DecryptError`` when it does not authenticate; the counter then stays (5.1)."""
        if self.aead is None:
            return ciphertext
        try:
            plaintext = self.aead.decrypt(self._nonce(), ciphertext, ad)
        except InvalidTag:
            raise DecryptError("a Noise message did not authenticate") from None
        self.n += 1
        return plaintext

    def _nonce(self) -> bytes:
        # noise/README.md, Encryption and I/O: terminate the connection rather than use a nonce twice.
        if self.n >= MAX_NONCE:
            raise ConnectionClosed("the Noise counter is used up")
        return pack_nonce(self.n)
