"""Key files: PKCS#8 in PEM, readable by their owner only.

A key that is lost or replaced is an identity that is lost, so a file is never overwritten, and it appears under its
name whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from stronghold_p2p import files
from stronghold_p2p.errors import IdentityError

MAX_FILE: Final = 16_384


def load(path: Path, *, create: bool = False, passphrase: bytes = b"") -> Ed25519PrivateKey:
    """Read the key at ``path``, or in the file behind that link; make one if there is none and ``create`` is true."""
    try:
        data, _ = files.read(path, MAX_FILE, "key file", IdentityError, private=True)
    except FileNotFoundError:
        if not create:
            raise IdentityError(f"{path} does not exist: create the key first", where=str(path)) from None
        key = Ed25519PrivateKey.generate()
        save(key, path, passphrase=passphrase)
        return key
    return _parse(data, path, passphrase)


def save(key: Ed25519PrivateKey, path: Path, *, passphrase: bytes = b"") -> None:
    """Write ``key`` to a new file of mode 0600, encrypted if there is a ``passphrase``; nothing is overwritten."""
    encryption: KeySerializationEncryption = NoEncryption()
    try:
        if passphrase:
            encryption = BestAvailableEncryption(passphrase)
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    except ValueError as error:
        raise IdentityError(f"{path}: {error}", where=str(path)) from None
    try:
        files.create(path, data, IdentityError)
    except FileExistsError:
        raise IdentityError(f"{path} exists and is never overwritten: move it away", where=str(path)) from None


def _parse(data: bytes, path: Path, passphrase: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(data, passphrase or None)
    except TypeError:
        advice = "is not encrypted: pass no passphrase" if passphrase else "is encrypted: pass its passphrase"
        raise IdentityError(f"{path} {advice}", where=str(path)) from None
    except (ValueError, UnsupportedAlgorithm):
        what = "the passphrase is wrong, or the file is damaged" if passphrase else "not a private key in PKCS#8 PEM"
        raise IdentityError(f"{path}: {what}", where=str(path)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path} holds a key of another type: only Ed25519 is supported", where=str(path))
    return key
