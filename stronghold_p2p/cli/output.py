"""What the command line prints: answers to standard output, notes to standard error, and a prompt that gives way.

Either of them may be closed or end while we run. Notes are then lost, and nothing else is.
"""

import argparse
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

DONE: Final = 0
_CLEAR: Final = "\r\x1b[K"

_prompt = ""  # what stands at the end of the screen, until it is answered


def safe_output() -> None:
    """Escape what the encoding of the terminal lacks, instead of raising.

    A descriptor that was closed by whoever started us (``2>&-``) is opened on nothing: the next socket would get its
    number, and whatever is written there would go to a peer.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def let_go_of_output() -> None:
    """Standard output cannot be written to: what still waits there is dropped, or Python would try at its end."""
    if sys.stdout is not None:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def short(peer: object) -> str:
    """A peer id shortened to what differs: all ids of one kind begin alike."""
    text = str(peer)
    return f"{text[:4]}..{text[-8:]}"


def tell(line: str, *, end: str = "\n") -> None:
    """One line to standard output, at once. ``OSError``: it cannot be written to."""
    _write(sys.stdout, line + end)


def tell_json(value: dict[str, Any]) -> None:
    """One JSON object as one line to standard output, at once. ``OSError`` as for ``tell``."""
    tell(json.dumps(value, default=str))


def note(line: str) -> None:
    """One line to standard error; where that is not to be written to, none."""
    with suppress(OSError, ValueError):
        _write(sys.stderr, line + "\n")


def prompt(text: str, *, answered: str = "") -> None:
    """Let ``text`` stand at the end of the screen, instead of what stood there, which was ``answered``."""
    global _prompt
    before, _prompt = _prompt, text
    with suppress(OSError, ValueError):
        if answered:
            _raw(sys.stderr, f"{answered}\n{text}")
        elif before or text:
            _raw(sys.stderr, f"{_CLEAR}{text}")


def _write(stream: TextIO | None, text: str) -> None:
    """Lines go above the prompt. ``print(file=None)`` would write to standard output, whatever was meant."""
    if _prompt:
        with suppress(OSError, ValueError):
            _raw(sys.stderr, _CLEAR)
    _raw(stream, text)
    if _prompt:
        with suppress(OSError, ValueError):
            _raw(sys.stderr, _prompt)


def _raw(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        print(text, end="", file=stream, flush=True)


def show(options: argparse.Namespace, value: dict[str, Any], *lines: str) -> int:
    """What a command has found out: ``value`` with ``--json``, else ``lines``. Returns the exit code."""
    if options.json:
        tell_json(value)
    else:
        tell("\n".join(lines))
    return DONE


class _Above(io.TextIOBase):
    """What a handler of logs writes to: lines go above the prompt."""

    def write(self, text: str, /) -> int:
        note(text.rstrip("\n"))
        return len(text)


@contextmanager
def logged(*, verbose: bool) -> Iterator[None]:
    """What the package logs goes to standard error; what others log does not."""
    log = logging.getLogger("stronghold_p2p")
    if not verbose:
        yield
        return
    before, handler = log.level, logging.StreamHandler(_Above())
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def compact(message: Any) -> str:
    """A JSON value as one line that is safe for a terminal."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text if text.isprintable() else json.dumps(message, separators=(",", ":"))


def printable(text: str) -> str:
    """Text from elsewhere as one line that cannot steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
