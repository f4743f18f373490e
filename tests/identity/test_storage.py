"""identity/keys/storage.py: the owner's eyes only, never overwritten, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from stronghold_p2p import files
from stronghold_p2p.errors import ConfigError, IdentityError
from stronghold_p2p.identity.keys import storage
from stronghold_p2p.identity.keys.identity import Identity

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


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


NO_KEYS = [b"no key", b"\xff" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"]


def test_files_that_hold_no_key(tmp_path: Path) -> None:
    storage.save(KEY, tmp_path / "key")
    whole = (tmp_path / "key").read_bytes()
    for content in (*NO_KEYS, *(whole[:end] for end in range(1, len(whole) - 1))):
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


def test_defect_8_a_passphrase_that_is_no_bytes(tmp_path: Path) -> None:
    """It is the caller's mistake, and not the file's; it is not shown."""
    path = tmp_path / "key"
    storage.save(KEY, path, passphrase=b"correct horse")
    wrong: Any
    for wrong in ("correct horse", None, 5, bytearray(b"correct horse")):
        for call in (
            lambda wrong=wrong: Identity.load(path, passphrase=wrong),
            lambda wrong=wrong: Identity.load(tmp_path / "new", create=True, passphrase=wrong),
            lambda wrong=wrong: Identity.from_seed(bytes(32)).save(tmp_path / "new", passphrase=wrong),
            lambda wrong=wrong: Identity.from_pem(path.read_bytes(), passphrase=wrong),
        ):
            kind = type(wrong).__name__
            with pytest.raises(IdentityError, match=f"passphrase= is an? {kind}: take bytes, as text.encode") as caught:
                call()
            assert "horse" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


MANY = """
import sys
from stronghold_p2p import Identity
sys.stdin.readline()
print(Identity.load(sys.argv[1], create=True).peer_id)
"""


NO_LINKS = """
import os
def fail(*given, **options): raise PermissionError(1, "Operation not permitted")
os.link = fail
"""


@pytest.mark.parametrize("hard_links", [True, False])
def test_b03_of_several_processes_that_create_a_key_all_get_the_one_that_was_written(
    tmp_path: Path, *, hard_links: bool
) -> None:
    program = MANY if hard_links else NO_LINKS + MANY
    command = [sys.executable, "-c", program, str(tmp_path / "bob.key")]
    workers = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in range(3)]
    said = [worker.communicate("go\n")[0] for worker in workers]
    assert {*said} == {f"{Identity.load(tmp_path / 'bob.key').peer_id}\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["bob.key"]


def test_b03_who_comes_second_reads_what_the_first_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the worst moment: between the look, which finds nothing, and the creation."""
    path, create = tmp_path / "key", files.create

    def late(where: Path, data: bytes, error: type[ConfigError]) -> None:
        create(where, PEM, error)
        create(where, data, error)

    monkeypatch.setattr(files, "create", late)
    assert is_key(storage.load(path, create=True))
    assert path.read_bytes() == PEM
    path.unlink()
    with pytest.raises(IdentityError, match="never overwritten"):
        storage.save(Ed25519PrivateKey.generate(), path)  # who asked to write has to know


def test_b03_a_file_that_is_about_to_be_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no hard links, the name is taken before the content is there."""
    path = write(tmp_path / "key", b"")
    monkeypatch.setattr(time, "sleep", lambda _seconds: path.write_bytes(PEM))
    assert is_key(storage.load(path, create=True))
    path.write_bytes(b"")
    now = iter([0.0, 0.5, 1.5])
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with pytest.raises(IdentityError, match="it is empty"):
        storage.load(path, create=True)


def test_b08_a_key_that_was_read_in_any_other_way(tmp_path: Path) -> None:
    path = tmp_path / "key"
    storage.save(KEY, path, passphrase=b"correct horse")
    for data in (path.read_bytes(), path.read_text()):
        identity = Identity.from_pem(data, passphrase=b"correct horse")
        assert identity.peer_id == Identity.from_seed(bytes(range(32))).peer_id
    for what, told in (
        (PEM + b" " * 20_000, "too large"),
        ("\udc80", "not a private key"),
        (5, "takes the bytes or the text of a key file, not an int"),
        (path, "takes the bytes or the text of a key file, not a PosixPath"),
    ):
        with pytest.raises(IdentityError, match=told):
            Identity.from_pem(what)  # type: ignore[arg-type]


def test_b08_the_message_for_a_secret_that_others_can_read_names_what_can_be_done(tmp_path: Path) -> None:
    path = write(tmp_path / "key", PEM)
    path.chmod(0o444)
    with pytest.raises(IdentityError, match=r"where that does nothing, Identity\.from_pem\(data\) takes a key"):
        Identity.load(path)
