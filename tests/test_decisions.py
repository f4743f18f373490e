"""The generated tables of docs/firewall.md and docs/from-rust.md are what happens, and complete."""

from __future__ import annotations

import re

import pytest

from stronghold_p2p import Rule
from tools.decisions.document import FROM_RUST, current
from tools.decisions.rules import ROWS
from tools.decisions.situations import SITUATIONS
from tools.pages import placed


def test_the_tables_are_what_happens() -> None:
    """Each row is played: ``make docs`` writes them anew."""
    for page, text in current().items():
        assert text == page.read_text(encoding="utf-8"), page.name


def test_every_kind_of_rule_has_its_rows() -> None:
    kinds = {str(row.rule) for row in ROWS}
    assert kinds == {"None", "allow", "reject", "ask", "only", "when"}
    assert {Rule.ALLOW, Rule.REJECT, Rule.ASK} <= {row.introduce for row in ROWS if row.with_on_no_rule}


def test_every_situation_has_its_row() -> None:
    """Fourteen have an answer of the Rust library; there are some of ours beyond them."""
    text = FROM_RUST.read_text(encoding="utf-8")
    assert len(SITUATIONS) >= 14
    assert len({one.told for one in SITUATIONS}) == len(SITUATIONS)
    assert all(f"| {one.told} | {one.theirs} |" in text for one in SITUATIONS)
    assert {"D4", "D5", "D8", "D23", "D24"} <= set(re.findall(r"D\d+", " ".join(one.defect for one in SITUATIONS)))


def test_a_table_needs_its_place() -> None:
    page = "a\n<!-- b: make docs -->\n{}\n<!-- end -->\n"
    assert placed(page.format("old"), {"b": "new\n"}) == page.format("new")
    for text in ("a\n", page + page, "a\n<!-- b: make docs -->\n"):
        with pytest.raises(ValueError, match="no one place for b"):
            placed(text, {"b": "new\n"})
