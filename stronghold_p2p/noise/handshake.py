"""The Noise handshake XX: three messages, written as rows of tokens, walked by both roles alike.

    -> e
    <- e, ee, s, es
    -> s, se

Noise spec, 5.3 The HandshakeState object, 7.5 Interactive handshake patterns and 12.1 The 25519 DH
functions; noise/README.md, Handshake Pattern. The names are the spec's: ``s`` and ``e`` are our static
and ephemeral key pairs, ``rs`` and ``re`` the remote side's public keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from stronghold_p2p.errors import HandshakeError, UsageError
from stronghold_p2p.noise.cipher import TAGLEN, CipherState
from stronghold_p2p.noise.symmetric import SymmetricState

DHLEN: Final = 32
"""Bytes of a public key, of a private key and of a DH result."""

MAX_MESSAGE: Final = 65_535
"""Bytes of any Noise message, in the handshake and after it (Noise spec, 3.4)."""


XX: Final = (("e",), ("e", "ee", "s", "es"), ("s", "se"))
"""Tokens (Noise spec, 5.3). The initiator writes the first and the third message, the responder the second."""

_BROKEN: Final = -1


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An X25519 key pair; ``public`` is its RFC 7748 form, 32 bytes."""

    private: X25519PrivateKey = field(repr=False)
    public: bytes

    @classmethod
    def create(cls, private: bytes) -> KeyPair:
        """From 32 private bytes, any of which are valid (RFC 7748, 5)."""
        key = X25519PrivateKey.from_private_bytes(private)
        return cls(key, key.public_key().public_bytes_raw())


def DH(pair: KeyPair, public: bytes) -> bytes:
    """The shared secret. ``HandshakeError`` when it is all zero, which every low-order point leads to.

    Noise spec, 12.1, leaves that check to the implementation; it keeps a peer from fixing the result.
    """
    try:
        return pair.private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise HandshakeError("a Noise public key of low order") from None


class HandshakeState:
    """One run of XX. ``WriteMessage`` and ``ReadMessage`` alternate; after the third message, ``Split``.

    ``s`` is our static key pair; ``random(n)`` gives the n bytes that the ephemeral key is made of. A call
    out of turn, or after a failure, is a ``UsageError``; what the peer got wrong, a ``HandshakeError``.
    """

    __slots__ = ("_initiator", "_mine", "_random", "_row", "_symmetric", "_theirs")

    def __init__(self, *, initiator: bool, s: KeyPair, random: Callable[[int], bytes], prologue: bytes = b"") -> None:
        self._initiator = initiator
        self._mine = {"s": s}
        self._theirs: dict[str, bytes] = {}
        self._random = random
        self._symmetric = SymmetricState()
        self._symmetric.MixHash(prologue)
        self._row = 0

    @property
    def rs(self) -> bytes:
        """The remote static public key, once it was read."""
        return self._theirs["s"]

    def WriteMessage(self, payload: bytes) -> bytes:
        row = self._begin(writing=True)
        parts = [self._write(token) for token in XX[row]]
        parts.append(self._symmetric.EncryptAndHash(payload))
        self._row = row + 1
        return b"".join(parts)

    def ReadMessage(self, message: bytes) -> bytes:
        """The payload of the next message of the other side."""
        row = self._begin(writing=False)
        rest = message
        for token in XX[row]:
            rest = self._read(token, rest)
        payload = self._symmetric.DecryptAndHash(rest)
        self._row = row + 1
        return payload

    def Split(self) -> tuple[CipherState, CipherState]:
        """The ciphers (send, receive) of our side, once the handshake is finished."""
        if self._row != len(XX):
            raise UsageError("the Noise handshake is not finished")
        first, second = self._symmetric.Split()
        return (first, second) if self._initiator else (second, first)

    def _begin(self, *, writing: bool) -> int:
        """The current row. Until it is done the state counts as broken, so that a failure is final."""
        ours = self._row % 2 == (0 if self._initiator else 1)
        if not 0 <= self._row < len(XX) or ours is not writing:
            raise UsageError("a Noise handshake message out of turn, or after the end")
        row, self._row = self._row, _BROKEN
        return row

    def _write(self, token: str) -> bytes:
        match token:
            case "e":
                e = KeyPair.create(self._random(DHLEN))
                self._mine["e"] = e
                self._symmetric.MixHash(e.public)
                return e.public
            case "s":
                return self._symmetric.EncryptAndHash(self._mine["s"].public)
            case _:
                self._symmetric.MixKey(self._dh(token))
                return b""

    def _read(self, token: str, data: bytes) -> bytes:
        """Apply ``token`` to the front of ``data``; what is left of it."""
        match token:
            case "e":
                self._theirs["e"], rest = _cut(data, DHLEN)
                self._symmetric.MixHash(self._theirs["e"])
                return rest
            case "s":
                # XX sends no static key before the first DH, so it is always encrypted here.
                sealed, rest = _cut(data, DHLEN + TAGLEN)
                self._theirs["s"] = self._symmetric.DecryptAndHash(sealed)
                return rest
            case _:
                self._symmetric.MixKey(self._dh(token))
                return data

    def _dh(self, token: str) -> bytes:
        # Noise spec, 5.3: the first letter names the initiator's key, the second the responder's.
        keys = token if self._initiator else token[::-1]
        return DH(self._mine[keys[0]], self._theirs[keys[1]])


def _cut(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise HandshakeError("a Noise handshake message is too short")
    return data[:size], data[size:]
