"""Every distribution that installing the package brings, and who asks for it.

python -m tests.closure write    writes it into docs/dependencies.md (part of ``make docs``)
"""

from __future__ import annotations

from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cores import ROOT
from tools import pages

OWN = "stronghold-p2p"
OLDEST = {"extra": "", "python_version": "3.11", "python_full_version": "3.11.0"}
DOCUMENT = ROOT / "docs" / "dependencies.md"


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


def current() -> str:
    """The document with the table of this environment."""
    return pages.placed(DOCUMENT.read_text(encoding="utf-8"), {"closure": table()})


if __name__ == "__main__":
    pages.main({DOCUMENT: current()})
