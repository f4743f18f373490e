"""Signatures of the four key types of libp2p (peer-ids/peer-ids.md, "Key Types").

A key comes from a stranger, so each function refuses by size and shape before any mathematics: a 16,384-bit RSA key
or an exponent of 3,001 bits costs milliseconds, and the stranger chooses how often. None of them raises on hostile
input; a key that is none verifies nothing.

DER keys have to be exactly what we would write: whatever comes back different after parsing (trailing bytes,
indefinite lengths, PKCS#1 instead of SubjectPublicKeyInfo, compressed points, other parameters) is refused.
"""

from collections.abc import Callable
from functools import wraps
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

ED25519_KEY: Final = 32
SECP256K1_KEY: Final = 33
RSA_BITS: Final = range(2_048, 8_192 + 1)
RSA_KEY: Final = 1_062  # SubjectPublicKeyInfo with a modulus of 8,192 bits and an exponent of 32
ECDSA_KEY: Final = 158  # SubjectPublicKeyInfo of P-521
_PRIME: Final = 2**255 - 19
_SIGN: Final = 1 << 255  # of x: the highest bit of a key
_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER: Final = (0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8)  # y of these eight points
_UNSOUND: Final = frozenset(
    (y | sign).to_bytes(ED25519_KEY, "little") for y in (*_SMALL_ORDER, *range(_PRIME, _SIGN)) for sign in (0, _SIGN)
)
ECDSA_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")

Check: TypeAlias = Callable[[bytes, bytes, bytes], bool]

_REFUSED: Final = (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, OverflowError)


def _never_raises(check: Check) -> Check:
    """A check that raises refuses; one that returns has to say what it found."""

    @wraps(check)
    def checked(key: bytes, message: bytes, signature: bytes) -> bool:
        try:
            return check(key, message, signature)
        except _REFUSED:
            return False

    return checked


def is_sound(key: bytes) -> bool:
    """False for an Ed25519 key of small order, for which anybody can sign, and for a second way to write a point.

    OpenSSL takes both: RFC 8032, 5.1.3 refuses a y that is not below the prime, and an x of 0 with a sign, which only
    points of small order have. That makes 48 texts.
    """
    return key not in _UNSOUND


@_never_raises
def ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032; the key is 32 raw bytes, and ``is_sound``."""
    if not is_sound(key):
        return False
    Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    return True


@_never_raises
def rsa(key: bytes, message: bytes, signature: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 with SHA-256; SubjectPublicKeyInfo of 2,048 to 8,192 bits, exponent odd and 3 to 2**32."""
    if len(key) > RSA_KEY:
        return False
    public = load_der_public_key(key)
    if not isinstance(public, RSAPublicKey) or public.key_size not in RSA_BITS or not _is_canonical(public, key):
        return False
    numbers = public.public_numbers()
    if not (numbers.n & 1 and numbers.e & 1 and 3 <= numbers.e < 1 << 32):
        return False
    public.verify(signature, message, PKCS1v15(), SHA256())
    return True


@_never_raises
def ecdsa(key: bytes, message: bytes, signature: bytes) -> bool:
    """ECDSA with SHA-256, signature in DER; SubjectPublicKeyInfo on P-256, P-384 or P-521."""
    if len(key) > ECDSA_KEY:
        return False
    public = load_der_public_key(key)
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in ECDSA_CURVES:
        return False
    return _is_canonical(public, key) and _ecdsa_verifies(public, message, signature)


@_never_raises
def secp256k1(key: bytes, message: bytes, signature: bytes) -> bool:
    """ECDSA with SHA-256 on secp256k1, signature in DER; the key is a compressed point of 33 bytes."""
    if len(key) != SECP256K1_KEY:
        return False
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), key)
    return _ecdsa_verifies(public, message, signature)


def _is_canonical(public: RSAPublicKey | ec.EllipticCurvePublicKey, key: bytes) -> bool:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == key


def _ecdsa_verifies(public: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    # SEQUENCE of two INTEGERs, each at most one byte longer than the field: 72 bytes for 256 bits, 139 for 521.
    if len(signature) > 2 * ((public.key_size + 7) // 8 + 3) + 3:
        return False
    public.verify(signature, message, ec.ECDSA(SHA256()))
    return True
