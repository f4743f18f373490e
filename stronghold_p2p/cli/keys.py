"""Whose key a command has: from a file or from standard input, with the passphrase from another file."""

import argparse
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from stronghold_p2p import files
from stronghold_p2p.errors import IdentityError
from stronghold_p2p.identity.keys.identity import Identity

STANDARD_INPUT: Final = Path("-")
LONGEST: Final = 4_096  # bytes of a passphrase
PEM: Final = 16_384  # bytes of a key on standard input
ELSEWHERE: Final = "--passphrase-file - takes it from standard input"

# What the messages of the API name has another name here.
_WORDS: Final = (
    ("pass its passphrase", "give --passphrase-file"),
    ("pass no passphrase", "leave --passphrase-file out"),
    (
        "Identity.from_pem(data) takes a key that was read in any other way",
        "- in the place of the file is standard input",
    ),
)


def add_passphrase(command: argparse.ArgumentParser) -> None:
    """The option for a key that is encrypted."""
    told = "the passphrase of the key: the first line of this file; - is standard input"
    command.add_argument("--passphrase-file", type=Path, metavar="FILE", help=told)


def identity_of(file: Path, options: argparse.Namespace, *, create: bool = False) -> Identity:
    """The identity in ``file``; with ``create`` a new one if there is no file. ``IdentityError`` in the words of the
    command line.
    """
    secret = options.passphrase_file
    if file == secret == STANDARD_INPUT:
        raise IdentityError("standard input is either the key or its passphrase", where="--passphrase-file")
    passphrase = b"" if secret is None else _passphrase(secret)
    try:
        if file == STANDARD_INPUT:
            return Identity.from_pem(sys.stdin.buffer.read(PEM + 1), passphrase=passphrase)
        return Identity.load(file, create=create, passphrase=passphrase)
    except IdentityError as error:
        told = str(error)
        for api, ours in _WORDS:
            told = told.replace(api, ours)
        raise IdentityError(told, where=error.where) from None


def _passphrase(path: Path) -> bytes:
    """The first line, without its end. A pipe is read as it is: whoever gives one has said who may read it."""
    if path == STANDARD_INPUT:
        data = sys.stdin.buffer.readline(LONGEST + 1)
    elif _is_pipe(path):
        with path.open("rb") as pipe:
            data = pipe.readline(LONGEST + 1)
    else:
        try:
            data, _ = files.read(path, LONGEST, "passphrase file", IdentityError, private=ELSEWHERE)
        except FileNotFoundError:
            raise IdentityError(f"{path} does not exist", where=str(path)) from None
    line = data.split(b"\n", 1)[0].removesuffix(b"\r")
    if not line or len(line) > LONGEST:
        told = f"holds no passphrase in its first line: at most {LONGEST} bytes"
        raise IdentityError(f"{'standard input' if path == STANDARD_INPUT else path} {told}", where=str(path))
    return line


def _is_pipe(path: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISFIFO(path.stat().st_mode)
    return False
