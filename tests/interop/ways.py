"""Who the tests are played with: which implementation, over which transport, dialed by whom.

The environment variable ``INTEROP`` names the implementations that run; all others are left out when tests are
collected. ``make test`` plays go and js, ``make peers`` the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Literal

import pytest

Role = Literal["ours dials", "theirs dials"]
ROLES: tuple[Role, ...] = ("ours dials", "theirs dials")

PLAYED = tuple(os.environ.get("INTEROP", "go js").split())
WHOLE = ("go", "js", "rust")
"""Those whose programs know the whole list of commands."""


@dataclass(frozen=True)
class Way:
    """One implementation, connected in one way."""

    name: str
    role: Role

    def __str__(self) -> str:
        return f"{self.name}: {self.role}"


def ways(names: Iterable[str] = WHOLE, roles: Iterable[Role] = ROLES) -> list[Way]:
    return [Way(name, role) for name, role in product(names, roles)]


def played(*names: str, roles: Iterable[Role] = ROLES) -> pytest.MarkDecorator:
    """For a test that asks for ``pair``: with these implementations only."""
    return pytest.mark.parametrize("pair", ways(names or WHOLE, roles), indirect=True, ids=str)


GO = played("go")
OURS_DIALS = played(roles=["ours dials"])
THEIRS_DIALS = played(roles=["theirs dials"])
