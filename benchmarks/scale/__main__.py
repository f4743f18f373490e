"""Memory and scale of connections, measured against their bars: ``python -m benchmarks.scale``.

One line for each figure; the exit code is 1 if a bar is missed. ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Final

from benchmarks.run import load
from benchmarks.scale import parts, report
from benchmarks.scale.figures import Figure

FULL: Final = {"idle": 1_000, "visits": 3_000, "requests": 200_000, "bulk": 16}
PARTS: Final[dict[str, Callable[[int], list[Figure]]]] = {
    "idle": parts.idle,
    "visits": parts.visits,
    "requests": parts.requests,
    "bulk": parts.bulk,
}


def main() -> int:
    options = parse()
    sizes = {name: getattr(options, name) for name in PARTS}
    if options.write and sizes != FULL:
        raise SystemExit("--write takes the full measurement only")
    busy = load()
    found: list[Figure] = []
    for name, part in PARTS.items():
        if sizes[name]:
            figures = part(sizes[name])
            found += figures
            print("\n".join(figure.line() for figure in figures), flush=True)
    if options.write:
        report.write(report.MARK, report.table(found, busy))
    return 0 if all(figure.met for figure in found) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    for name, size in FULL.items():
        parser.add_argument(
            f"--{name}", type=int, default=size, metavar="N", help=f"how many (default {size:,}, 0: none)"
        )
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
