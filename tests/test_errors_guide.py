"""docs/errors.md: no class is missing, each has what is said of it, and each is provoked by the rows that it names."""

from __future__ import annotations

import inspect
import re

import pytest

from stronghold_p2p import errors
from stronghold_p2p.errors import P2PError
from tests.cores import ROOT
from tests.test_advice import ROWS
from tests.test_errors import CLASSES

GUIDE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", GUIDE, re.MULTILINE | re.DOTALL))
ALWAYS = {"peer", "sent"}


def code(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def own(kind: type[P2PError]) -> set[str]:
    """What the class keeps beyond what every error has."""
    taken = set(inspect.signature(kind.__init__).parameters) - {"self", "message"} - ALWAYS
    return taken | ({"reason"} if issubclass(kind, errors.ConnectionClosed) else set())


def part(section: str, name: str) -> str:
    found = re.search(rf"^- {name}: (.*?)(?=^- |^\n|\Z)", section, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def test_each_class_has_its_section() -> None:
    assert set(SECTIONS) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_each_tells_its_parent_and_what_it_has(name: str) -> None:
    kind, section = CLASSES[name], SECTIONS[name]
    told = re.match(r"An? `(\w+)`|The root of all, an `(\w+)`", section)
    assert told is not None
    parent = told[1] or told[2]
    assert parent in {base.__name__ for base in kind.__bases__}
    if len(kind.__bases__) > 1:
        assert parent == kind.__bases__[1].__name__  # the standard one: that they derive from P2PError is said once
    has = part(section, "Has")
    if "what `ConnectionClosed` has" not in has:
        assert own(kind) | (ALWAYS if kind is P2PError else set()) <= code(has)
    assert kind is P2PError or part(section, "Do")


@pytest.mark.parametrize("name", CLASSES)
def test_each_is_provoked_by_the_rows_that_it_names(name: str) -> None:
    shown = part(SECTIONS[name], "Shown by")
    if name == "P2PError":
        assert shown.strip() == "every row."
    else:
        assert re.findall(r'"([^"]+)"', shown) == [row.name for row in ROWS if row.kind.__name__ == name]


def test_the_table_of_calls_names_classes() -> None:
    rows = re.findall(r"^\| ([^|-]+) \| ([^|-]+) \|$", GUIDE.partition("## Each class")[0], re.MULTILINE)
    assert len(rows) == 8
    for _, classes in rows[1:]:
        assert code(classes)
        assert {name for name in code(classes) if name[0].isupper()} <= set(CLASSES)
