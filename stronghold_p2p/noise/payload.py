"""What libp2p says inside the Noise handshake: who we are, and which muxers we speak.

noise/README.md, The libp2p Handshake Payload and Static Key Authentication;
connections/inlined-muxer-negotiation.md, Multiplexer Negotiation over Noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import DecodeError, HandshakeError, PeerIdMismatch
from stronghold_p2p.identity.envelope import Signer
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.public_key import PublicKey
from stronghold_p2p.noise.handshake import KeyPair

SIGNATURE_PREFIX: Final = b"noise-libp2p-static-key:"
"""Comes before the static public key in what the identity key signs (Static Key Authentication)."""

MAX_PAYLOAD: Final = 8_192
"""Bytes of a payload that we read. An RSA key of 8,192 bits with its signature takes 2.1 KiB."""

MAX_MUXERS: Final = 100
"""A longer list of muxers is ignored, as by go."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseExtensions(protobuf.Message):
    """The extension registry (noise/README.md, Noise Extensions); certificate hashes are WebTransport's."""

    webtransport_certhashes: tuple[bytes, ...] = protobuf.field(1, "bytes", repeated=True)
    stream_muxers: tuple[str, ...] = protobuf.field(2, "string", repeated=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseHandshakePayload(protobuf.Message):
    """The plaintext of handshake messages 2 and 3."""

    identity_key: bytes | None = protobuf.field(1, "bytes")
    identity_sig: bytes | None = protobuf.field(2, "bytes")
    extensions: NoiseExtensions | None = protobuf.field(4, NoiseExtensions)  # noqa: RUF009 (a declaration)


@dataclass(frozen=True, slots=True)
class StaticKeys:
    """A static Noise key and the identity's word for it. Made once per process, used by every connection.

    Never stored: a new one costs nothing (noise/README.md, Static Key Authentication).
    """

    pair: KeyPair
    identity_key: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def create(cls, identity: Signer, private: bytes) -> StaticKeys:
        """For ``identity``; ``private`` are the static key's 32 random bytes."""
        pair = KeyPair.create(private)
        signature = identity.sign(SIGNATURE_PREFIX + pair.public)
        return cls(pair, identity.public_key.encode(), signature)


def make(local: StaticKeys, muxers: tuple[str, ...]) -> bytes:
    """Our payload. Without ``muxers`` it has no extensions, and the other side negotiates by multistream."""
    extensions = NoiseExtensions(stream_muxers=muxers) if muxers else None
    return protobuf.encode(
        NoiseHandshakePayload(identity_key=local.identity_key, identity_sig=local.signature, extensions=extensions)
    )


def check(data: bytes, rs: bytes, expected: PeerId | None) -> tuple[PeerId, PublicKey, tuple[str, ...]]:
    """Who sent ``data`` beside the static key ``rs``: peer id, identity key, and the muxers if they are not too many.

    ``PeerIdMismatch`` when it is somebody else than ``expected``, ``HandshakeError`` when it proves nothing.
    """
    try:
        payload = protobuf.decode(NoiseHandshakePayload, data, max_size=MAX_PAYLOAD)
        public_key = PublicKey.decode(payload.identity_key or b"")
    except DecodeError as error:
        raise HandshakeError(f"Noise payload: {error}") from None
    if not public_key.verify(SIGNATURE_PREFIX + rs, payload.identity_sig or b""):
        raise HandshakeError("the identity key did not sign the static Noise key")
    peer = PeerId.from_public_key(public_key)
    if expected is not None and peer != expected:
        raise PeerIdMismatch(expected=expected, actual=peer)
    muxers = payload.extensions.stream_muxers if payload.extensions is not None else ()
    return peer, public_key, muxers if len(muxers) <= MAX_MUXERS else ()
