"""What a row judges, each by a short name: its negative control tells which of them fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MARK = "judged: "


@contextmanager
def judged(fact: str) -> Iterator[None]:
    """Whatever fails inside is this fact: ``with judged("memory"):``, or ``@judged("reset")`` on a helper."""
    try:
        yield
    except Exception as error:
        error.add_note(MARK + fact)
        raise


def facts(error: BaseException) -> set[str]:
    """Those that have failed by ``error``, or by what caused it."""
    notes: list[str] = getattr(error, "__notes__", [])
    found = {note.removeprefix(MARK) for note in notes if note.startswith(MARK)}
    return found if error.__cause__ is None else found | facts(error.__cause__)
