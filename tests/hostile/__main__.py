"""All rows in full, one line each: number, name, outcome, time, memory, the probe's wait, figures.

    python -m tests.hostile [row ...]

The exit code is 1 if a row has failed. A row whose probe had to wait too long is played up to three times.
"""

from __future__ import annotations

import sys
import time
import traceback

import pytest

from tests.hostile.arena import MIB, Arena, SlowProbe
from tests.hostile.rows import Row, chosen

TRIES = 3


def play(row: Row) -> tuple[Arena, Exception | None]:
    for left in reversed(range(TRIES)):
        arena, failure = Arena(full=True), None
        try:
            row.play(arena)
        except Exception as error:
            failure = error
        if not (left and isinstance(failure, SlowProbe)):
            return arena, failure
    raise AssertionError("unreachable")


def main(numbers: list[str]) -> int:
    failures = 0
    for row in chosen(numbers):
        start = time.monotonic()
        try:
            arena, error = play(row)
        except pytest.skip.Exception as reason:
            print(f"{row.number:3}  {row.name:58.58}  not here: {reason}", flush=True)
            continue
        took = time.monotonic() - start
        probe = "" if arena.wait is None else f"probe {arena.wait * 1e3:.0f} ms"
        print(
            f"{row.number:3}  {row.name:58.58}  {'ok' if error is None else 'FAILED':6}  {took:6.1f} s"
            f"  {arena.memory / MIB:+7.2f} MiB  {probe:12}  {'; '.join(arena.notes)}",
            flush=True,
        )
        if error is not None:
            failures += 1
            traceback.print_exception(error, limit=-3, file=sys.stdout)
    print(f"{failures} rows failed" if failures else "all rows hold")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
