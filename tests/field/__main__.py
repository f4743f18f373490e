"""What only shows in a namespace, on a slow link or with a full table of descriptors: one line for each scenario.

    python -m tests.field [name ...]

A scenario that this machine does not allow says so and is skipped. The exit code is 1 if one does not hold.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence

from tests.field.figure import Figure
from tests.field.scenarios import SCENARIOS, Scenario
from tests.netns import Unavailable


def line(scenario: Scenario, state: str, rest: str) -> None:
    print(f"{scenario.name:11}  {scenario.told:58.58}  {state:7}  {rest}", flush=True)


def play(scenario: Scenario) -> bool:
    """Whether it holds, or cannot be played here."""
    start = time.monotonic()
    try:
        figure: Figure = scenario.play()
    except Unavailable as reason:
        line(scenario, "skipped", str(reason))
        return True
    except Exception:
        line(scenario, "FAILED", "")
        traceback.print_exc(limit=-4, file=sys.stdout)
        return False
    took = time.monotonic() - start
    line(scenario, "ok" if figure.holds else "FAILED", f"{figure.found}  (bound: {figure.bound}; {took:.0f} s)")
    return figure.holds


def main(names: Sequence[str], scenarios: Sequence[Scenario] = SCENARIOS) -> int:
    known = {scenario.name: scenario for scenario in scenarios}
    if unknown := [name for name in names if name not in known]:
        print(f"no such scenario: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    held = [play(known[name]) for name in names or known]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
