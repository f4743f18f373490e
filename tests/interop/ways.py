"""Who the tests are played with: which implementation, over which transport, dialed by whom.

The environment variable ``INTEROP`` names the implementations that run; all others are left out when tests are
collected. ``make test`` plays go, and js but for its long lists, ``make peers`` the rest. ``OVER`` names what every
test is played over that does not say so itself: ``tcp`` if it is not set, or ``ws`` or ``wss`` (``make websocket``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Literal

import pytest

Over = Literal["tcp", "ws", "wss"]
BEHIND: dict[Over, str] = {"tcp": "", "ws": "/ws", "wss": "/tls/ws"}
"""What stands behind the port."""
_GIVEN = os.environ.get("OVER")
OVER: Over = "wss" if _GIVEN == "wss" else "ws" if _GIVEN == "ws" else "tcp"


def newer(address: object) -> str:
    """go names the ends of a secure WebSocket by ``/wss``, and dials and announces them as ``/tls/ws`` (0.52.0)."""
    return str(address).replace("/wss", "/tls/ws")


Role = Literal["ours dials", "theirs dials"]
ROLES: tuple[Role, ...] = ("ours dials", "theirs dials")

PLAYED = tuple(os.environ.get("INTEROP", "go js").split())
WHOLE = ("go", "js", "rust")
"""Those whose programs know the whole list of commands."""
EVERY = (*WHOLE, "litep2p", "py")


@dataclass(frozen=True)
class Way:
    """One implementation, connected in one way."""

    name: str
    role: Role
    over: Over = OVER

    def __str__(self) -> str:
        return f"{self.name}: {self.role}" + ("" if self.over == OVER else f" over {self.over}")


def ways(names: Iterable[str] = WHOLE, roles: Iterable[Role] = ROLES, over: Over = OVER) -> list[Way]:
    return [Way(name, role, over) for name, role in product(names, roles)]


def played(*names: str, roles: Iterable[Role] = ROLES, over: Over = OVER) -> pytest.MarkDecorator:
    """For a test that asks for ``pair``: with these implementations only."""
    return pytest.mark.parametrize("pair", ways(names or WHOLE, roles, over), indirect=True, ids=str)


GO = played("go")
AT_ONCE = played("go", "js")
"""libp2p-stream, on which rust's program is built, drops streams that arrive faster than they are fetched."""
OURS_DIALS = played(roles=["ours dials"])
THEIRS_DIALS = played(roles=["theirs dials"])
