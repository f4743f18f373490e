"""Noise XX through the noiseprotocol package, message by message, and its transport records."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection

from tests.hostile.codec import SIGNATURE_PREFIX, Identity, handshake_payload
from tests.hostile.names import YAMUX
from tests.hostile.wire import PATIENCE, Wire

FULL = 65_519


class Handshake:
    """One side of the handshake; each message is made and sent by the caller, who may do with it what he likes."""

    def __init__(self, identity: Identity, *, initiator: bool) -> None:
        self.identity = identity
        self.initiator = initiator
        private = X25519PrivateKey.generate()
        self.static = private.public_key().public_bytes_raw()
        self.noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        (self.noise.set_as_initiator if initiator else self.noise.set_as_responder)()
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, private.private_bytes_raw())
        self.noise.start_handshake()

    def write(self, payload: bytes = b"") -> bytes:
        return bytes(self.noise.write_message(payload))

    def read(self, message: bytes) -> bytes:
        return bytes(self.noise.read_message(message))

    def payload(self, muxers: Iterable[str] = (YAMUX,), extra: bytes = b"") -> bytes:
        """An honest one."""
        signature = self.identity.sign(SIGNATURE_PREFIX + self.static)
        return handshake_payload(self.identity.public, signature, muxers, extra)

    def pretend_static(self, public: bytes) -> None:
        """Send another static key than the one that is used."""
        state = self.noise.noise_protocol.handshake_state
        state.s.public_bytes = self.static = public

    def channel(self, wire: Wire) -> Channel:
        done = self.noise.noise_protocol
        return Channel(wire, done.cipher_state_encrypt.k, done.cipher_state_decrypt.k)


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def read_framed(wire: Wire, within: float = PATIENCE) -> bytes:
    return wire.exactly(int.from_bytes(wire.exactly(2, within), "big"), within)


class Channel:
    """Records in both directions; the counters may be set."""

    def __init__(self, wire: Wire, send_key: bytes, receive_key: bytes) -> None:
        self.wire = wire
        self._seal = ChaCha20Poly1305(send_key)
        self._open = ChaCha20Poly1305(receive_key)
        self.sent = 0
        self.received = 0
        self.last = b""  # the last record as it came

    def record(self, plaintext: bytes) -> bytes:
        """One record, to be sent by the caller."""
        sealed = self._seal.encrypt(_nonce(self.sent), plaintext, None)
        self.sent += 1
        return framed(sealed)

    def records(self, plaintext: bytes) -> bytes:
        return b"".join(self.record(plaintext[at : at + FULL]) for at in range(0, len(plaintext), FULL))

    def send(self, plaintext: bytes) -> None:
        self.wire.send(self.records(plaintext))

    def receive(self, within: float = PATIENCE) -> bytes:
        self.last = read_framed(self.wire, within)
        plaintext = self._open.decrypt(_nonce(self.received), self.last, None)
        self.received += 1
        return plaintext

    def at_least(self, count: int) -> bytes:
        """The plaintext of as many records as hold so many bytes."""
        got = b""
        while len(got) < count:
            got += self.receive()
        return got

    def whole(self) -> bool:
        """Whether a whole record waits in the buffer."""
        buffer = self.wire.buffer
        return len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big")


def _nonce(number: int) -> bytes:
    return b"\0\0\0\0" + number.to_bytes(8, "little")
