"""Which folder of the repository may use which, so that there is no circle between them.

What tests/benchmarks sees of the benchmarks, and tests/test_journey.py and its like of the tools, is what they test.
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
    "tests": {"stronghold_p2p", "harness"},
}
TESTS_OF = {"benchmarks": "tests/benchmarks/", "tools": "tests/test_"}
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
        used = {name.partition(".")[0] for name in named(path)} & set(USES) - USES[folder] - {folder}
        tested = {other for other in used if folder == "tests" and place.startswith(TESTS_OF[other])}
        wrong += [f"{place} uses {other}" for other in used - tested]
    assert wrong == []
