"""Requests while their connection is cut again and again: ``python -m benchmarks.scale.soak``.

Between two processes, over TCP, 64 at a time, one in a hundred given up. One line for each figure; the exit code is 1
if a bar is missed.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.scale.parts import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, metavar="N", help="how many (default 100,000)")
    parser.add_argument("--cuts", type=int, default=20, metavar="N", help="how often it is cut (default 20)")
    options = parser.parse_args()
    figures = soak(options.requests, options.cuts)
    print("\n".join(figure.line() for figure in figures), flush=True)
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
