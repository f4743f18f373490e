"""How a command fails: one line in the words of the command line, or one JSON object, and an exit code."""

import argparse
import re
import sys
from typing import Any, Final

from stronghold_p2p.cli.output import note, printable, tell_json
from stronghold_p2p.errors import (
    ConfigError,
    DeadlineExceeded,
    DialError,
    HandshakeError,
    PeerIdMismatch,
    Rejected,
    UnsupportedProtocol,
    UsageError,
)
from stronghold_p2p.streams.deadline import not_done

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
DEADLINE: Final = 4
UNREACHABLE: Final = 5
ANOTHER_PEER: Final = 6
INTERRUPTED: Final = 130
TERMINATED: Final = 143

CODES: Final = (
    "exit codes: 0 done (listen: also when it is stopped), 1 failed, 2 usage, 3 refused, 4 deadline, 5 unreachable, "
    "6 another peer answers, 130 interrupted (Ctrl-C), 143 terminated"
)

# The exit code of each kind of failure, and how its line begins. The first class that fits counts.
_KINDS: Final[tuple[tuple[tuple[type[Exception], ...], int, str], ...]] = (
    ((Rejected, UnsupportedProtocol), REFUSED, "refused: "),
    ((DeadlineExceeded,), DEADLINE, "too late: "),
    ((PeerIdMismatch,), ANOTHER_PEER, "ANOTHER PEER ANSWERS: "),
    ((DialError, HandshakeError), UNREACHABLE, "unreachable: "),
    ((ConfigError, UsageError), USAGE, ""),
    ((Exception,), FAILED, ""),
)

# Advice for programs: there is no such option here.
_SETTING: Final = re.compile(r"[,:] (?:or )?raise (?:it|\w+) in (?:Limits|the RequestProtocol)")


class UnreachedError(Exception):
    """The connection could not be made; the cause is why, whatever its class."""


class Parser(argparse.ArgumentParser):
    """Tells what is wrong with the arguments as every other failure is told: in one line, or in JSON."""

    def __init__(self, **options: Any) -> None:
        options["allow_abbrev"] = False  # a script must not depend on what is unique today
        super().__init__(**options)

    def error(self, message: str) -> Any:
        raise UsageError(f"{message} (see {self.prog} --help)")


def report(error: BaseException, *, as_json: bool = False, timeout: float | None = None, **more: Any) -> int:
    """Print one line about ``error`` (to standard error, or as JSON to standard output); returns the exit code.

    ``timeout`` is what ``--timeout`` said; ``more`` says what of several things has failed.
    """
    least = FAILED
    if isinstance(error, UnreachedError) and error.__cause__ is not None:
        error, least = error.__cause__, UNREACHABLE
    code, prefix = next((code, prefix) for kinds, code, prefix in _KINDS if isinstance(error, kinds))
    if code == FAILED and least == UNREACHABLE:
        code, prefix = UNREACHABLE, "unreachable: "
    message = printable(words_of(error, timeout) or type(error).__name__)
    if as_json:
        tell_json({**more, "error": type(error).__name__, "message": message, "code": code})
    else:
        about = "".join(f"{value}: " for value in more.values())
        note(f"stronghold-p2p: {about}{prefix}{message}")
    return code


def words_of(error: BaseException, timeout: float | None) -> str:
    """The message of ``error``; what a program would set has another name on the command line."""
    if isinstance(error, DeadlineExceeded) and timeout is not None:
        return not_done(timeout, error.phase, "raise --timeout")
    return _SETTING.sub("", str(error))


def interrupted() -> int:
    """Ctrl-C: the line that it stands in ends."""
    if sys.stderr is not None and sys.stderr.isatty():
        note("")
    return INTERRUPTED
