"""Who may import whom: the levels of docs/architecture.md, and what makes a core a core."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import cores

MODULES = {cores.name(path): path for path in cores.modules()}
CORES = cores.cores()

# What a core may use of the standard library: nothing here waits, tells the time, draws lots, logs or opens anything.
PURE = frozenset(
    (
        "__future__",
        "abc",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "inspect",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "struct",
        "tomllib",
        "types",
        "typing",
        "unicodedata",
    )
)
PACKAGES = frozenset({"cryptography", "multiaddr"})

# The seams that the rules do not foresee, each with its reason.
UPWARD = {
    ("firewall/firewall.py", "firewall/storage.py"): "Firewall.load and Firewall.save are the face of the rules file",
    ("identity/keys.py", "identity/storage.py"): "Identity.load and Identity.save are the face of the key file",
}
IMPURE = {
    ("firewall/firewall.py", "pathlib"): "the type of the paths that Firewall hands to storage",
    ("identity/keys.py", "pathlib"): "the type of the paths that Identity hands to storage",
    ("identity/keys.py", "generate"): "Identity() makes a fresh key; everything else gets its keys passed in",
}

# What only a type checker ever imports: each has its own copy, so nobody has to install it.
TYPED = {
    ("request_response/typed/codec.py", "typing_extensions"): "TypeForm (PEP 747), which typing has from 3.15 on",
}

# Programs: a test starts them as processes of their own instead of importing them.
STARTED = {"stronghold_p2p.__main__", "stronghold_p2p.cli_demo_peer"}


def inside(path: Path) -> str:
    return path.relative_to(cores.PACKAGE).as_posix()


@cache
def imports(path: Path) -> frozenset[str]:
    """The dotted name of everything that a module imports, at whatever depth; ours resolved to modules."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    package = cores.name(path) if path.name == "__init__.py" else cores.name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                yield whole if whole in MODULES else origin


def ours(path: Path) -> set[Path]:
    """The modules of the package that a module imports."""
    return {MODULES[name] for name in imports(path) if name in MODULES}


def foreign(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path) if not name.startswith("stronghold_p2p")}


def test_every_module_has_a_level() -> None:
    assert [inside(path) for path in cores.modules() if cores.place(path) is None] == []
    assert len(MODULES) >= 30
    assert len(CORES) >= 25
    assert {where.level for path in cores.modules() if (where := cores.place(path))} == set(range(8))


@pytest.mark.parametrize("path", cores.modules(), ids=inside)
def test_imports_go_down_or_to_siblings(path: Path) -> None:
    here = cores.place(path)
    assert here is not None
    wrong = []
    for target in ours(path):
        there = cores.place(target)
        assert there is not None
        gathers = path.name == "__init__.py" and target.is_relative_to(path.parent)
        sibling = there.level == here.level and there.room == here.room
        core_leans_on_shell = here.core and not there.core and not gathers
        if (there.level < here.level or sibling or gathers) and not core_leans_on_shell:
            continue
        if (inside(path), inside(target)) not in UPWARD:
            wrong.append(f"level {here.level} imports {inside(target)} of level {there.level}")
    assert wrong == []


@pytest.mark.parametrize("path", CORES, ids=inside)
def test_a_core_uses_only_what_is_pure(path: Path) -> None:
    impure = foreign(path) - PURE - PACKAGES
    assert {name for name in impure if (inside(path), name) not in IMPURE | TYPED} == set()


@pytest.mark.parametrize("path", CORES, ids=inside)
def test_a_core_draws_no_lots(path: Path) -> None:
    """``generate`` is how keys of the cryptography package come out of the system's randomness."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    drawn = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & {"generate", "generate_key"}
    assert {name for name in drawn if (inside(path), name) not in IMPURE} == set()


@pytest.mark.parametrize("room", ["noise", "yamux", "multistream.py"])
def test_the_layers_of_a_connection_do_not_know_each_other(room: str) -> None:
    layers = ("noise/", "yamux/", "multistream.py", "transport/")
    members = [path for path in cores.modules() if inside(path).startswith(room)]
    assert members
    for path in members:
        others = [inside(target) for target in ours(path) if inside(target).startswith(layers)]
        assert [other for other in others if not other.startswith(room)] == []


@pytest.mark.parametrize("path", cores.modules(), ids=inside)
def test_run_time_packages_are_the_declared_ones(path: Path) -> None:
    others = foreign(path) - set(sys.stdlib_module_names) - PACKAGES
    assert {name for name in others if (inside(path), name) not in TYPED} == set()


def test_no_exception_is_left_over() -> None:
    for source, target in UPWARD:
        assert cores.PACKAGE / target in ours(cores.PACKAGE / source)
    for source, what in IMPURE:
        assert what in (cores.PACKAGE / source).read_text(encoding="utf-8")


def test_what_is_for_type_checkers_is_imported_by_nothing_else() -> None:
    for source, name in TYPED:
        tree = ast.parse((cores.PACKAGE / source).read_text(encoding="utf-8"))
        guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
        inner = [node.module for block in guarded for node in block.body if isinstance(node, ast.ImportFrom)]
        everywhere = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert inner.count(name) == everywhere.count(name) == 1


def test_every_module_is_imported_by_a_test() -> None:
    tested: set[str] = set()
    for path in (cores.ROOT / "tests").rglob("*.py"):
        tested |= set(imports(path)) | {name.rpartition(".")[0] for name in imports(path)}
    named = {name for name, path in MODULES.items() if path.name != "__init__.py"}
    direct = named & tested
    gathered = {cores.name(target) for name in tested & set(MODULES) for target in ours(MODULES[name])}
    assert named - direct - gathered - STARTED == set()
    assert STARTED <= named
