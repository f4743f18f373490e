"""The cores of the package: their tests and their coverage. Which modules are cores is told by docs/architecture.md.

python -m tests.cores tests      where the tests of the cores are
python -m tests.cores coverage   the coverage of each core from the last run; fails below 95 %
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import coverage

from tools.house import PACKAGE, ROOT, modules, name, place

__all__ = ["PACKAGE", "ROOT", "cores", "modules", "name", "place", "tests"]

NEEDED = 95.0


def cores() -> list[Path]:
    """Every module of the package that has to be a core."""
    return [path for path in modules() if (where := place(path)) is not None and where.core]


def tests() -> list[Path]:
    """The files and folders with the cores' own tests: they mirror the package."""
    found: set[Path] = set()
    for path in cores():
        folder = path.relative_to(PACKAGE).parent
        if folder.parts:
            found.add(ROOT / "tests" / folder)
        else:
            found |= set((ROOT / "tests").glob(f"test_{path.stem}.py"))
            found |= set((ROOT / "tests").glob(f"test_{path.stem}_*.py"))
    return sorted(path for path in found if path.exists())


def gate() -> int:
    """Print the coverage of each core that has code, in the last run; 1 if one of them is below what is needed."""
    data = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    data.combine()
    data.save()
    report = ROOT / ".cache" / "coverage" / "cores.json"
    data.json_report(outfile=str(report), include=[str(path) for path in cores()])
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    measured = {file: entry["summary"] for file, entry in files.items() if entry["summary"]["num_statements"]}
    low = 0
    for file, summary in sorted(measured.items()):
        total = summary["num_statements"] + summary["num_branches"]
        percent = 100 * (summary["covered_lines"] + summary["covered_branches"]) / total
        low += percent < NEEDED
        print(f"{percent:6.1f} %  {file}{'' if percent >= NEEDED else f'   below {NEEDED:.0f} %'}")
    print(f"cores: {len(measured)} modules with code, {low} below {NEEDED:.0f} % of statements and branches")
    return 1 if low or not measured else 0


def main(command: str) -> int:
    """Answer one command of this module's docstring."""
    if command == "coverage":
        return gate()
    print(" ".join(path.relative_to(ROOT).as_posix() for path in tests()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
