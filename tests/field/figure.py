"""What a scenario has found, against what is allowed."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """``found`` and ``bound`` in words; ``holds``: the one keeps to the other."""

    found: str
    bound: str
    holds: bool
