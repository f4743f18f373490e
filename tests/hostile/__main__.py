"""All rows in full, one line each: number, name, outcome, time, memory, the probe's wait, figures.

    python -m tests.hostile [row ...]

The exit code is 1 if a row has failed. A row whose probe had to wait too long is played up to three times.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType

from tests.hostile import test_identify, test_multistream, test_noise, test_transport, test_yamux
from tests.hostile.arena import MIB, Arena, SlowProbe

MODULES: tuple[ModuleType, ...] = (test_transport, test_multistream, test_yamux, test_noise, test_identify)
TRIES = 3

Row = Callable[[Arena], None]


def rows() -> Iterator[tuple[int, str, Row]]:
    """Number, name (the docstring's first line) and the row itself; ``test_row_26_...``."""
    for module in MODULES:
        for name, function in vars(module).items():
            if name.startswith("test_row_"):
                yield int(name.split("_")[2]), (function.__doc__ or name).splitlines()[0], function


def play(row: Row) -> tuple[Arena, Exception | None]:
    for attempt in range(TRIES):
        arena = Arena(full=True)
        try:
            row(arena)
        except SlowProbe as error:
            if attempt == TRIES - 1:
                return arena, error
        except Exception as error:
            return arena, error
        else:
            return arena, None
    raise AssertionError("unreachable")


def main(wanted: set[str]) -> int:
    failures = 0
    for number, name, row in rows():
        if wanted and str(number) not in wanted:
            continue
        start = time.monotonic()
        arena, error = play(row)
        figures = arena.figures
        probe = "" if figures.probe is None else f"probe {figures.probe * 1e3:.0f} ms"
        print(
            f"{number:3}  {name:58.58}  {'ok' if error is None else 'FAILED':6}  {time.monotonic() - start:6.1f} s"
            f"  {figures.memory / MIB:+7.2f} MiB  {probe:12}  {'; '.join(figures.notes)}",
            flush=True,
        )
        if error is not None:
            failures += 1
            traceback.print_exception(error, limit=-3, file=sys.stdout)
    print(f"{failures} rows failed" if failures else "all rows hold")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(set(sys.argv[1:])))
