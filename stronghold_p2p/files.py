"""Files that must not be lost: read through the descriptor that was checked, and written whole or not at all.

Keys, rules and address books are files of this kind. What is in them is not known here. Every fault is an ``error``,
``ConfigError`` or a class of it, whose ``where`` is the path; only what a caller has an answer to stays the system's:
``FileNotFoundError`` when reading, ``FileExistsError`` when creating.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final, TypeAlias

from stronghold_p2p.errors import ConfigError

if sys.platform != "win32":  # now, and not when they are needed: a program may have given up its rights by then
    import grp
    import pwd

Stamp: TypeAlias = tuple[int, int, int]
"""What changes with a file: its time of change in nanoseconds, its size, and which file it is."""

# Why no other file can take the place of one that may well be written: it is a mount point of its own; its folder is
# read-only, or not ours.
_IN_PLACE: Final = frozenset({errno.EBUSY, errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM})

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not hold us up; absent on Windows


def read(
    path: Path, maximum: int, kind: str, error: type[ConfigError] = ConfigError, *, private: str = ""
) -> tuple[bytes, Stamp]:
    """What the file at ``path``, or behind that link, holds: at most ``maximum`` bytes.

    Besides what the system refuses, it is an ``error`` if this is not a regular file, if it is too large for a ``kind``
    (which is seen before anything is read), if others may write or own it or its folder, as for ssh, or if it is
    ``private`` and others have rights on it; ``private`` says how else such a secret can be given.
    """
    with _faults(path, "read", error, FileNotFoundError), _closed_to_us(path, error):
        descriptor = os.open(path, _READ)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{path} is not a regular file", where=str(path))
            wrong = _open_to_others(path, status, descriptor, private) if private else None
            wrong = wrong or _of_others(path, status, private)
            if wrong is not None:
                raise error(wrong, where=str(path))
            data = b""
            if status.st_size <= maximum:
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(maximum + 1)
        finally:
            os.close(descriptor)
    if max(status.st_size, len(data)) > maximum:
        raise error(f"{path} is too large for a {kind}: at most {maximum} bytes", where=str(path))
    return data, stamp_of(status)


def _open_to_others(path: Path, status: os.stat_result, descriptor: int, otherwise: str) -> str | None:
    """What is wrong if others have rights on a secret; None: nobody has any but its owner, or of root's file the group.

    PostgreSQL asks the same of its keys ("ssl_key_file"): a secret that somebody has mounted belongs to root, and a
    group is how it is given to us. Such a file may not be ours to change.
    """
    if os.name != "posix" or not status.st_mode & (0o037 if status.st_uid == 0 else 0o077):
        return None
    if os.geteuid() not in (0, status.st_uid):
        owner = "" if status.st_uid == 0 else "let root own it, and "
        advice = f"is not ours to change: {owner}give it the mode 0440 and a group of ours"
    elif os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        advice = "is on a read-only mount: give it the mode 0400 where it comes from"
    else:
        return f"others can read it: chmod 600 {path}; where that does nothing, {otherwise}"
    return f"others can read it, and {path} {advice}, or {otherwise}"


def _of_others(path: Path, status: os.stat_result, otherwise: str = "") -> str | None:
    """What is wrong if others may change what the file says; None: nobody but we and root may.

    OpenSSH asks the same of its files (``StrictModes``). A group is no other if it is the owner's alone, by the name
    that systems with a group for each user give it: these have a umask of 002. In a folder that others may write but
    that is sticky, such as /tmp, they cannot put another file in its place.
    """
    if os.name != "posix":
        return None
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user: chown it, or copy it{f'; {otherwise}' if otherwise else ''}"
    if status.st_mode & _writable(status):
        return f"others can write it: chmod go-w {path}"
    folder = os.path.dirname(os.path.realpath(path))
    around = os.stat(folder)
    if around.st_uid not in (0, os.geteuid()):
        return f"{folder}, the folder of {path}, belongs to another user: move the file"
    if around.st_mode & _writable(around) and not around.st_mode & stat.S_ISVTX:
        return f"others can write the folder of {path}: chmod go-w {folder}"
    return None


def _writable(status: os.stat_result) -> int:
    """The bits of a mode by which others than the owner may write."""
    if status.st_mode & stat.S_IWGRP:
        with suppress(KeyError):
            owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
            if owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name and {*group.gr_mem} <= {owner.pw_name}:
                return stat.S_IWOTH
    return stat.S_IWOTH | stat.S_IWGRP


def replace(path: Path, data: bytes) -> Stamp:
    """Put ``data`` in the place of what is at ``path``, in one step, flushed to the disk.

    A file keeps its mode, a new one has 0600; a symbolic link is followed. A file that nothing can take the place of,
    as one that is mounted by itself, is written where it is: whoever reads it meanwhile, or after a crash, finds the
    beginning of it. ``ConfigError``: the file is as it was.
    """
    with _faults(path, "written", ConfigError):
        real = Path(os.path.realpath(path))
        temporary, mode = _beside(real), 0o600
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(real.stat().st_mode)
        try:
            stamp = _write(temporary, data, mode)
            os.replace(temporary, real)
        except OSError as cause:
            if cause.errno not in _IN_PLACE or not real.is_file():
                raise
            stamp = _overwrite(real, data, cause)
        finally:
            with suppress(OSError):  # what was never made, in a folder that is read-only
                temporary.unlink(missing_ok=True)
        _flush_directory(real.parent)
        return stamp


def create(path: Path, data: bytes, error: type[ConfigError] = ConfigError) -> None:
    """Make a file of mode 0600, flushed to the disk. ``FileExistsError``: anything is there, be it a dangling link."""
    with _faults(path, "written", error, FileExistsError):
        temporary = _beside(path)
        try:
            _write(temporary, data, 0o600)
            _publish(temporary, path)
        finally:
            with suppress(OSError):  # as above
                temporary.unlink(missing_ok=True)
        _flush_directory(path.parent)


def located(path: object) -> Path:
    """What a caller gave as the place of a file; ``ConfigError`` if it is none."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"path {path!r}: take a Path or a text", where="path")
    return Path(path)


