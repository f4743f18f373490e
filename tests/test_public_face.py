"""``dir()`` of each public class shows what the documentation explains, and nothing else; ``help()`` tells the rest."""

from __future__ import annotations

import dataclasses
import inspect
import pydoc
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import stronghold_p2p
from stronghold_p2p import AddressBook, Firewall, Identity, Network, P2PError

DOCS = Path(__file__).parent.parent / "docs"
PAGES = (
    "api.md",
    "firewall.md",
    "requests.md",
    "streams.md",
    "counts.md",
    "relay.md",
    "errors.md",
    "in-your-program.md",
    "addresses.md",
    "names.md",
)
CLASSES = [thing for name in stronghold_p2p.__all__ if isinstance(thing := getattr(stronghold_p2p, name), type)]
MADE: dict[type, Any] = {kind: kind() for kind in (AddressBook, Firewall, Identity, Network)}


@cache
def explained() -> frozenset[str]:
    """The names in code, in the text, the headings and the snippets of the pages."""
    snippet = re.compile(r"^```python\n.*?^```", re.DOTALL | re.MULTILINE)
    found: set[str] = set()
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        found |= set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", snippet.sub("", text)))))
        found |= set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
        found |= set(re.findall(r"(?<=\.)\w+|\w+(?==)", " ".join(snippet.findall(text))))
    return frozenset(found)


def public(kind: type) -> set[str]:
    """What a user sees of ``kind`` and its objects, without what Python's own classes give it."""
    names = {*dir(kind), *dir(MADE.get(kind, kind))}
    if dataclasses.is_dataclass(kind):
        names |= {field.name for field in dataclasses.fields(kind)}
    if issubclass(kind, P2PError):
        names |= inspect.signature(kind).parameters.keys() - {"message"}
    foreign = {name for base in kind.__mro__ if not base.__module__.startswith("stronghold") for name in dir(base)}
    return {name for name in names if not name.startswith("_")} - foreign


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_what_is_there_is_explained(kind: type) -> None:
    by_help = public(kind) & set(re.findall(r"^    (\w+) = ", kind.__doc__ or "", re.MULTILINE))
    assert public(kind) - explained() - by_help == set()


def test_all_is_what_is_there() -> None:
    assert {name for name in dir(stronghold_p2p) if name[0].isupper() or name == "messages"} == {
        *stronghold_p2p.__all__
    }


@pytest.mark.parametrize("name", stronghold_p2p.__all__)
def test_each_public_name_is_explained(name: str) -> None:
    assert name in explained()


def test_help_tells_each_option_of_a_network() -> None:
    options = inspect.signature(Network).parameters
    told = dict(re.findall(r"^    (\w+): (.+)$", Network.__doc__ or "", re.MULTILINE))
    assert told.keys() == options.keys()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_public_method_has_a_docstring(kind: type) -> None:
    methods = [name for name in public(kind) if callable(getattr(kind, name, None))]
    assert [name for name in methods if not (getattr(kind, name).__doc__ or "").strip()] == []


def test_each_count_is_explained() -> None:
    table = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    gauges = {name for name in Network().stats() if not name.endswith("_total")}  # docs/counts.md has the others
    assert gauges - set(re.findall(r"\w+", " ".join(table))) == set()


def test_help_shows_the_firewall_and_the_book() -> None:
    shown = pydoc.render_doc(Network, renderer=pydoc.plaintext)  # type: ignore[attr-defined]
    assert re.search(r"^ \|  firewall$", shown, re.MULTILINE)
    assert re.search(r"^ \|  book$", shown, re.MULTILINE)
