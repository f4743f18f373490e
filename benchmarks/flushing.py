"""What each constant of flushing is worth: ``python -m benchmarks.flushing``.

Each is measured as the package has it, and with the value that switches its idea off, in turns, as
``benchmarks.compare`` does. A ratio is what is left without it: below 1 it is worth its lines.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import compare
from benchmarks.compare import MEASURES, Compared, Measure, table
from benchmarks.run import load

WITHOUT = compare.ENDS.with_name("without.py")
TREE = Path(__file__).resolve().parents[1]
NEVER = 1 << 40


@dataclass(frozen=True)
class Constant:
    """``off``: the value that switches the idea off. ``shown_by``: the measure in which it shows most."""

    name: str
    off: int
    shown_by: str
    idea: str


CONSTANTS = (
    Constant("EARLY", NEVER, "conc over streams", "frames leave before the end of the turn"),
    Constant("JOIN_UP_TO", 0, "seq over streams", "a short write shares a frame with what was held back"),
    Constant("WAKE_TOGETHER", NEVER, "conc over streams", "writers go on some at a time"),
    Constant("TURN_BYTES", 65_519, "upload", "a turn collects four records instead of one"),
    Constant("ONE_SHOT", 0, "seq over streams", "small records are sealed and opened in fresh memory"),
)


def measured(constant: Constant, pairs: int, seconds: float) -> Compared:
    """With the constant as it is, and with its idea switched off."""
    measure = next(one for one in MEASURES if one.name == constant.shown_by)
    plain = compare.command
    sides = {True: plain, False: lambda *arguments: _without(constant, *arguments)}
    found: list[compare.Pair] = []
    for number in range(pairs):
        figures: dict[bool, compare.Figure] = {}
        for side in (True, False) if number % 2 else (False, True):
            compare.command = sides[side]
            try:
                with compare.server(TREE) as address:
                    figures[side] = compare.client(TREE, address, measure, seconds)
            finally:
                compare.command = plain
        found.append((figures[True], figures[False]))
    return Compared(Measure(constant.name, measure.unit, measure.counted), tuple(found))


def _without(constant: Constant, *arguments: str) -> list[str]:
    return [sys.executable, "-P", str(WITHOUT), constant.name, str(constant.off), *arguments]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flushing", description=__doc__)
    parser.add_argument("--pairs", type=compare.positive, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="", help=f"with commas between: {', '.join(one.name for one in CONSTANTS)}")
    options = parser.parse_args()
    rows = []
    print(f"load average before: {load()}")
    for constant in CONSTANTS:
        if options.only and constant.name not in options.only.split(","):
            continue
        found = measured(constant, options.pairs, options.seconds)
        cells = (f"{found.median(new):,.0f}" for new in (False, True))
        rows.append((constant.name, constant.shown_by, *cells, f"{found.ratio:.3f}", constant.idea))
        print(f"{constant.name}: {found.ratio:.3f}", file=sys.stderr, flush=True)
    print("\n".join(table(("constant", "shown by", "with", "without", "without/with", "what it does"), rows)))


if __name__ == "__main__":
    main()
