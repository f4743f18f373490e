"""identity/verify.py: four key types, and what a stranger may send instead of a key or a signature."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.identity import verify
from tests.identity.vectors import der, padded, rsa_of_size, rsa_spki

Verifier = Callable[[bytes, bytes, bytes], bool]

MESSAGE = b"what was signed"
RSA_PRIVATE = rsa.generate_private_key(65_537, 2_048)
ED25519_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def spki(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ecdsa_case(curve: ec.EllipticCurve) -> tuple[bytes, bytes]:
    private = ec.derive_private_key(123_456_789, curve)
    return spki(private), private.sign(MESSAGE, ec.ECDSA(SHA256()))


def secp256k1_case() -> tuple[bytes, bytes]:
    private = ec.derive_private_key(987_654_321, ec.SECP256K1())
    key = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return key, private.sign(MESSAGE, ec.ECDSA(SHA256()))


CASES: dict[str, tuple[Verifier, bytes, bytes]] = {
    "ed25519": (verify.ed25519, ED25519_PRIVATE.public_key().public_bytes_raw(), ED25519_PRIVATE.sign(MESSAGE)),
    "rsa": (verify.rsa, spki(RSA_PRIVATE), RSA_PRIVATE.sign(MESSAGE, PKCS1v15(), SHA256())),
    "ecdsa P-256": (verify.ecdsa, *ecdsa_case(ec.SECP256R1())),
    "ecdsa P-384": (verify.ecdsa, *ecdsa_case(ec.SECP384R1())),
    "ecdsa P-521": (verify.ecdsa, *ecdsa_case(ec.SECP521R1())),
    "secp256k1": (verify.secp256k1, *secp256k1_case()),
}
each = pytest.mark.parametrize("name", CASES)


PRIME = 2**255 - 19
ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
UNSOUND = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, PRIME - 1, ORDER_8, PRIME - ORDER_8, *range(PRIME, 2**255))  # small order, and not canonical
    for sign in (0, 1)
]


def test_each_unsound_point_is_one_of_small_order_or_not_canonical() -> None:
    assert len(UNSOUND) == 48
    for key in UNSOUND:
        assert not verify.is_sound(key)
    for y in (2, 3, PRIME - 2, ORDER_8 + 1):
        assert verify.is_sound(y.to_bytes(32, "little"))
    for seed in range(100):
        private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        assert verify.is_sound(private.public_key().public_bytes_raw())


def test_for_a_key_of_small_order_anybody_could_sign() -> None:
    """Hostile row 51: OpenSSL takes it. With the neutral element as key, a signature is a point and its logarithm."""
    seed = bytes(range(32))
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    order = 2**252 + 27742317777372353535851937790883648493
    logarithm = int.from_bytes(digest, "little") % order
    signature = ED25519_PRIVATE.public_key().public_bytes_raw() + logarithm.to_bytes(32, "little")
    neutral = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(neutral).verify(signature, MESSAGE)
    assert not verify.ed25519(neutral, MESSAGE, signature)


@each
def test_good_signature(name: str) -> None:
    verifies, key, signature = CASES[name]
    assert verifies(key, MESSAGE, signature)
    assert not verifies(key, MESSAGE + b"!", signature)
    assert not verifies(key, b"", signature)


@each
def test_each_byte_of_the_key_and_of_the_signature_counts(name: str) -> None:
    verifies, *good = CASES[name]
    for which, part in enumerate(good):
        for index in range(len(part)):
            changed = [*good]
            changed[which] = part[:index] + bytes([part[index] ^ 1]) + part[index + 1 :]
            assert not verifies(changed[0], MESSAGE, changed[1]), (which, index)


@each
def test_lengths(name: str) -> None:
    verifies, key, signature = CASES[name]
    for wrong in (b"", signature[:-1], signature + b"\0", b"\0" + signature, signature * 100):
        assert not verifies(key, MESSAGE, wrong)
    for wrong in (b"", key[:-1], key + b"\0", b"\0" + key, key * 100):
        assert not verifies(wrong, MESSAGE, signature)


@given(st.sampled_from([verify.ed25519, verify.rsa, verify.ecdsa, verify.secp256k1]), st.binary(), st.binary())
def test_nothing_comes_out_of_any_bytes(verifies: Verifier, key: bytes, signature: bytes) -> None:
    assert not verifies(key, MESSAGE, signature)
    assert not verifies(key[:32].ljust(32, b"\1"), MESSAGE, signature[:64].ljust(64, b"\0"))


@pytest.mark.parametrize("bits", [2_048, 2_056, 3_072, 4_096, 8_192, 1_024, 2_040, 2_047, 8_193, 8_200, 16_384])
def test_rsa_sizes(bits: int) -> None:
    """The signatures are good ones: it is the size that is refused."""
    key, signature = rsa_of_size(bits, MESSAGE)
    assert verify.rsa(key, MESSAGE, signature) == (2_048 <= bits <= 8_192)


def rsa_with_exponent(exponent: int) -> tuple[bytes, bytes]:
    """A key of two known primes with an exponent from here on, and its signature, computed by hand."""
    numbers = RSA_PRIVATE.private_numbers()
    while math.gcd(exponent, (numbers.p - 1) * (numbers.q - 1)) != 1:
        exponent += 2
    modulus = numbers.p * numbers.q
    secret = pow(exponent, -1, math.lcm(numbers.p - 1, numbers.q - 1))
    return rsa_spki(modulus, exponent), pow(padded(MESSAGE, 2_048), secret, modulus).to_bytes(256, "big")


@pytest.mark.parametrize(("start", "good"), [(65_537, True), ((1 << 31) + 1, True), ((1 << 32) + 1, False), (1, False)])
def test_rsa_exponents(start: int, good: bool) -> None:
    key, signature = rsa_with_exponent(start)
    assert verify.rsa(key, MESSAGE, signature) == good


def test_rsa_even_numbers() -> None:
    modulus = RSA_PRIVATE.public_key().public_numbers().n
    assert not verify.rsa(rsa_spki(modulus - 1, 65_537), MESSAGE, CASES["rsa"][2])
    key, signature = rsa_of_size(2_048, MESSAGE, exponent=2)
    assert not verify.rsa(key, MESSAGE, signature)


def test_rsa_has_one_encoding() -> None:
    """Good keys with good signatures, in a form that hashes to another peer id."""
    _, key, signature = CASES["rsa"]
    numbers = RSA_PRIVATE.public_key().public_numbers()
    pkcs1 = RSA_PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    indefinite = b"\x30\x80" + key[4:] + b"\0\0"
    long_length = b"\x30\x83\x00" + key[2:]
    assert key == rsa_spki(numbers.n, numbers.e)
    without_parameters = der(0x30, bytes.fromhex("300b06092a864886f70d010101"), der(0x03, b"\0", pkcs1))
    for other in (pkcs1, indefinite, long_length, without_parameters, key + b"\0"):
        assert not verify.rsa(other, MESSAGE, signature)


def test_keys_of_another_kind() -> None:
    p256, p256_signature = ecdsa_case(ec.SECP256R1())
    assert not verify.rsa(p256, MESSAGE, p256_signature)
    assert not verify.ecdsa(CASES["rsa"][1][:158], MESSAGE, p256_signature)
    ed25519 = ED25519_PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert not verify.ecdsa(ed25519, MESSAGE, ED25519_PRIVATE.sign(MESSAGE))


@pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.SECP256K1(), ec.BrainpoolP256R1()], ids=lambda curve: curve.name)
def test_ecdsa_on_another_curve(curve: ec.EllipticCurve) -> None:
    key, signature = ecdsa_case(curve)
    assert not verify.ecdsa(key, MESSAGE, signature)


def test_ecdsa_has_one_encoding() -> None:
    key, signature = ecdsa_case(ec.SECP256R1())
    point = key[-64:]
    compressed = bytes((2 + (point[-1] & 1),)) + point[:32]
    algorithm = key[2:23]
    assert der(0x30, algorithm, der(0x03, b"\0\4" + point)) == key
    assert not verify.ecdsa(der(0x30, algorithm, der(0x03, b"\0" + compressed)), MESSAGE, signature)
    assert not verify.ecdsa(b"\x30\x80" + key[2:] + b"\0\0", MESSAGE, signature)


def test_secp256k1_points() -> None:
    key, signature = secp256k1_case()
    off_curve = next(candidate for x in range(1, 100) if not _is_point(candidate := b"\x02" + x.to_bytes(32, "big")))
    other_form = b"\x04" + key[1:]
    for wrong in (off_curve, other_form, b"\x05" + key[1:], b"\x02" + b"\xff" * 32, bytes(33)):
        assert not verify.secp256k1(wrong, MESSAGE, signature)


def _is_point(encoded: bytes) -> bool:
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), encoded)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "key",
    [rsa_spki((1 << 16_383) | 1, 65_537), rsa_spki((1 << 2_047) | 1, (1 << 3_000) | 1), b"\x30\x82\xff\xff" * 16_384],
    ids=["16,384 bits", "exponent of 3,001 bits", "64 KiB of DER"],
)
def test_refused_without_mathematics(key: bytes) -> None:
    def seconds() -> float:
        start = time.process_time()
        assert not verify.rsa(key, MESSAGE, bytes(256))
        return time.process_time() - start

    assert min(seconds() for _ in range(10)) < 0.001
