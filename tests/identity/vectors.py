"""The key vectors of peer-ids/peer-ids.md, read from ``tests/vectors``, and DER as a stranger might write it."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent.parent / "vectors" / "peer_ids.json"
KINDS = ["ecdsa", "ed25519", "secp256k1", "rsa"]

RSA_OID = bytes.fromhex("300d06092a864886f70d0101010500")
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017, 9.2, note 1: SHA-256


@cache
def load() -> Any:
    return json.loads(VECTORS.read_text(encoding="utf-8"))


def public(kind: str) -> bytes:
    return bytes.fromhex(load()["keys"][kind]["public"])


def private(kind: str) -> bytes:
    return bytes.fromhex(load()["keys"][kind]["private"])


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def integer(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_spki(modulus: int, exponent: int) -> bytes:
    """A SubjectPublicKeyInfo of any two numbers, whether they make a key or not."""
    return der(0x30, RSA_OID, der(0x03, b"\0", der(0x30, integer(modulus), integer(exponent))))


def padded(message: bytes, bits: int) -> int:
    """What an RSA signature over ``message`` has to be a root of: RFC 8017, 9.2 (EMSA-PKCS1-v1_5)."""
    end = b"\0" + DIGEST_INFO + hashlib.sha256(message).digest()
    return int.from_bytes(b"\0\1" + b"\xff" * ((bits + 7) // 8 - len(end) - 2) + end, "big")


def rsa_of_size(bits: int, message: bytes, exponent: int = 3) -> tuple[bytes, bytes]:
    """A public key of exactly ``bits`` bits and a valid signature, without any private key.

    The signature s is chosen first, and the modulus is s**e minus what has to come out. Good for one message only,
    but for every size, at no cost.
    """
    target = padded(message, bits)
    root = math.isqrt(3 << (bits - 2)) if exponent == 2 else round_root(3 << (bits - 2), exponent)
    while (root**exponent - target) % 2 == 0 or (root**exponent - target).bit_length() != bits:
        root += 1
    return rsa_spki(root**exponent - target, exponent), root.to_bytes((bits + 7) // 8, "big")


def round_root(value: int, exponent: int) -> int:
    low, high = 0, 1 << (value.bit_length() // exponent + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**exponent < value else (low, middle)
    return low
