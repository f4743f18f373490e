"""What goes into logs, so told that nobody can write them: a message is one line, and faults do not come without end.

The text of an exception may be a peer's, as a handler may name in it what it was sent.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Final

from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.token_bucket import TokenBucket

AT_ONCE: Final = 5  # tracebacks of one kind, before they come one at a time; each takes some 2,000 bytes
EVERY: Final = 60.0  # seconds between two of them from then on
KINDS: Final = 256  # that are told apart
LONGEST: Final = 1_000  # characters of a message
LINES: Final = 50  # of one that is indented


class OneLine:
    """Text from elsewhere for a line of a log: escaped, and cut, when the line is written."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return escaped(str(self._value), LONGEST)


def _line(value: object) -> str:
    """As ``OneLine``, at once: a handler that keeps records would keep an error, and its frames."""
    return str(OneLine(value))


def escaped(text: str, longest: int, *, kept: str = " ") -> str:
    """At most ``longest`` characters of ``text``, none of which ends the line or steers a terminal."""
    if len(text) > longest:
        text = text[:longest] + "\N{HORIZONTAL ELLIPSIS}"
    if text.isprintable() and (" " in kept or " " not in text):  # as nearly always
        return text
    return "".join(char if char in kept or (char.isprintable() and char != " ") else _code(char) for char in text)


def _code(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


class Faults:
    """Tells one network's faults of the application: of each kind so many as ``AT_ONCE`` and ``EVERY`` allow.

    What is not told is counted, and told with the next one. A kind is a text and what it is about; no peer chooses it.
    ``net``: what logs call the network, if it is one's.
    """

    def __init__(self, log: logging.Logger, net: str = "") -> None:
        self._log = log
        self._of = f" net={net}" if net else ""
        self._kinds: dict[tuple[str, str], tuple[TokenBucket, list[int]]] = {}

    def tell(
        self,
        text: str,
        about: str = "",
        error: BaseException | None = None,
        *,
        more: str | Callable[[], str] = "",
        level: int = logging.ERROR,
    ) -> None:
        """One record, ``text % about`` and ``more``, with the traceback of ``error``.

        ``more`` may be a function, where its text costs much: it is called for what is told.
        """
        if not self._log.isEnabledFor(level):
            return
        if (text, about) not in self._kinds and len(self._kinds) >= KINDS:
            del self._kinds[next(iter(self._kinds))]
        bucket, untold = self._kinds.setdefault((text, about), (TokenBucket(1 / EVERY, AT_ONCE), [0]))
        if not bucket.take(time.monotonic()):
            untold[0] += 1
            return
        since = f" ({untold[0]} more since the last one)" if untold[0] else ""
        more = f"{more if isinstance(more, str) else more()}{self._of}{since}"
        untold[0] = 0
        record(self._log, level, f"{text}%s", (about, more) if "%s" in text else (more,), error)


def each(steps: Iterable[Callable[[], object]], log: logging.Logger, text: str) -> None:
    """Take every one of ``steps``, also when one before it has failed; a fault is logged as ``text``.

    For what has to reach its end: the places that a connection occupies, and those who have to hear that it is over.
    """
    for step in steps:
        try:
            step()
        except Exception as error:
            record(log, logging.ERROR, "%s", (text,), error)


class Refusals:
    """Tells of each limit of one network that somebody was refused by it: of the first at once, then how many more.

    A limit has one line a minute at most, so nobody can fill the log by it.
    """

    def __init__(self, log: logging.Logger, net: str) -> None:
        self._log = log
        self._net = net
        self._more: dict[str, tuple[int, asyncio.TimerHandle]] = {}

    def tell(self, whom: object, error: LimitExceeded) -> None:
        """``whom`` is refused; ``error`` names the limit and says what to do."""
        limit = error.limit
        if limit in self._more:
            count, timer = self._more[limit]
            self._more[limit] = count + 1, timer
            return
        self._more[limit] = 0, asyncio.get_running_loop().call_later(EVERY, self._count, limit)
        self._log.warning("a limit refuses %s: %s net=%s", *map(_line, (whom, error)), self._net)

    def _count(self, limit: str) -> None:
        count, timer = self._more.pop(limit)
        timer.cancel()
        if count:
            self._log.warning("%s has refused %d more net=%s", limit, count, self._net)
            self._more[limit] = 0, asyncio.get_running_loop().call_later(EVERY, self._count, limit)

    def close(self) -> None:
        """Tell what is not told yet."""
        for limit in list(self._more):
            self._count(limit)
        for _, timer in self._more.values():
            timer.cancel()
        self._more.clear()


def record(log: logging.Logger, level: int, text: str, given: tuple[str, ...], error: BaseException | None) -> None:
    """As ``log.log`` with ``exc_info``, but the message in the traceback is one line."""
    info = None if error is None else (type(error), error, error.__traceback__)
    told = log.makeRecord(log.name, level, "(logs)", 0, text, given, info)
    if error is not None:
        parts = traceback.TracebackException.from_exception(error).format()
        told.exc_text = "".join(map(_part, parts)).rstrip("\n")
    log.handle(told)


def _part(part: str) -> str:
    """Frames and the words between exceptions are Python's, what is left is an exception with its message.

    What is indented may be a peer's, too: exceptions of a group, a line of what was taken for Python. It stays so.
    """
    if part.startswith("\n"):
        return part
    lines = part.rstrip("\n").split("\n") if part.startswith("  ") else [part.rstrip("\n")]
    return "\n".join([escaped(line, LONGEST) for line in lines[:LINES]]) + "\n"
