"""Files that must not be lost: what is read was checked, and what is written is there whole or not at all.

tests/firewall/asking/test_rules_file.py shows what becomes of each step that fails.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from stronghold_p2p import files
from stronghold_p2p.errors import ConfigError, IdentityError


def read(path: Path, *, private: str = "") -> bytes:
    data, stamp = files.read(path, 10, "note", IdentityError, private=private)
    assert stamp == files.stamp(path)
    return data


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"0123456789")
    assert read(path) == b"0123456789"
    (tmp_path / "link").symlink_to(path)
    assert read(tmp_path / "link") == b"0123456789"
    path.write_bytes(b"0123456789!")
    with pytest.raises(IdentityError, match="is too large for a note: at most 10 bytes") as caught:
        read(path)
    assert caught.value.where == str(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")


def test_what_is_huge_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note"
    path.touch()
    os.truncate(path, 1 << 40)
    monkeypatch.setattr("builtins.open", None)
    with pytest.raises(ConfigError, match="too large"):
        read(path)


def test_what_grows_while_it_is_read(tmp_path: Path) -> None:
    """A file that tells no size, as those in /proc do."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    with pytest.raises(ConfigError, match="too large"):
        files.read(Path("/proc/self/status"), 10, "note")


@pytest.mark.skipif(os.name != "posix", reason="modes and FIFOs are POSIX's")
def test_what_is_no_file_and_what_others_may_do(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(ConfigError, match="is not a regular file"):
            read(path)
    path, link = tmp_path / "note", tmp_path / "link"
    path.write_bytes(b"x")
    link.symlink_to(path)  # what counts is the file behind it
    for mode in (0o604, 0o610, 0o601, 0o602):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"others can read it: chmod 600 {link}"):
            read(link, private="take another way")
        if not mode & 0o022:
            assert read(link) == b"x"
            continue
        with pytest.raises(ConfigError, match=f"others can write it: chmod go-w {link}"):
            read(link)
    path.chmod(0o400)  # a read-only file is fine
    assert read(link, private="take another way") == b"x"


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
def test_what_others_own_or_may_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "note"
    path.write_bytes(b"x")
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=f"others can write the folder of {path}: chmod go-w {folder}"):
        read(path)
    folder.chmod(0o1777)  # as /tmp: they cannot replace it
    assert read(path) == b"x"
    folder.chmod(0o755)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    if mine:
        with pytest.raises(ConfigError, match=f"{path} belongs to another user"):
            read(path)
    else:
        assert read(path) == b"x"  # root's are everybody's


@pytest.mark.skipif(os.name != "posix", reason="groups are POSIX's")
@pytest.mark.parametrize(
    ("group", "members", "alone"), [("me", [], True), ("me", ["me"], True), ("me", ["you"], False), ("all", [], False)]
)
def test_a_group_that_has_one_member_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, members: list[str], alone: bool
) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"x")
    path.chmod(0o664)
    number = path.stat().st_gid
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="me", pw_gid=number))
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=group, gr_gid=number, gr_mem=members))
    if alone:
        assert read(path) == b"x"
        return
    with pytest.raises(ConfigError, match="others can write it: chmod go-w"):
        read(path)


def test_replace(tmp_path: Path) -> None:
    path = tmp_path / "note"
    (tmp_path / "link").symlink_to(path)
    assert files.replace(tmp_path / "link", b"one") == files.stamp(path)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    before = files.stamp(path)
    assert files.replace(path, b"two") == files.stamp(path) != before
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert sorted(tmp_path.iterdir()) == [tmp_path / "link", path]