def stamp(path: Path) -> Stamp | None:
    """The stamp of the file at ``path``; None if the system tells nothing about it."""
    try:
        return stamp_of(path.stat())
    except OSError:
        return None


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file whose status is known, as that of an open one."""
    return status.st_mtime_ns, status.st_size, status.st_ino


@contextmanager
def _faults(path: Path, done: str, error: type[ConfigError], but: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Make an ``error`` of what the system refuses, ``but`` one class of that."""
    try:
        yield
    except but:
        raise
    except OSError as cause:
        raise error(f"{path} cannot be {done}: {cause.strerror}", where=str(path)) from cause


@contextmanager
def _closed_to_us(path: Path, error: type[ConfigError]) -> Iterator[None]:
    """Say whose the file is that we may not read: as a rule it was mounted with the owner that it has elsewhere."""
    try:
        yield
    except PermissionError as cause:
        try:
            owner = path.stat().st_uid
        except OSError:  # it is the folder that keeps us out
            raise cause from None
        if os.name != "posix" or owner == os.geteuid():
            raise
        told = f"{path} cannot be read: {cause.strerror}: it belongs to user {owner}, and we are user {os.geteuid()}: "
        advice = "give it our user, or a group of ours and the mode 0440 with root as its owner"
        raise error(told + advice, where=str(path)) from cause


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}")


def _write(path: Path, data: bytes, mode: int) -> Stamp:
    with open(os.open(path, _CREATE, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        if os.name == "posix":
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
        return stamp_of(os.fstat(file.fileno()))


def _overwrite(path: Path, data: bytes, cause: OSError) -> Stamp:
    """Write ``data`` into the file that is there; if that fails, what it held before stands in it again.

    It is emptied first: one that is cut short must not end as the longer one did. ``cause``: why it is not replaced,
    which is what its owner has to know if it cannot be written, either.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        raise cause from None
    with FileIO(descriptor, "r+") as file:
        before = file.read()
        try:
            _fill(file, data)
        except OSError:
            with suppress(OSError):
                _fill(file, before)
            raise
        return stamp_of(os.fstat(file.fileno()))


def _fill(file: FileIO, data: bytes) -> None:
    file.seek(0)
    file.truncate()
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
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
    with suppress(PermissionError):  # a folder that we may not list cannot be flushed
        _flush(os.open(directory, os.O_RDONLY))


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
