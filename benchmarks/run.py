"""Measures ours, go-libp2p, js-libp2p, py-libp2p and the Rust crate side by side: ``python -m benchmarks.run``.

Prints the tables, and writes them to ``benchmarks/RESULTS.md`` unless only a part was measured.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.runner.measure import Results, Round, firewall_costs, prepare, say
from benchmarks.runner.plan import FULL, PAIRINGS, QUICK, REFERENCE, Pairing
from benchmarks.runner.processes import can_pin
from benchmarks.runner.report import render

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
KEYS = [pairing.key for pairing in PAIRINGS]


def main() -> int:
    options = parse()
    pairings = chosen(options.only)
    counts = QUICK if options.quick else FULL
    rounds = 1 if options.quick else options.rounds
    pinned = can_pin()
    results = Results(load=load())
    commands = prepare(pairings, results)
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        first = (number - 1) % len(pairings)
        Round(commands, results, counts, free=False).run(pairings[first:] + pairings[:first])
    if pinned and not options.quick:
        say("one round without pinning")
        Round(commands, results, counts, free=True).run(pairings)
    results.firewall = firewall_costs(quick=options.quick)
    text = render(results, pairings, counts, rounds, pinned=pinned)
    print(text)
    if options.quick or options.only:
        say(f"only a part was measured: {RESULTS.name} stays as it is")
    else:
        RESULTS.write_text(text, encoding="utf-8")
    return 0


def load() -> str:
    """How busy the machine was before: on a busy one the figures say little."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def chosen(only: str) -> tuple[Pairing, ...]:
    """The pairings of ``--only``, always with the reference that the ratios are to."""
    if not only:
        return PAIRINGS
    keys = {REFERENCE, *only.split(",")}
    unknown = keys - set(KEYS)
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(KEYS)}")
    return tuple(pairing for pairing in PAIRINGS if pairing.key in keys)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the medians are taken (default 5)")
    parser.add_argument("--only", default="", help=f"rows to measure, with commas between: {', '.join(KEYS)}")
    parser.add_argument("--quick", action="store_true", help="one small round, to see whether everything works")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
