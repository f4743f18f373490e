"""Signed envelopes: a payload, the key that signed it, and for what purpose (RFC 0002 - Signed Envelopes).

The signature covers a ``domain`` that is not transmitted, so that what was signed for one purpose verifies for no
other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from stronghold_p2p.encoding import protobuf, varint
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.public_key import KeyMessage, PublicKey

MAX_FIELDS: Final = 64  # it has four, and its key two
MAX_SIZE: Final = 8_192  # an identify message, the largest that carries one, has no more in go and js


class Signer(Protocol):
    """A key pair, wherever its private key is kept; ``peer_id`` is the name of ``public_key``."""

    peer_id: PeerId
    public_key: PublicKey

    def sign(self, message: bytes, /) -> bytes:
        """The signature over ``message`` that ``public_key`` verifies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvelopeMessage(Message):
    """``Envelope`` on the wire; there is no field 4."""

    public_key: KeyMessage | None = field(1, KeyMessage)  # noqa: RUF009 - a declaration, not a shared default
    payload_type: bytes | None = field(2, "bytes")
    payload: bytes | None = field(3, "bytes")
    signature: bytes | None = field(5, "bytes")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload whose signature was verified, and the key that made it."""

    public_key: PublicKey
    payload: bytes

    @staticmethod
    def seal(signer: Signer, domain: str, payload_type: bytes, payload: bytes) -> bytes:
        """Sign ``payload`` as ``signer`` for ``domain``, and encode the envelope."""
        signature = signer.sign(_signed(domain, payload_type, payload))
        message = EnvelopeMessage(
            public_key=signer.public_key.message(), payload_type=payload_type, payload=payload, signature=signature
        )
        return protobuf.encode(message)

    @staticmethod
    def open(
        data: bytes | bytearray | memoryview,
        domain: str,
        payload_type: bytes,
        look: Callable[[PublicKey, bytes], object] | None = None,
    ) -> "Envelope":
        """Check and open an envelope of at most 8 KiB.

        ``DecodeError`` if it is none, holds another type of payload, or was not signed by its key for ``domain``.
        Whether that key is the expected one is for the caller to check. ``look(key, payload)`` may do so before the
        signature is verified, which costs more than all the rest: what it raises ends that.
        """
        message = protobuf.decode(EnvelopeMessage, data, max_size=MAX_SIZE, max_fields=MAX_FIELDS)
        if message.public_key is None or message.signature is None:
            raise DecodeError("envelope without public key or signature")
        if message.payload_type != payload_type:
            raise DecodeError("envelope with another type of payload")
        key = PublicKey.from_message(message.public_key)
        payload = message.payload or b""
        if look is not None:
            look(key, payload)
        if not key.verify(_signed(domain, payload_type, payload), message.signature):
            raise DecodeError("the envelope's signature does not verify")
        return Envelope(key, payload)


def _signed(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    """The bytes that are signed: each part behind its length (RFC 0002, "Signature Production / Verification")."""
    return b"".join(varint.encode(len(part)) + part for part in (domain.encode(), payload_type, payload))
