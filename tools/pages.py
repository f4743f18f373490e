"""Documents with generated parts: each part stands between ``<!-- its name: make docs -->`` and ``<!-- end -->``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def placed(text: str, parts: Mapping[str, str]) -> str:
    """The text with each part between its marks; ``ValueError`` where one has no place."""
    for mark, part in parts.items():
        before, found, rest = text.partition(f"<!-- {mark}: make docs -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not (found and end) or found in after:
            raise ValueError(f"no one place for {mark}")
        text = before + found + part + end + after
    return text


def main(pages: Mapping[Path, str]) -> None:
    """Print the pages, or write them where ``write`` is asked for."""
    for page, text in pages.items():
        if sys.argv[1:] == ["write"]:
            page.write_text(text, encoding="utf-8")
        else:
            sys.stdout.buffer.write(text.encode())
