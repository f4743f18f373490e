"""Public keys as they travel (peer-ids/peer-ids.md, "Keys"): a type and its data, in one canonical protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import verify as signatures

MAX_ENCODED: Final = 2_048


class KeyType(IntEnum):
    """``KeyType`` of the key protobuf."""

    RSA = 0
    ED25519 = 1
    SECP256K1 = 2
    ECDSA = 3


# The sizes that a key may have, and what verifies its signatures.
_KINDS: Final[Mapping[int, tuple[range, signatures.Check]]] = {
    KeyType.RSA: (range(signatures.RSA_KEY + 1), signatures.rsa),
    KeyType.ED25519: (range(signatures.ED25519_KEY, signatures.ED25519_KEY + 1), signatures.ed25519),
    KeyType.SECP256K1: (range(signatures.SECP256K1_KEY, signatures.SECP256K1_KEY + 1), signatures.secp256k1),
    KeyType.ECDSA: (range(signatures.ECDSA_KEY + 1), signatures.ecdsa),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyMessage(Message):
    """``PublicKey`` and ``PrivateKey``, which have the same shape."""

    type: int | None = field(1, "enum")
    data: bytes | None = field(2, "bytes")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An identity key: its ``type`` and the ``data`` in that type's own form."""

    type: KeyType
    data: bytes

    def message(self) -> KeyMessage:
        """The key as a message that others contain."""
        return KeyMessage(type=self.type, data=self.data)

    def encode(self) -> bytes:
        """The canonical protobuf, which a peer id is the hash of: both fields, in order, minimal."""
        return protobuf.encode(self.message())

    @staticmethod
    def decode(data: bytes | bytearray | memoryview) -> "PublicKey":
        """Read the protobuf, canonical or not; ``DecodeError`` for an unknown type, a size that cannot be, and an
        Ed25519 key that is not sound (hostile row 51).
        """
        return PublicKey.from_message(protobuf.decode(KeyMessage, data, max_size=MAX_ENCODED))

    @staticmethod
    def from_message(message: KeyMessage) -> "PublicKey":
        """Check a nested message; ``DecodeError`` as for ``decode``."""
        if message.type is None or message.data is None:
            raise DecodeError("public key without type or data")
        if message.type not in _KINDS:
            raise DecodeError(f"unknown key type {message.type}")
        key_type = KeyType(message.type)
        if len(message.data) not in _KINDS[key_type][0]:
            raise DecodeError(f"{key_type.name} key of {len(message.data)} bytes")
        if key_type is KeyType.ED25519 and not signatures.is_sound(message.data):
            raise DecodeError("ED25519 key of small order, or not in its canonical form")
        return PublicKey(key_type, message.data)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """True if ``signature`` is this key's over ``message``; never raises, whatever the bytes are."""
        return _KINDS[self.type][1](self.data, message, signature)
