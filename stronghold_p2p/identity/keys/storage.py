"""Keys as PKCS#8 in PEM, and the files that hold them, readable by their owner only.

A key that is lost or replaced is an identity that is lost, so a file is never overwritten, and it appears under its
name whole or not at all.
"""

import binascii
import re
import time
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
from stronghold_p2p.arguments import kind_of
from stronghold_p2p.errors import IdentityError
from stronghold_p2p.identity.keys import forms, pkcs8

MAX_FILE: Final = 16_384
ELSEWHERE: Final = "Identity.from_pem(data) takes a key that was read in any other way"
APPEARS: Final = 1.0  # seconds in which another process, which has taken the name, fills the file
LOOK: Final = 0.01  # seconds between two looks for that

_PEM: Final = re.compile(rb"-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]*)-----END PRIVATE KEY-----")


def load(path: Path, *, create: bool = False, passphrase: bytes = b"") -> Ed25519PrivateKey:
    """Read the key at ``path``, or in the file behind that link; make one if there is none and ``create`` is true.

    Of several processes that make one at the same time, all get the one that was written.
    """
    check_passphrase(passphrase)
    data = _read(path, patient=create)
    if data is None and create:
        key = Ed25519PrivateKey.generate()
        try:
            _create(key, path, passphrase)
        except FileExistsError:  # another process was quicker, or there is a link to where nothing is
            if (data := _read(path, patient=True)) is None:
                raise _exists(path) from None
        else:
            return key
    if data is None:
        raise IdentityError(f"{path} does not exist: create the key first", where=str(path))
    return parse(data, str(path), passphrase)


def save(key: Ed25519PrivateKey, path: Path, *, passphrase: bytes = b"") -> None:
    """Write ``key`` to a new file of mode 0600, encrypted if there is a ``passphrase``; nothing is overwritten."""
    check_passphrase(passphrase)
    try:
        _create(key, path, passphrase)
    except FileExistsError:
        raise _exists(path) from None


def parse(data: bytes, name: str, passphrase: bytes) -> Ed25519PrivateKey:
    """The key in ``data``, the text of a PEM file. ``IdentityError``, in which ``name`` names it, says what it is
    instead.
    """
    check_passphrase(passphrase)
    if len(data) > MAX_FILE:
        raise IdentityError(f"{name} is too large for a key: at most {MAX_FILE} bytes", where=name)
    try:
        key = load_pem_private_key(data, passphrase or None)
    except TypeError:
        advice = "is not encrypted: pass no passphrase" if passphrase else "is encrypted: pass its passphrase"
        raise IdentityError(f"{name} {advice}", where=name) from None
    except (ValueError, UnsupportedAlgorithm):
        key = _second_version(data, name, passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{name} {forms.OTHER_TYPE}", where=name)
    return key


def check_passphrase(passphrase: object) -> None:
    """``IdentityError`` for what is no bytes; it is not shown."""
    if not isinstance(passphrase, bytes):
        told = f"passphrase= is {kind_of(passphrase)}: take bytes, as text.encode() makes them"
        raise IdentityError(told, where="passphrase")


def _second_version(data: bytes, name: str, passphrase: bytes) -> Ed25519PrivateKey:
    """The key in ``data``, which OpenSSL does not read; ``IdentityError`` if we do not, either."""
    found = None
    if (pem := _PEM.search(data)) is not None:
        try:
            found = pkcs8.decode(binascii.a2b_base64(pem[1]))
        except binascii.Error:
            found = None
    if found is None:
        wrong = "the passphrase is wrong, or the file is damaged (or PKCS#8 v2, which is read only unencrypted)"
        raise IdentityError(f"{name}: {wrong if passphrase else forms.told(data)}", where=name)
    if passphrase:
        raise IdentityError(f"{name} is not encrypted: pass no passphrase", where=name)
    key = Ed25519PrivateKey.from_private_bytes(found[0])
    if found[1] not in (None, key.public_key().public_bytes_raw()):
        raise IdentityError(f"{name}: the public key inside is not that of the private key", where=name)
    return key


def _read(path: Path, *, patient: bool) -> bytes | None:
    """What the file holds; None: there is none. ``patient``: one that is empty may be about to be written."""
    until = time.monotonic() + APPEARS
    while True:
        try:
            data, _ = files.read(path, MAX_FILE, "key file", IdentityError, private=ELSEWHERE)
        except FileNotFoundError:
            return None
        if data or not patient or time.monotonic() > until:
            return data
        time.sleep(LOOK)


def _create(key: Ed25519PrivateKey, path: Path, passphrase: bytes) -> None:
    encryption: KeySerializationEncryption = NoEncryption()
    try:
        if passphrase:
            encryption = BestAvailableEncryption(passphrase)
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    except ValueError as error:
        raise IdentityError(f"{path}: {error}", where=str(path)) from None
    files.create(path, data, IdentityError)


def _exists(path: Path) -> IdentityError:
    return IdentityError(f"{path} exists and is never overwritten: move it away", where=str(path))
