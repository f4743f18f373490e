"""Points of small order, as they travel, and signatures that anybody can make for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha512

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.hostile.codec import noise

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the base point of Ed25519
TRIES = 100  # with a point of order 8 one in eight is a signature

# X25519 (RFC 7748, 6.1), and the ones next to the prime.
_ORDER_8_X = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = [number.to_bytes(32, "little") for number in (0, 1, *_ORDER_8_X, PRIME - 1, PRIME, PRIME + 1)]
LOW_ORDER += [point[:31] + bytes([point[31] | 0x80]) for point in LOW_ORDER]

# Ed25519: y of all eight, then what is not below the prime: the first two of these are of small order again.
_ORDER_8_Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_UNSOUND_Y = {
    "neutral": 1,
    "of order 2": PRIME - 1,
    "of order 4": 0,
    "of order 8": _ORDER_8_Y,
    "of order 8, negative": PRIME - _ORDER_8_Y,
    **{f"y = {y} and the prime": PRIME + y for y in range(19)},
}
UNSOUND = {
    name + (", with a sign" if sign else ""): (y | sign << 255).to_bytes(32, "little")
    for name, y in _UNSOUND_Y.items()
    for sign in (0, 1)
}


def anybody_signs(point: bytes) -> Callable[[bytes], bytes]:
    """Without a private key: R is any point with a known logarithm S, until the hash is a multiple of the key's order.

    For a point of large order that never happens.
    """

    def sign(message: bytes) -> bytes:
        for _ in range(TRIES):
            seed = noise(32)
            scalar = bytearray(sha512(seed).digest()[:32])
            scalar[0] &= 248
            scalar[31] = scalar[31] & 127 | 64
            logarithm = int.from_bytes(scalar, "little") % ORDER
            public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
            signature = public + logarithm.to_bytes(32, "little")
            with suppress(InvalidSignature):
                Ed25519PublicKey.from_public_bytes(point).verify(signature, message)
                return signature
        return bytes(64)

    return sign
