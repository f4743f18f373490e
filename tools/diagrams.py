"""The generated parts of docs/architecture.md: what ``make house`` prints, and the states as their tables tell them.

python -m tools.diagrams write     writes them (part of ``make docs``)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from stronghold_p2p.connection.live import LIFE
from stronghold_p2p.transport.upgrading import PHASES
from stronghold_p2p.yamux.state import RECEIVING, SENDING
from tools import house, pages

TABLES: Final[Mapping[str, Mapping[tuple[Any, Any], Any]]] = {
    "sending": SENDING,
    "receiving": RECEIVING,
    "upgrade": PHASES,
    "life": LIFE,
}


def word(member: Enum) -> str:
    """A member's name in small letters."""
    return member.name.lower()


def diagram(table: Mapping[tuple[Any, Any], Any]) -> str:
    """A transition table as a state diagram of Mermaid; it begins in the first state of the table."""
    first = next(iter(table))[0]
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {word(first)}"]
    lines += [f"    {word(source)} --> {word(target)}: {word(event)}" for (source, event), target in table.items()]
    return "\n".join([*lines, "```", ""])


def current() -> str:
    """The page with its generated parts as they are now."""
    parts = {name: diagram(table) for name, table in TABLES.items()}
    parts["house"] = f"```text\n{house.report()}\n```\n"
    return pages.placed(house.TABLE.read_text(encoding="utf-8"), parts)


if __name__ == "__main__":
    pages.main({house.TABLE: current()})
