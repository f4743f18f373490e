"""Which module stands on which level, and which are cores: read from the table in docs/architecture.md.

Everything that speaks of levels or cores asks here (the architecture test, the coverage gate, the Makefile),
so the document cannot say one thing and the checks another.

    python -m tests.cores tests      where the tests of the cores are
    python -m tests.cores coverage   the coverage of each core from the last run; fails below 95 %
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "stronghold_p2p"
TABLE = ROOT / "docs" / "architecture.md"
NEEDED = 95.0

_HEAD = "| level | rooms |\n"
_ROW = re.compile(r"^\|\s*(\d+)( core)?\s*\|([^|]*)\|")
_ROOM = re.compile(r"`([\w/.]+)`")


@dataclass(frozen=True)
class Place:
    """``level``: a module imports from lower ones only; ``room``: its folder, empty for the package itself."""

    level: int
    core: bool
    room: str


@cache
def _table() -> dict[str, Place]:
    """Path or folder below the package, and where it stands; a path beats the folder that it lies in."""
    listed: dict[str, Place] = {}
    excepted: dict[str, Place] = {}
    table = TABLE.read_text(encoding="utf-8").partition(_HEAD)[2].partition("\n\n")[0]
    for line in table.splitlines():
        if (row := _ROW.match(line)) is None:
            continue
        level, core, cell = int(row[1]), row[2] is not None, row[3]
        for inside in re.findall(r"\((.*?)\)", cell):
            excepted |= {room: Place(level, False, _folder(room)) for room in _ROOM.findall(inside)}
        outside = re.sub(r"\(.*?\)", "", cell)
        listed |= {room: Place(level, core, _folder(room)) for room in _ROOM.findall(outside)}
    return excepted | listed


def _folder(room: str) -> str:
    return room.rpartition("/")[0]


def place(path: Path) -> Place | None:
    """Where a module of the package stands; None if the table does not know it."""
    inside = path.relative_to(PACKAGE).as_posix()
    return _table().get(inside) or _table().get(f"{_folder(inside)}/")


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def cores() -> list[Path]:
    """Every module of the package that has to be a core."""
    return [path for path in modules() if (where := place(path)) is not None and where.core]


def name(path: Path) -> str:
    """The dotted name of a module; a package's is that of its folder."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def tests() -> list[Path]:
    """The files and folders with the cores' own tests: they mirror the package."""
    found: set[Path] = set()
    for path in cores():
        inside = path.relative_to(PACKAGE)
        if len(inside.parts) > 1:
            found.add(ROOT / "tests" / inside.parts[0])
        else:
            found |= set((ROOT / "tests").glob(f"test_{inside.stem}.py"))
            found |= set((ROOT / "tests").glob(f"test_{inside.stem}_*.py"))
            found.add(ROOT / "tests" / inside.stem)
    return sorted(path for path in found if path.exists())


def _measured() -> dict[str, dict[str, int]]:
    """Each core that has code, and its counts in the last coverage run."""
    data = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    data.combine()
    data.save()
    report = ROOT / ".cache" / "coverage" / "cores.json"
    data.json_report(outfile=str(report), include=[str(path) for path in cores()])
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    return {file: entry["summary"] for file, entry in files.items() if entry["summary"]["num_statements"]}


def gate() -> int:
    """Print the coverage of each core; 1 if one of them is below what is needed."""
    measured = _measured()
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
