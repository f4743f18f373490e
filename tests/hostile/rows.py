"""Every row of the suite, found by its name: ``test_row_26_...``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

from tests.hostile.arena import Arena

MODULES = (
    *("transport", "websocket", "tls", "dialing", "multistream", "yamux", "noise", "identify", "requests"),
    *("firewall", "rules", "stored", "load", "shares", "names", "mdns"),
)


@dataclass(frozen=True)
class Row:
    """``name`` is the first line of its docstring."""

    number: int
    name: str
    module: str
    test: str
    play: Callable[[Arena], None]

    @property
    def short(self) -> str:
        """``26_...``."""
        return self.test.removeprefix("test_row_")


def rows() -> Iterator[Row]:
    """In the order of the modules."""
    for module in MODULES:
        for name, function in vars(import_module(f"tests.hostile.test_{module}")).items():
            if name.startswith("test_row_"):
                told = (function.__doc__ or name).splitlines()[0]
                yield Row(int(name.split("_")[2]), told, f"test_{module}", name, function)


def chosen(numbers: list[str]) -> list[Row]:
    """Those with these numbers; without any, all."""
    return [row for row in rows() if not numbers or str(row.number) in numbers]
