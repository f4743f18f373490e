"""The pages with generated tables, as these are played now: docs/firewall.md and docs/from-rust.md."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from tools.decisions import rules, situations
from tools.pages import placed

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
FIREWALL: Final = DOCS / "firewall.md"
FROM_RUST: Final = DOCS / "from-rust.md"


async def _tables() -> dict[Path, dict[str, str]]:
    return {
        FIREWALL: {"precedence": await rules.precedence(), "rules": await rules.table()},
        FROM_RUST: {"situations": await situations.table()},
    }


def current() -> dict[Path, str]:
    """The text of each page."""
    return {page: placed(page.read_text(encoding="utf-8"), parts) for page, parts in asyncio.run(_tables()).items()}
