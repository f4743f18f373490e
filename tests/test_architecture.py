"""Who may import whom: the levels of docs/architecture.md, what makes a core a core, and the repository's folders.

No module is excepted.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests import cores
from tools import diagrams, house
from tools.house import inside

MODULES = {house.name(path): path for path in house.modules()}
CORES = cores.cores()

# What a core may use of the standard library: nothing here waits, tells the time, draws lots, logs or opens anything.
PURE = """
    __future__ abc base64 binascii bisect collections dataclasses enum functools hashlib heapq hmac inspect
    ipaddress itertools json math operator re string struct tomllib types typing unicodedata
"""
# zeroconf's message classes, given a time, are a function of bytes; ifaddr is for the shell.
PACKAGES = frozenset({"cryptography", "multiaddr", "zeroconf", "ifaddr"})
RUN_TIME = PACKAGES | {"dns", "websockets"}  # what the shells use besides

# What only type checkers import: each has its own copy, so nobody has to install it. TypeForm (PEP 747) is in typing
# from 3.15 on.
CHECKERS_ONLY = "typing_extensions"
# Which folder may use which, so that there is no circle between them; tests/benchmarks tests the benchmarks.
USES = {
    "stronghold_p2p": set[str](),
    "harness": {"stronghold_p2p"},
    "benchmarks": {"stronghold_p2p", "harness"},
    "tools": {"stronghold_p2p", "harness"},
    "tests": {"stronghold_p2p", "harness", "tools"},
    "tests/benchmarks": {"stronghold_p2p", "harness", "tools", "tests", "benchmarks"},
}
MODULE = re.compile(r"(\w+)(\.\w+)+")
# Programs: a test starts them as processes of their own instead of importing them.
STARTED = {"stronghold_p2p.__main__", "stronghold_p2p.cli.demo_peer"}


def foreign(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in house.imports(path) if not name.startswith("stronghold_p2p")}


def test_every_module_has_a_room_and_every_room_exists() -> None:
    assert [inside(path) for path in house.modules() if house.place(path) is None] == []
    assert [room for room in house.table() if not (house.PACKAGE / room).exists()] == []
    assert len(MODULES) >= 30
    assert len(CORES) >= 25


def test_imports_lead_down_or_stay_in_their_folder_and_never_in_a_circle() -> None:
    assert house.wrong_arrows() == []
    assert house.circles() == []


@pytest.mark.parametrize("path", CORES, ids=inside)
def test_a_core_uses_only_what_is_pure(path: Path) -> None:
    """``generate`` is how keys of the cryptography package come out of the system's randomness."""
    assert foreign(path) - set(PURE.split()) - PACKAGES - {CHECKERS_ONLY} == set()
    shells = [inside(target) for target in house.ours(path) if (where := house.place(target)) and not where.core]
    assert shells == []
    drawn = {node.attr for node in ast.walk(house.tree(path)) if isinstance(node, ast.Attribute)}
    assert drawn & {"generate", "generate_key"} == set()


@pytest.mark.parametrize("path", house.modules(), ids=inside)
def test_run_time_packages_are_the_declared_ones(path: Path) -> None:
    assert foreign(path) - set(sys.stdlib_module_names) - RUN_TIME - {CHECKERS_ONLY} == set()


@pytest.mark.parametrize("folder", USES)
def test_folders_do_not_go_in_circles(folder: str) -> None:
    """Neither by an import nor as a program that is started by its name."""
    for path in (house.ROOT / folder).rglob("*.py"):
        if folder == "tests" and "benchmarks" in path.parts:
            continue
        texts = {node.value for node in ast.walk(house.tree(path)) if isinstance(node, ast.Constant)}
        started = {text for text in texts if isinstance(text, str) and MODULE.fullmatch(text)}
        used = {name.partition(".")[0] for name in house.imports(path) | started} & USES.keys()
        assert used - USES[folder] <= {folder.partition("/")[0]}, path


def test_what_is_for_type_checkers_is_imported_by_nothing_else() -> None:
    for path in house.modules():
        body = house.tree(path).body
        guarded = [node for node in body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
        inner = [node.module for block in guarded for node in block.body if isinstance(node, ast.ImportFrom)]
        everywhere = [node.module for node in ast.walk(house.tree(path)) if isinstance(node, ast.ImportFrom)]
        assert inner.count(CHECKERS_ONLY) == everywhere.count(CHECKERS_ONLY)


def test_every_module_is_imported_by_a_test() -> None:
    tested: set[str] = set()
    for path in (house.ROOT / "tests").rglob("*.py"):
        tested |= set(house.imports(path)) | {name.rpartition(".")[0] for name in house.imports(path)}
    named = {name for name, path in MODULES.items() if path.name != "__init__.py"}
    direct = named & tested
    gathered = {house.name(target) for name in tested & set(MODULES) for target in house.ours(MODULES[name])}
    assert named - direct - gathered - STARTED == set()
    assert STARTED <= named


def test_make_house_tells_what_is_wrong() -> None:
    """The report names each room of the table, and counts what does not fit."""
    told = house.report()
    assert [room for room in house.table() if f"  {room} " not in told] == []
    assert "arrows up or sideways: 0" in told
    assert "circles: 0" in told


def test_the_document_shows_what_is_there() -> None:
    """``make docs`` writes its generated parts anew; sizes may have changed since, but nothing else."""

    def without_sizes(text: str) -> str:
        return re.sub(r"longest (file|function): .*", "", re.sub(r" +", " ", re.sub(r"\d+", "0", text)))

    assert without_sizes(diagrams.current()) == without_sizes(house.TABLE.read_text(encoding="utf-8"))
