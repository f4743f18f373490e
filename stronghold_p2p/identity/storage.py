"""Key files: PKCS#8 in PEM, readable by their owner only.

A key that is lost or replaced is an identity that is lost, so a file is never overwritten, and it appears under its
name whole or not at all. The only module of this room that touches files.
"""

from __future__ import annotations

import os
import stat
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

from stronghold_p2p.errors import IdentityError

MAX_FILE: Final = 16_384

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not hold us up; absent on Windows


def load(path: Path, *, create: bool = False, passphrase: bytes = b"") -> Ed25519PrivateKey:
    """Read the key at ``path``, or make and save one if there is none and ``create`` is true.

    A symbolic link is followed; what counts is the file behind it. ``IdentityError`` if there is no file, if it is
    not a regular one, if anybody but its owner has rights on it, or if it holds no Ed25519 key under ``passphrase``.
    """
    try:
        data = _read(path)
    except FileNotFoundError:
        if not create:
            raise IdentityError(f"{path} does not exist: create the key first", where=str(path)) from None
        key = Ed25519PrivateKey.generate()
        save(key, path, passphrase=passphrase)
        return key
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}", where=str(path)) from error
    return _parse(data, path, passphrase)


def save(key: Ed25519PrivateKey, path: Path, *, passphrase: bytes = b"") -> None:
    """Write ``key`` to a new file of mode 0600, encrypted if there is a ``passphrase``, and flush it to the disk.

    ``IdentityError`` if anything exists at ``path``, be it a dangling symbolic link, or if it cannot be written.
    """
    data = _serialize(key, path, passphrase)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        try:
            _write(temporary, data)
            _publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_directory(path.parent)
    except FileExistsError:
        raise IdentityError(f"{path} exists and is never overwritten: move it away", where=str(path)) from None
    except OSError as error:
        raise IdentityError(f"{path} cannot be written: {error.strerror}", where=str(path)) from error


def _read(path: Path) -> bytes:
    """Check and read through one descriptor, so that the file that was checked is the one that is read."""
    descriptor = os.open(path, _READ)
    try:
        _check_status(os.fstat(descriptor), path)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_FILE + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE:
        raise IdentityError(f"{path} is too large for a key file", where=str(path))
    return data


def _check_status(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise IdentityError(f"{path} is not a regular file", where=str(path))
    if os.name == "posix" and status.st_mode & 0o077:
        raise IdentityError(f"others can read it: chmod 600 {path}", where=str(path))


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


def _serialize(key: Ed25519PrivateKey, path: Path, passphrase: bytes) -> bytes:
    try:
        encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    except ValueError as error:
        raise IdentityError(f"{path}: {error}", where=str(path)) from None


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, _CREATE, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, path: Path) -> None:
    """Give the finished file its name, unless the name is taken."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        # A file system without hard links: take the name with an empty file, then replace that.
        os.close(os.open(path, _CREATE, 0o600))
        os.replace(temporary, path)


def _flush_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
