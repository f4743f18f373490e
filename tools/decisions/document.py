"""docs/firewall.md, with its tables as they are played now."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

from tools.decisions import rules, situations

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "firewall.md"


async def _tables() -> dict[str, str]:
    return {
        "precedence": await rules.precedence(),
        "rules": await rules.table(),
        "situations": await situations.table(),
    }


def current() -> str:
    """The page; ``ValueError`` where a table has no place in it."""
    text = PAGE.read_text(encoding="utf-8")
    for mark, table in asyncio.run(_tables()).items():
        text = placed(text, mark, table)
    return text


def placed(text: str, mark: str, table: str) -> str:
    """The text with the table between its marks."""
    pattern = re.compile(rf"(<!-- {mark}: make docs -->\n).*?(<!-- end -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"{PAGE.name} has no one place for the table {mark}")
    return pattern.sub(lambda found: f"{found[1]}{table}{found[2]}", text)
