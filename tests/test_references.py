"""Whatever the repository cites by number stands in docs/catalogue, and whatever stands there is cited.

CONTRIBUTING.md, "Citations", tells how a citation is written. One that leads nowhere is told with its place, an entry
that nobody cites with its name: ``row 38``, ``parity 2``, ``D8``, ``T6``, or a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from fnmatch import fnmatch
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from stronghold_p2p import Limits, Timeouts
from tests.cores import ROOT
from tests.hostile.rows import rows

CATALOGUE = ROOT / "docs" / "catalogue"
PLAYED, TESTED = "## Rows that `make hostile` plays\n", "## Rows that tests play\n"

SUFFIXES = {".py", ".md", ".go", ".rs", ".js", ".toml", ""}
PASSED_OVER = {
    "pyproject.toml": "T10 and T20 are rules of ruff there",
    "test_references.py": "its examples lead nowhere",
}
# Names of Markdown files that are no documents.
WRITTEN = {"sample.md": "by tests/test_docs.py", ".cache/journey.md": "on the way to docs/journey.md"}

ROWS = re.compile(r"\bhostile rows? (\d+(?:(?:, | and | to )\d+)*)", re.IGNORECASE)
PARITY = re.compile(r"\bparity (\d[\d.]*\b)", re.IGNORECASE)
LABEL = re.compile(r"\b([DT]\d{1,2})\b")
NAME = re.compile(r"\btest_(row_|[dt])(\d+)_")
BARE = re.compile(r"(?<!hostile )\brows? \d+", re.IGNORECASE)
DOCUMENT = re.compile(r"(?<![\w./:-])[\w./-]*\w\.md\b")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
FILE = re.compile(r"(?<![\w./-])(?:benchmarks|docs|examples|stronghold_p2p|tests|tools)/[\w./-]+\.(?:py|go|rs|js)\b")


def texts() -> Iterator[Path]:
    """Every file of the repository in which something can be cited."""
    ignored = [".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split())]
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if any(fnmatch(path.name, pattern) for pattern in ignored):
                continue
            if path.is_dir():
                folders.append(path)
            elif path.suffix in SUFFIXES and path.name not in PASSED_OVER:
                yield path


def read(name: str) -> str:
    return (CATALOGUE / name).read_text(encoding="utf-8")


def numbers(table: str) -> list[str]:
    """What stands in the first column."""
    return re.findall(r"^\| ([DT]?\d+) \|", table, re.MULTILINE)


@cache
def entries() -> frozenset[str]:
    sections = re.findall(r"^## (\d+)\. ", read("parity.md"), re.MULTILINE)
    hostile = (f"row {number}" for number in numbers(read("hostile.md")))
    return frozenset([*hostile, *(f"parity {number}" for number in sections), *numbers(read("parity.md"))])


@cache
def specifications() -> frozenset[str]:
    return frozenset(re.findall(r"^\| \[([\w/-]+\.md)\]", read("README.md"), re.MULTILINE))


def specification(document: str) -> str | None:
    """The one that is meant; its folder may be left out where it has a name of its own."""
    found = (name for name in specifications() if document in (name, name.rpartition("/")[2]))
    return next(found, None) if document != "README.md" else None


def listed(given: str) -> Iterator[int]:
    """Each number of ``15 to 17, 19 and 21``; between the ends of a range those that there are."""
    known = sorted(int(entry[4:]) for entry in entries() if entry.startswith("row "))
    for part in re.split(r", | and ", given):
        first, last = (int(number) for number in (part.partition(" to ")[::2] if " to " in part else (part, part)))
        yield from {first, last, *(number for number in known if first <= number <= last)}


def cited(text: str) -> Iterator[str]:
    """The entries of the catalogue that a text names."""
    for found in ROWS.findall(text):
        yield from (f"row {number}" for number in listed(found))
    yield from (f"parity {number}" for number in PARITY.findall(text))
    yield from LABEL.findall(text)
    for kind, number in NAME.findall(text):
        yield f"row {number}" if kind == "row_" else f"{kind.upper()}{number}"


def exists(document: str, folder: Path) -> bool:
    if specification(document) or document in WRITTEN:
        return True
    return any((place / document).is_file() for place in (folder, ROOT, ROOT / "docs"))


def wrong(line: str, folder: Path = ROOT) -> Iterator[str]:
    """What leads nowhere in a line of a file in that folder."""
    yield from (entry for entry in cited(line) if entry not in entries())
    yield from (f"{found}: a row of what?" for found in BARE.findall(line))
    yield from (name for name in DOCUMENT.findall(line) if not exists(name, folder))
    yield from (name for name in FILE.findall(line) if not (ROOT / name).is_file())


@pytest.mark.parametrize("top", sorted({path.relative_to(ROOT).parts[0] for path in texts()}))
def test_every_citation_leads_somewhere(top: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {what}"
        for path in texts()
        if path.relative_to(ROOT).parts[0] == top
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for what in wrong(line, path.parent)
    ]
    assert found == []


def test_every_entry_is_cited_and_is_there_once() -> None:
    outside = [path.read_text(encoding="utf-8") for path in texts() if path.parent != CATALOGUE]
    assert entries() - set(chain.from_iterable(map(cited, outside))) == set()
    documents = set(chain.from_iterable(map(DOCUMENT.findall, outside)))
    assert specifications() - {specification(name) for name in documents} == set()
    for name in ("hostile.md", "parity.md"):
        found = numbers(read(name))
        assert len(found) == len(set(found))


def test_the_hostile_rows_are_those_that_are_played() -> None:
    _, _, both = read("hostile.md").partition(PLAYED)
    played, _, tested = both.partition(TESTED)
    assert {int(number) for number in numbers(played)} == {row.number for row in rows()}
    tests = "".join(path.read_text(encoding="utf-8") for path in texts() if (ROOT / "tests") in path.parents)
    assert {f"row {number}" for number in numbers(tested)} <= set(cited(tests))


def test_the_limits_that_the_catalogue_names_exist() -> None:
    hostile, parity = read("hostile.md"), read("parity.md")
    named = set(re.findall(r"`([a-z_]+)`", hostile)) - {"na", "ls", "repr"}
    named |= set(re.findall(r"`(?:Limits|Timeouts)\.(\w+)`", parity))
    assert named - {field.name for options in (Limits, Timeouts) for field in fields(options)} == set()


def test_each_row_about_other_implementations_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| .* \|$", text, re.MULTILINE):
        if row.count(" | ") != 3 or row.startswith(("| who |", "| name here |")) or "| `make" in row:
            continue
        assert TEST.search(row), f"no test: {row}"
    for path, name in TEST.findall(text):
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), name


@pytest.mark.parametrize(
    ("line", "dangling"),
    [
        ("hostile row 999", ["row 999"]),
        ("Hostile rows 1 to 999", ["row 999"]),
        ("hostile rows 1, 998 and 999", ["row 998", "row 999"]),
        ("def test_row_999_of_nothing() -> None:", ["row 999"]),
        ("as in row 38", ["row 38: a row of what?"]),
        ("(parity 9)", ["parity 9"]),
        ("(parity 2.3)", ["parity 2.3"]),
        ("D99 and T99", ["D99", "T99"]),
        ("async def test_d99_of_nothing() -> None:", ["D99"]),
        ("``reference/reliability.md`` 2.7", ["reference/reliability.md"]),
        ("see notes.md", ["notes.md"]),
        ("tests/swarm/test_nothing.py", ["tests/swarm/test_nothing.py"]),
        ("hostile rows 26 to 28, 38 and 39; parity 2, D8, T6", []),
        ('yamux/README.md, "Flow Control", peer-ids.md and docs/firewall.md', []),
    ],
)
def test_one_that_leads_nowhere_is_found(line: str, dangling: list[str]) -> None:
    assert sorted(wrong(line)) == dangling
