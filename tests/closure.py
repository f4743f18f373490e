"""Every distribution that installing the package brings, and who asks for it.

python -m tests.closure          prints the table
python -m tests.closure write    writes it into docs/dependencies.md
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cores import ROOT

OWN = "stronghold-p2p"
OLDEST = {"extra": "", "python_version": "3.11", "python_full_version": "3.11.0"}
DOCUMENT = ROOT / "docs" / "dependencies.md"
BEGIN, END = "<!-- python -m tests.closure write -->\n", "<!-- end -->"


def needs(name: str) -> set[str]:
    """What one installed distribution asks for on the oldest Python that we support, without its extras."""
    asked = map(Requirement, distribution(name).requires or [])
    return {canonicalize_name(one.name) for one in asked if one.marker is None or one.marker.evaluate(OLDEST)}


def closure(root: str = OWN) -> dict[str, set[str]]:
    """Each distribution below ``root``, and those that ask for it; newer Pythons need some of them no more."""
    brought: dict[str, set[str]] = {}
    waiting = [root]
    while waiting:
        asking = waiting.pop()
        for name in needs(asking):
            if name not in brought:
                waiting.append(name)
            brought.setdefault(name, set()).add(asking)
    return brought


def table() -> str:
    """The closure in Markdown: ours first, then the others by name."""
    rows = sorted(closure().items(), key=lambda row: (OWN not in row[1], row[0]))
    lines = ["| distribution | brought by |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(f'`{asking}`' for asking in sorted(askers))} |" for name, askers in rows]
    return "\n".join(lines) + "\n"


def written() -> str:
    """The table as it stands in the document."""
    return DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    """Put the table of this environment into the document."""
    whole = DOCUMENT.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    DOCUMENT.write_text(pattern.sub(lambda _: BEGIN + table() + END, whole), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    else:
        print(table(), end="")
