"""The table of the document: written anew between its markers, and only when that is asked for."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from benchmarks import build
from benchmarks.runner import machine
from benchmarks.scale.figures import Figure
from benchmarks.scale.parts import RESIDENT

DOCUMENT = build.ROOT / "docs" / "performance.md"
MARK: Final = "make scale ARGS=--write"
TITLES = {
    "idle": "Connections that do nothing",
    "visits": "Connections with one request each",
    "requests": "Requests over few connections",
    "bulk": "Connections in bulk",
}
# KiB for each idle connection, measured while this stack was designed: another machine, and not by this command.
OTHERS = {"go-libp2p 0.51": 34.8, "rust-libp2p 0.57": 34.2, "py-libp2p 0.8.1": 52.7, "js-libp2p 3.3": 88.7}
SHOWN = {"processor", "system", "Python", "cryptography", "this repository"}


def table(figures: list[Figure], load: str) -> str:
    """All figures in Markdown, and what a reader must know about the machine."""
    where = [f"{name}: {value}" for name, value in machine.describe() if name in SHOWN]
    where.append(f"load average before: {load}")
    lines = [f"{datetime.now(UTC):%Y-%m-%d}; {'; '.join(where)}."]
    for part, title in TITLES.items():
        lines += ["", f"| {title} | measured | bar | |", "|---|---:|---:|---|"]
        lines += [figure.row() for figure in figures if figure.part == part]
    return "\n".join(lines + beside_others(figures)) + "\n"


def beside_others(figures: list[Figure]) -> list[str]:
    """Our memory for each idle connection and what was told of others."""
    ours = [figure.value for figure in figures if figure.what == RESIDENT]
    rows = {"ours, measured here": ours[0], **OTHERS} if ours else {}
    lines = ["", "| KiB for each idle connection | |", "|---|---:|"]
    return lines + [f"| {name} | {value:.1f} |" for name, value in rows.items()] if rows else []


def placed(whole: str, mark: str, text: str) -> str:
    """The document with ``text`` behind the comment ``mark``, up to the next comment."""
    begin, end = f"<!-- {mark} -->\n", "<!-- end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(whole):
        raise ValueError(f"no place between {begin.strip()} and {end}")
    return pattern.sub(lambda _: begin + text + end, whole)


def write(mark: str, text: str) -> None:
    """Put a table into the document."""
    DOCUMENT.write_text(placed(DOCUMENT.read_text(encoding="utf-8"), mark, text), encoding="utf-8")
