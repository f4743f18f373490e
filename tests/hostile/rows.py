"""Every row of the suite, found by its name: ``test_row_26_...``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from tests.hostile import (
    test_application,
    test_firewall,
    test_identify,
    test_multistream,
    test_noise,
    test_requests,
    test_stored,
    test_transport,
    test_yamux,
)
from tests.hostile.arena import Arena

MODULES: tuple[ModuleType, ...] = (
    test_transport,
    test_multistream,
    test_yamux,
    test_noise,
    test_identify,
    test_requests,
    test_application,
    test_firewall,
    test_stored,
)


@dataclass(frozen=True)
class Row:
    """``name`` is the first line of its docstring."""

    number: int
    name: str
    module: str
    test: str
    play: Callable[[Arena], None]


def rows() -> Iterator[Row]:
    """In the order of the modules."""
    for module in MODULES:
        for name, function in vars(module).items():
            if name.startswith("test_row_"):
                told = (function.__doc__ or name).splitlines()[0]
                yield Row(int(name.split("_")[2]), told, module.__name__.rpartition(".")[2], name, function)
