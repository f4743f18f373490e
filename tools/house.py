"""Who imports whom: the rooms of docs/architecture.md, and what does not fit into them.

    python -m tools.house     prints the rooms with their sizes, arrows and circles

A room is a folder, or one module of the package's top. Its level is the row of the table that names it. An arrow is an
import, also one under ``TYPE_CHECKING``; it may lead to a lower level, or to another module of the same folder.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "stronghold_p2p"
TABLE = ROOT / "docs" / "architecture.md"
FILE_LINES = 500
FUNCTION_LINES = 60

_HEAD = "| level | rooms |\n"
_ROW = re.compile(r"^\|\s*(\d+)( core)?\s*\|([^|]*)\|")
_ROOM = re.compile(r"`([\w/.]+)`")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Place:
    """Where a module stands: the ``room`` that the table names, its ``level``, and whether it is a ``core``."""

    level: int
    core: bool
    room: str


@cache
def table() -> dict[str, Place]:
    """The rooms of the table, in its order."""
    rows = TABLE.read_text(encoding="utf-8").partition(_HEAD)[2].partition("\n\n")[0]
    found: dict[str, Place] = {}
    for line in rows.splitlines():
        if (row := _ROW.match(line)) is not None:
            found |= {room: Place(int(row[1]), row[2] is not None, room) for room in _ROOM.findall(row[3])}
    return found


def inside(path: Path) -> str:
    """A module's path below the package."""
    return path.relative_to(PACKAGE).as_posix()


def place(path: Path) -> Place | None:
    """Where a module stands; None if the table does not know it."""
    here = inside(path)
    return table().get(here) or table().get(f"{here.rpartition('/')[0]}/")


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def name(path: Path) -> str:
    """The dotted name of a module; a package's is that of its folder."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def _by_name() -> dict[str, Path]:
    return {name(path): path for path in modules()}


@cache
def tree(path: Path) -> ast.Module:
    """The syntax of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """The dotted name of everything that a module imports, at whatever depth; ours resolved to modules."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    package = name(path) if path.name == "__init__.py" else name(path).rpartition(".")[0]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                yield whole if whole in _by_name() else origin


def ours(path: Path) -> set[Path]:
    """The modules of the package that a module imports."""
    return {_by_name()[imported] for imported in imports(path) if imported in _by_name()} - {path}


def wrong_arrows() -> list[tuple[str, str]]:
    """Each import that leads up or sideways: who imports, and what."""
    found = []
    for path in modules():
        here = place(path)
        for target in sorted(ours(path)):
            there = place(target)
            assert here is not None
            assert there is not None
            if there.level >= here.level and there.room != here.room:
                found.append((inside(path), inside(target)))
    return found


def circles() -> list[tuple[str, ...]]:
    """The modules that lead back to each other, each circle once (Tarjan's strongly connected components)."""
    order: dict[Path, int] = {}
    low: dict[Path, int] = {}
    stack: list[Path] = []
    found: list[tuple[str, ...]] = []

    def visit(path: Path) -> None:
        order[path] = low[path] = len(order)
        stack.append(path)
        for target in ours(path):
            if target not in order:
                visit(target)
                low[path] = min(low[path], low[target])
            elif target in stack:
                low[path] = min(low[path], order[target])
        if low[path] == order[path]:
            at = stack.index(path)
            if len(stack) - at > 1:
                found.append(tuple(sorted(map(inside, stack[at:]))))
            del stack[at:]

    for path in modules():
        if path not in order:
            visit(path)
    return sorted(found)


def functions(path: Path) -> Iterator[Function]:
    """Every function of a file, those inside others too."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def code_lines(function: Function, lines: list[str]) -> int:
    """Lines of a function that are neither empty, nor comment, nor docstring."""
    first, doc = function.body[0], 0
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        doc = (first.end_lineno or first.lineno) - first.lineno + 1
    body = [line.strip() for line in lines[function.lineno - 1 : function.end_lineno]]
    return sum(1 for line in body if line and not line.startswith("#")) - doc


def lines_of(path: Path) -> list[str]:
    """The lines of a file."""
    return path.read_text(encoding="utf-8").splitlines()


def report() -> str:
    """The rooms, lowest first, and what does not fit."""
    shown = [f"{'level':>5}  {'room':<28}{'files':>6}{'lines':>7}  imports from"]
    rooms: dict[str, list[Path]] = {room: [] for room in table()}
    for path in modules():
        if (here := place(path)) is not None:
            rooms[here.room].append(path)
    for room, members in rooms.items():
        below = {there.room for path in members for target in ours(path) if (there := place(target)) is not None}
        level = f"{table()[room].level}{'*' if table()[room].core else ' '}"
        count = sum(len(lines_of(path)) for path in members)
        shown.append(f"{level:>5}  {room:<28}{len(members):>6}{count:>7}  {' '.join(sorted(below - {room}))}")
    longest = max(modules(), key=lambda path: len(lines_of(path)))
    size, function, holder = max(
        (code_lines(function, lines_of(path)), function.name, inside(path))
        for path in modules()
        for function in functions(path)
    )
    arrows, rounds = wrong_arrows(), circles()
    total = sum(len(lines_of(path)) for path in modules())
    shown += [
        "* core: no event loop, socket, clock, logger, and no randomness that is not passed in",
        f"{len(modules())} modules, {total} lines",
        f"arrows up or sideways: {len(arrows)}" + "".join(f"\n  {source} -> {target}" for source, target in arrows),
        f"circles: {len(rounds)}" + "".join(f"\n  {' '.join(circle)}" for circle in rounds),
        f"longest file: {inside(longest)}, {len(lines_of(longest))} lines of {FILE_LINES}",
        f"longest function: {function} in {holder}, {size} lines of code of {FUNCTION_LINES}",
    ]
    return "\n".join(shown)


def fits() -> bool:
    """Whether every module has a room, every arrow leads down, and nothing is too long."""
    sizes = [len(lines_of(path)) <= FILE_LINES for path in modules()]
    sizes += [code_lines(one, lines_of(path)) <= FUNCTION_LINES for path in modules() for one in functions(path)]
    return all(sizes) and not wrong_arrows() and not circles()


if __name__ == "__main__":
    print(report())
    sys.exit(0 if fits() else 1)