def test_create_takes_no_place_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "note"
    files.create(path, b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for taken in (path, tmp_path / "link"):
        with pytest.raises(FileExistsError):
            files.create(taken, b"two")
    assert path.read_bytes() == b"one"
    assert len(list(tmp_path.iterdir())) == 2
    assert files.stamp(tmp_path / "nothing") is None


def test_what_the_system_refuses_is_an_error_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "note").touch()
    path = tmp_path / "note" / "inside"
    for call, told in (
        (lambda: files.read(path, 10, "note", IdentityError), "cannot be read: Not a directory"),
        (lambda: files.create(path, b"x", IdentityError), "cannot be written: Not a directory"),
        (lambda: files.replace(path, b"x"), "cannot be written: Not a directory"),
    ):
        with pytest.raises(ConfigError, match=told) as caught:
            call()
        assert caught.value.where == str(path)
        assert isinstance(caught.value.__cause__, NotADirectoryError)


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640, 0o444, 0o460, 0o450, 0o777])
@pytest.mark.parametrize("owner", ["root", "we", "somebody"])
@pytest.mark.parametrize("changeable", [True, False])
def test_b08_a_mounted_secret_is_taken_as_postgresql_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, mode: int, *, changeable: bool
) -> None:
    """Of root's file the group may read; of ours nobody else."""
    path, we = tmp_path / "note", 1000
    path.write_bytes(b"x")
    fstat, uid = os.fstat, {"root": 0, "we": we, "somebody": 1001}[owner]

    def owned(descriptor: int) -> SimpleNamespace:
        found = fstat(descriptor)
        times = {"st_mtime_ns": found.st_mtime_ns, "st_size": found.st_size, "st_ino": found.st_ino}
        return SimpleNamespace(st_mode=stat.S_IFREG | mode, st_uid=uid, **times)

    monkeypatch.setattr(os, "geteuid", lambda: we)
    monkeypatch.setattr(os, "fstat", owned)
    monkeypatch.setattr(os, "fstatvfs", lambda _file: SimpleNamespace(f_flag=0 if changeable else os.ST_RDONLY))
    monkeypatch.setattr(os, "stat", lambda _path: SimpleNamespace(st_mode=stat.S_IFDIR | 0o755, st_uid=0))
    allowed = (0o400, 0o600, 0o440, 0o640) if owner == "root" else (0o400, 0o600)
    if mode in allowed and owner != "somebody":
        assert files.read(path, 10, "note", private="take another way")[0] == b"x"
        return
    told = "belongs to another user"
    if mode not in allowed and changeable and owner == "we":
        told = f"others can read it: chmod 600 {path}; where that does nothing, take another way"
    elif mode not in allowed:
        advice = "is not ours to change: let root own it, and give it the mode 0440 and a group of ours"
        if owner == "we":
            advice = "is on a read-only mount: give it the mode 0400 where it comes from"
        if owner == "root":
            advice = "is not ours to change: give it the mode 0440 and a group of ours"
        told = f"others can read it, and {path} {advice}, or take another way"
    else:
        told += ": chown it, or copy it; take another way"
    with pytest.raises(ConfigError, match=told):
        files.read(path, 10, "note", private="take another way")


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
def test_root_is_not_told_to_own_what_it_owns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, fstat = tmp_path / "note", os.fstat
    path.write_bytes(b"x")

    def owned(descriptor: int) -> SimpleNamespace:
        found = fstat(descriptor)
        return SimpleNamespace(st_mode=stat.S_IFREG | 0o444, st_uid=0, st_size=found.st_size)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fstat", owned)
    monkeypatch.setattr(os, "fstatvfs", lambda _file: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(ConfigError) as caught:
        files.read(path, 10, "note", private="take another way")
    told = f"{path} is on a read-only mount: give it the mode 0400 where it comes from, or take another way"
    assert str(caught.value) == f"others can read it, and {told}"


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
def test_whose_the_file_is_that_we_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"x")

    def closed(*_given: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", closed)
    with pytest.raises(ConfigError, match=r"cannot be read: Permission denied$"):
        read(path)
    mine = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    told = f"cannot be read: Permission denied: it belongs to user {mine}, and we are user {mine + 1}: give it our user"
    with pytest.raises(ConfigError, match=told):
        read(path)
    with pytest.raises(ConfigError, match=r"cannot be read: Permission denied$"):  # nothing can be told of it
        read(path / "inside")


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("step", ["open", "replace"])
def test_b10_a_file_that_nothing_can_take_the_place_of_is_written_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    path, link = tmp_path / "note", tmp_path / "link"
    path.write_bytes(b"a longer text")
    path.chmod(0o640)
    link.symlink_to(path)
    inode, open_ = path.stat().st_ino, os.open

    def fail(*_given: object) -> None:
        raise OSError(number, os.strerror(number))

    def opened(where: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            fail()
        return open_(where, flags, mode)

    monkeypatch.setattr(os, step, opened if step == "open" else fail)
    assert files.replace(link, b"short") == files.stamp(path)
    assert (path.read_bytes(), path.stat().st_ino, stat.S_IMODE(path.stat().st_mode)) == (b"short", inode, 0o640)
    assert sorted(os.listdir(tmp_path)) == ["link", "note"]
    with pytest.raises(ConfigError, match=os.strerror(number)):  # there is nothing to be written
        files.replace(tmp_path / "new", b"short")
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=os.strerror(number)):
        files.replace(path, b"short")


def test_b10_what_cannot_be_written_in_place_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, open_, fsync = tmp_path / "note", os.open, os.fsync
    path.write_bytes(b"what was there")

    def busy(*_given: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    full = iter([None, OSError(errno.ENOSPC, "No space left on device"), None])

    def flush(descriptor: int) -> None:
        if (error := next(full)) is not None:
            raise error
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    with pytest.raises(ConfigError, match=f"{path} cannot be written: No space left on device"):
        files.replace(path, b"something else")
    assert path.read_bytes() == b"what was there"
    monkeypatch.setattr(os, "fsync", fsync)

    def read_only(where: Path, flags: int, mode: int = 0o777) -> int:
        if flags == os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system")
        return open_(where, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(ConfigError, match=f"{path} cannot be written: Device or resource busy"):
        files.replace(path, b"something else")
    assert os.listdir(tmp_path) == ["note"]


def test_a_folder_that_cannot_be_listed_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = os.open

    def unlisted(where: Path, flags: int, mode: int = 0o777) -> int:
        if flags == os.O_RDONLY:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_(where, flags, mode)

    monkeypatch.setattr(os, "open", unlisted)
    files.replace(tmp_path / "note", b"x")
    assert (tmp_path / "note").read_bytes() == b"x"


def test_what_is_no_path() -> None:
    assert files.located("note") == files.located(Path("note")) == Path("note")
    for wrong in (None, 5, b"note"):
        with pytest.raises(ConfigError, match=f"path {wrong!r}: take a Path or a text"):
            files.located(wrong)
