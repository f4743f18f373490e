"""Which folder of the repository may use which, so that there is no circle between them.

Of the tests, those in tests/benchmarks alone know the benchmarks: they test them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cores import ROOT

USES = {
    "stronghold_p2p": set[str](),
    "harness": {"stronghold_p2p"},
    "benchmarks": {"stronghold_p2p", "harness"},
    "tools": {"stronghold_p2p", "harness"},
    "tests": {"stronghold_p2p", "harness", "tools"},
}
THEIR_TESTS = "tests/benchmarks/"
MODULE = re.compile(rf"({'|'.join(USES)})(\.\w+)+")


def named(path: Path) -> Iterator[str]:
    """Every module that a file imports, or names as a program to start."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE.fullmatch(node.value):
            yield node.value


@pytest.mark.parametrize("folder", USES)
def test_folders_do_not_go_in_circles(folder: str) -> None:
    """Neither by an import nor as a program that is started."""
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        known = USES[folder] | {folder} | ({"benchmarks"} if place.startswith(THEIR_TESTS) else set())
        used = {name.partition(".")[0] for name in named(path)} & set(USES)
        wrong += [f"{place} uses {other}" for other in sorted(used - known)]
    assert wrong == []
