"""What the command line prints, and how its errors become one line and an exit code."""

from __future__ import annotations

import argparse
import io
import json
import sys
from typing import Any, Final

from stronghold_p2p.errors import (
    ConfigError,
    DeadlineExceeded,
    DialError,
    HandshakeError,
    Rejected,
    UnsupportedProtocol,
)

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
DEADLINE: Final = 4
UNREACHABLE: Final = 5
INTERRUPTED: Final = 130
TERMINATED: Final = 143

# The exit code of each kind of failure, and how its line begins. The first class that fits counts.
_KINDS: Final[tuple[tuple[tuple[type[Exception], ...], int, str], ...]] = (
    ((Rejected, UnsupportedProtocol), REFUSED, "refused: "),
    ((DeadlineExceeded,), DEADLINE, "too late: "),
    ((DialError, HandshakeError), UNREACHABLE, "unreachable: "),
    ((ConfigError,), USAGE, ""),
    ((Exception,), FAILED, ""),
)


def safe_output() -> None:
    """Escape what the encoding of the terminal lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def report(error: Exception, *, as_json: bool = False) -> int:
    """Print one line about ``error`` (to standard error, or as JSON to standard output); returns the exit code."""
    code, prefix = next((code, prefix) for kinds, code, prefix in _KINDS if isinstance(error, kinds))
    message = printable(str(error) or type(error).__name__)
    if as_json:
        tell_json({"error": type(error).__name__, "message": message, "code": code})
    else:
        print(f"stronghold-p2p: {prefix}{message}", file=sys.stderr, flush=True)
    return code


def short(peer: object) -> str:
    """A peer id shortened to what differs: all ids of one kind begin alike."""
    text = str(peer)
    return f"{text[:4]}..{text[-8:]}"


def tell(line: str) -> None:
    """One line to standard output, at once."""
    print(line, flush=True)


def tell_json(value: dict[str, Any]) -> None:
    """One JSON object as one line to standard output, at once."""
    print(json.dumps(value, default=str), flush=True)


def show(options: argparse.Namespace, value: dict[str, Any], *lines: str) -> int:
    """What a command has found out: ``value`` with ``--json``, else ``lines``. Returns the exit code."""
    if options.json:
        tell_json(value)
    else:
        tell("\n".join(lines))
    return DONE


def compact(message: Any) -> str:
    """A JSON value as one line that is safe for a terminal."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text if text.isprintable() else json.dumps(message, separators=(",", ":"))


def printable(text: str) -> str:
    """Text from elsewhere as one line that cannot steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
