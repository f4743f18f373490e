"""What may be said in logs: one line for each message, and a fault of the application not without end."""

from __future__ import annotations

import ast
import logging
import time
from collections.abc import Callable

import pytest

from stronghold_p2p.logs import AT_ONCE, EVERY, KINDS, Faults, OneLine, escaped, record

LOG = logging.getLogger("stronghold_p2p.request")
NASTY = "a\nERROR:root:b\r\x1b[2J\u202e\U000e0001 c"


def test_text_from_elsewhere_is_one_line() -> None:
    line = "a\\u000aERROR:root:b\\u000d\\u001b[2J\\u202e\\U000e0001 c"
    assert str(OneLine(ValueError(NASTY))) == line
    assert escaped(NASTY, 100, kept="") == line.replace(" ", "\\u0020")
    assert escaped("x" * 10, 4) == "xxxx\N{HORIZONTAL ELLIPSIS}"
    assert len(str(OneLine("\n" * 5_000))) == 6_001


def failing(text: str = NASTY) -> Exception:
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(text) from error
    except ValueError as error:
        return error


def test_a_message_in_a_traceback_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    record(LOG, logging.ERROR, "handler of %s failed", ("/x",), failing())
    told = caplog.text.splitlines()
    assert told[0].endswith("handler of /x failed")
    assert sum("in failing" in line for line in told) == 2
    assert told[-1] == "ValueError: a\\u000aERROR:root:b\\u000d\\u001b[2J\\u202e\\U000e0001 c"
    assert "direct cause" in caplog.text
    assert not any(line.startswith("ERROR:root") for line in told)
    assert caplog.records[0].exc_info is not None
    caplog.clear()


def in_a_group() -> Exception:
    def nested(depth: int) -> Exception:
        return ExceptionGroup("of tasks", [failing(), nested(depth - 1)]) if depth else failing()

    return nested(2)


def in_what_was_taken_for_python() -> Exception:
    try:
        ast.literal_eval('"\x1b[2J\x1b]0;owned\x07" +')
    except SyntaxError as error:
        return error
    raise AssertionError


def with_notes() -> Exception:
    error = failing("x")
    for begin in ("", "  ", "Traceback "):
        error.add_note(begin + NASTY)
    return error


@pytest.mark.parametrize("made", [in_a_group, in_what_was_taken_for_python, with_notes])
def test_nothing_in_a_traceback_steers_a_terminal_or_is_long(
    made: Callable[[], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    record(LOG, logging.ERROR, "handler of %s failed", ("/x",), made())
    assert all(char.isprintable() or char == "\n" for char in caplog.text)
    assert "\\u001b[2J" in caplog.text
    caplog.clear()
    many = ExceptionGroup("of tasks", [ValueError("x" * 1_000_000), ValueError("\n" * 1_000_000)])
    record(LOG, logging.ERROR, "handler of %s failed", ("/x",), many)
    assert len(caplog.text) < 10_000
    caplog.clear()


def test_faults_of_one_kind_do_not_come_without_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    faults = Faults(LOG)
    for _ in range(100):
        faults.tell("handler of %s failed", "/x", failing())
    faults.tell("handler of %s failed", "/y", failing())  # another kind
    faults.tell("a callback failed", more=": x")
    assert caplog.messages == [*["handler of /x failed"] * AT_ONCE, "handler of /y failed", "a callback failed: x"]
    caplog.clear()
    now[0] += EVERY
    for _ in range(2):
        faults.tell("handler of %s failed", "/x", failing())
    assert caplog.messages == [f"handler of /x failed ({100 - AT_ONCE} more since the last one)"]
    caplog.clear()


def test_only_so_many_kinds_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults(LOG)
    for number in range(2 * KINDS):
        faults.tell("handler of %s failed", f"/{number}")
        faults.tell("quiet", level=logging.DEBUG)  # nobody listens
    assert len(faults._kinds) == KINDS
    caplog.clear()
