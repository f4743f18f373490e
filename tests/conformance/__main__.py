"""``python -m tests.conformance``: our library against the published crate ``stronghold-p2p``, both ways.

Builds the crate's peer, plays every scenario, prints a line for each, and writes ``docs/conformance.md`` and the
transcripts. Fails where something differs from what is expected, and then keeps the transcripts that there are.
Arguments: scenarios whose names have one of them in it are played alone, and nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from harness import build
from tests.conformance import report, transcripts
from tests.conformance.play import SCENARIOS, VERSION, Played, play_all
from tests.conformance.scenario import Scenario


def main() -> int:
    try:
        program = build.crate_peer()
    except build.BuildError as error:
        print(error, file=sys.stderr)
        return 1
    if program is None:
        print("make conformance needs Rust: there is no cargo on the PATH", file=sys.stderr)
        return 1
    logging.getLogger("stronghold_p2p").setLevel(logging.CRITICAL)  # hooks and handlers break on purpose
    wanted = sys.argv[1:]
    chosen = [scenario for scenario in SCENARIOS if not wanted or any(part in scenario.name for part in wanted)]
    results = asyncio.run(run(chosen, program))
    failed = [played for played in results if not played.passed]
    if not wanted:
        report.write(results, VERSION)
    if not wanted and not failed:
        transcripts.save(VERSION, results)
    print(f"{len(results) - len(failed)} of {len(results)} scenarios as expected")
    return 1 if failed or not results else 0


async def run(scenarios: list[Scenario], program: Path) -> list[Played]:
    results = []
    async for played in play_all(scenarios, program):
        print(line(played), flush=True)
        results.append(played)
    return results


def line(played: Played) -> str:
    scenario, (crate, ours, connection) = played.scenario, played.seen
    told = f"{scenario.asker} asks: {scenario.name}: crate: {crate}; ours: {ours}; connection: {connection}"
    if played.passed:
        return f"ok   {told}"
    return f"FAIL {told}\n     {played.fault or f'expected: {scenario.expected()}'}"


if __name__ == "__main__":
    sys.exit(main())
