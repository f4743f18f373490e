"""One message of each kind: without fields, with names, with a position, with positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Ping: ...


@dataclass(frozen=True)
class Say:
    text: str


class Shout(NamedTuple):
    text: str


class Pair(NamedTuple):
    left: int
    right: str = "x"
