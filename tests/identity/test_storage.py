"""identity/keys/storage.py: the owner's eyes only, never overwritten, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from stronghold_p2p.errors import IdentityError
from stronghold_p2p.identity.keys import storage

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def is_key(key: Ed25519PrivateKey) -> bool:
    return key.private_bytes_raw() == KEY.private_bytes_raw()


def test_round_trip_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = os.umask(0)
    try:
        storage.save(KEY, path)
    finally:
        os.umask(old)
    assert is_key(storage.load(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert list(tmp_path.iterdir()) == [path]
    path.chmod(0o644)
    with pytest.raises(IdentityError, match=f"others can read it: chmod 600 {path}"):
        storage.load(path)


def test_a_link_to_where_nothing_is_is_not_written_through(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IdentityError, match="never overwritten"):
        storage.load(path, create=True)
    assert list(tmp_path.iterdir()) == [path]


def test_passphrase(tmp_path: Path) -> None:
    path, plain = tmp_path / "key", tmp_path / "plain"
    storage.save(KEY, path, passphrase=b"correct horse")
    storage.save(KEY, plain)
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert is_key(storage.load(path, passphrase=b"correct horse"))
    for file, passphrase, told in (
        (path, b"", "is encrypted: pass its passphrase"),
        (path, b"battery staple", "the passphrase is wrong"),
        (plain, b"secret", "is not encrypted: pass no passphrase"),
    ):
        with pytest.raises(IdentityError, match=told):
            storage.load(file, passphrase=passphrase)


def test_a_passphrase_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(IdentityError):
        storage.save(KEY, tmp_path / "key", passphrase=b"x" * 5_000)
    assert list(tmp_path.iterdir()) == []


NO_KEYS = [b"", b"no key", b"\xff" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"]


def test_files_that_hold_no_key(tmp_path: Path) -> None:
    storage.save(KEY, tmp_path / "key")
    whole = (tmp_path / "key").read_bytes()
    for content in (*NO_KEYS, *(whole[:end] for end in range(len(whole) - 1))):
        with pytest.raises(IdentityError, match="not a private key in PKCS#8 PEM"):
            storage.load(write(tmp_path / "other", content))
    with pytest.raises(IdentityError, match="too large"):
        storage.load(write(tmp_path / "other", b"x" * 20_000))


def test_a_key_of_another_type(tmp_path: Path) -> None:
    data = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(IdentityError, match="only Ed25519"):
        storage.load(write(tmp_path / "key", data))


def failing(number: int) -> Callable[..., None]:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    storage.save(KEY, tmp_path / "key")
    assert is_key(storage.load(tmp_path / "key"))
    with pytest.raises(IdentityError, match="never overwritten"):
        storage.save(Ed25519PrivateKey.generate(), tmp_path / "key")
    assert is_key(storage.load(tmp_path / "key"))
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_elsewhere_modes_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows every file looks readable by all, and folders cannot be flushed."""
    path, text = tmp_path / "key", str(tmp_path / "key")
    monkeypatch.setattr(os, "name", "nt")
    storage.save(KEY, path)
    os.chmod(text, 0o644)
    assert is_key(storage.load(path))
