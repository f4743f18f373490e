"""The pages with generated tables, as these are played now: docs/firewall.md and docs/from-rust.md."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

from tools.decisions import rules, situations

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
FIREWALL: Final = DOCS / "firewall.md"
FROM_RUST: Final = DOCS / "from-rust.md"


async def _tables() -> list[tuple[Path, str, str]]:
    return [
        (FIREWALL, "precedence", await rules.precedence()),
        (FIREWALL, "rules", await rules.table()),
        (FROM_RUST, "situations", await situations.table()),
    ]


def current() -> dict[Path, str]:
    """The text of each page; ``ValueError`` where a table has no place in it."""
    pages = {page: page.read_text(encoding="utf-8") for page in (FIREWALL, FROM_RUST)}
    for page, mark, table in asyncio.run(_tables()):
        pages[page] = placed(pages[page], mark, table)
    return pages


def placed(text: str, mark: str, table: str) -> str:
    """The text with the table between its marks."""
    pattern = re.compile(rf"(<!-- {mark}: make docs -->\n).*?(<!-- end -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"no one place for the table {mark}")
    return pattern.sub(lambda found: f"{found[1]}{table}{found[2]}", text)
