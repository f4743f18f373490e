"""``docs/conformance.md``, from what was played."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.conformance.play import Played
from tests.conformance.scenario import Asker

PATH = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"

BAR: Final = "\\|"  # inside a cell
TITLES: Final[dict[Asker, str]] = {"ours": "We ask, the crate answers", "crate": "The crate asks, we answer"}

WHY: Final = {
    "asks twice": "Without a rule the crate asks for one when a connection comes, and again with its first request.",
    "chance": "Seen to come out in more than one way: which of two timers, messages or events is first, or how many of"
    " its dials of one peer are under way, is a matter of chance in the crate.",
    "D5": "The crate's firewall gives up after ten seconds; its option for that sets another one.",
    "D14": "Any fault of one stream ends the whole connection in the crate: a refusal, nonsense, a reset, a late"
    " answer. Ours loses the one request and dials again.",
    "D15": "Bytes are arrays of numbers in JSON: a mebibyte is nearly four, and by default we take one.",
    "RST": "The crate refuses the protocol, takes the request behind the proposal for nonsense and resets; its Yamux"
    " sends the reset first, and the refusal is lost. Ours asks again without a request, and is told.",
}
"""What the last column means; D5 and the like are defects of docs/catalogue/parity.md."""


HEAD: Final = """\
# Conformance with the Rust crate

Written by `make conformance`: a node on the published crate (`harness/crate/`) and a
`Network` of ours, over loopback, both ways. What each side saw is in its own words. `make test` replays
the recorded streams of the crate without Rust. A name in the last column says why it is as it is; what
it means stands at the end.

| | |
|---|---|
"""


def write(results: Sequence[Played], crate: str) -> None:
    """Every scenario in a row."""
    passed = sum(played.passed for played in results)
    changed = _said("git", "status", "--porcelain", "--untracked-files=no", "--", "stronghold_p2p")
    commit = (_said("git", "rev-parse", "--short", "HEAD") or "unknown") + (" and changes" if changed else "")
    rows = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "the crate": crate,
        "Rust": _said("rustc", "--version") or "unknown",
        "ours": f"stronghold_p2p {version('stronghold-p2p')}, commit {commit}",
        "Python": sys.version.split()[0],
        "scenarios as expected": f"{passed} of {len(results)}",
    }
    parts = [HEAD + "\n".join(f"| {name} | {value} |" for name, value in rows.items())]
    for asker, title in TITLES.items():
        parts.append(f"## {title}\n\n{_table([played for played in results if played.scenario.asker == asker])}")
    named = {why for played in results for why in played.scenario.why.split(", ") if why}
    parts.append("\n".join(["## Why", "", *(f"- **{name}**: {WHY[name]}" for name in sorted(named))]))
    PATH.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _table(results: Sequence[Played]) -> str:
    lines = ["| scenario | the crate saw | ours saw | connection | as expected | why |", "|---|---|---|---|---|---|"]
    for played in results:
        cells = [played.scenario.name, *played.seen, "yes" if played.passed else "**no**", played.scenario.why]
        lines.append(f"| {' | '.join(text.replace('|', BAR) for text in cells)} |")
    return "\n".join(lines)


def _said(name: str, *arguments: str) -> str:
    program = shutil.which(name)
    if program is None:
        return ""
    done = subprocess.run([program, *arguments], cwd=PATH.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()
