"""The Noise SymmetricState: what both sides have said so far, hashed, and the keys that follow from it.

Noise spec, 5.2 The SymmetricState object, 4.3 Hash functions and 12.5 The SHA256 hash function. The names
are the spec's: ``ck`` is the chaining key, ``h`` the handshake hash.
"""

from __future__ import annotations

from hashlib import sha256
from hmac import digest
from typing import Final

from stronghold_p2p.errors import DecryptError, HandshakeError
from stronghold_p2p.noise.cipher import CipherState

PROTOCOL_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
"""noise/README.md, Noise Protocol Name. Exactly HASHLEN bytes long, so it is the first hash itself (5.2)."""


def HKDF(ck: bytes, ikm: bytes) -> tuple[bytes, bytes]:
    """Two outputs of the key derivation (Noise spec, 4.3); XX needs no third."""
    temp = digest(ck, ikm, "sha256")
    first = digest(temp, b"\x01", "sha256")
    return first, digest(temp, first + b"\x02", "sha256")


class SymmetricState:
    """The chaining key, the handshake hash and the cipher of one handshake."""

    __slots__ = ("_cipher", "_ck", "h")

    def __init__(self) -> None:
        self._cipher = CipherState()
        self._ck = PROTOCOL_NAME
        self.h = PROTOCOL_NAME

    def MixKey(self, ikm: bytes) -> None:
        """Derive the next chaining key and cipher key from a DH result."""
        self._ck, key = HKDF(self._ck, ikm)
        self._cipher = CipherState(key)

    def MixHash(self, data: bytes) -> None:
        """Add what was sent or received to the transcript."""
        self.h = sha256(self.h + data).digest()

    def EncryptAndHash(self, plaintext: bytes) -> bytes:
        """Seal under the transcript so far, and add the result to it."""
        ciphertext = self._cipher.EncryptWithAd(self.h, plaintext)
        self.MixHash(ciphertext)
        return ciphertext

    def DecryptAndHash(self, ciphertext: bytes) -> bytes:
        """Open what ``EncryptAndHash`` sealed. ``HandshakeError`` when it does not authenticate."""
        try:
            plaintext = self._cipher.DecryptWithAd(self.h, ciphertext)
        except DecryptError:
            raise HandshakeError("a Noise handshake message did not authenticate") from None
        self.MixHash(ciphertext)
        return plaintext

    def Split(self) -> tuple[CipherState, CipherState]:
        """The ciphers of the connection: the initiator sends with the first, the responder with the second."""
        first, second = HKDF(self._ck, b"")
        return CipherState(first), CipherState(second)
