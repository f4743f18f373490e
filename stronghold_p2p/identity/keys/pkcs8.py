"""PKCS#8 in its second version, "One Asymmetric Key" (RFC 5958), for Ed25519 (RFC 8410, section 7).

The first version is left to OpenSSL, which does not read this one. ring, RustCrypto and Java write it: it repeats the
public key. Two forms of that field are in use, that of the standard and the one that ring wrote until its 0.17.
"""

import re
from typing import Final

ALGORITHM: Final = bytes.fromhex("300506032b6570")  # SEQUENCE of the OID 1.3.101.112
SEED: Final = bytes.fromhex("04220420")  # OCTET STRING in an OCTET STRING, of 32 bytes
SEED_AT: Final = 16  # where it stands in either version, if the whole is shorter than 128 bytes

_INSIDE: Final = re.compile(
    rb"\x02\x01[\x00\x01]" + re.escape(ALGORITHM + SEED) + rb"(.{32})"
    rb"(\xa0[\x00-\x7f])?"  # attributes, which nobody needs
    rb"(.*)",
    re.DOTALL,
)
_PUBLIC: Final = re.compile(rb"(?:\x81\x21\x00|\xa1\x23\x03\x21\x00)(.{32})", re.DOTALL)


def decode(der: bytes) -> tuple[bytes, bytes | None] | None:
    """The seed of a private key, and the public key that stands beside it, if one does; None: ``der`` is no such key.

    Whether the two belong together is for the caller to see.
    """
    if not der.startswith(b"\x30"):
        return None
    head, size = (3, der[2]) if der[1:2] == b"\x81" and len(der) > 2 else (2, der[1] if len(der) > 1 else 0)
    if head + size != len(der) or (head == 2) != (size < 0x80):
        return None
    found = _INSIDE.fullmatch(der[head:])
    if found is None:
        return None
    seed, attributes, rest = found[1], found[2], found[3]
    if attributes is not None:
        rest = rest[attributes[1] :]
    public = _PUBLIC.fullmatch(rest)
    if rest and public is None:
        return None
    return seed, None if public is None else public[1]
