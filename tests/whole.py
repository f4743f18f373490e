"""How much of the package all tests but the serial ones reach, and how many lines both have (``make coverage``).

As a plugin of pytest (``-p tests.whole``) it measures each process that plays tests, from before the package is
imported; the processes that tests start are not measured. ``python -m tests.whole`` prints what was measured last.
"""

from __future__ import annotations

import json

import coverage
import pytest

from tools.house import ROOT, lines_of

_measuring = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    _measuring.start()


def pytest_unconfigure() -> None:
    _measuring.stop()
    _measuring.save()


def _lines(folder: str) -> int:
    return sum(len(lines_of(path)) for path in (ROOT / folder).rglob("*.py"))


def report() -> str:
    """The figures of the last run, gathered from all its processes."""
    _measuring.combine()
    _measuring.save()
    file = ROOT / ".cache" / "coverage" / "whole.json"
    _measuring.json_report(outfile=str(file))
    totals = json.loads(file.read_text(encoding="utf-8"))["totals"]
    shown = [f"{_lines(folder):7,} lines  {folder}" for folder in ("stronghold_p2p", "tests", "harness")]
    for kind, reached, number in (
        ("statements", "covered_lines", "num_statements"),
        ("branches", "covered_branches", "num_branches"),
    ):
        percent = 100 * totals[reached] / totals[number]
        shown.append(f"{percent:7.2f} % of {kind}: {totals[number] - totals[reached]} of {totals[number]} are missing")
    return "\n".join(shown)


if __name__ == "__main__":
    print(report())
