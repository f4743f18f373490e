"""An event loop in which waiting takes no time.

When nothing is ready and no socket has anything to tell, the clock jumps to the next timer. So a test sees
deadlines of minutes pass in milliseconds, in their order, and with the figures of production. Sockets of this
machine work as ever: what was sent to them is there before the clock jumps. What another process or a thread
does takes real time and does not fit in here.

A module of tests names its loops: ``LOOPS = VIRTUAL``. The folder's conftest.py imports the hook below, which
looks for that.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Final

import pytest

SETTLE = 0.0003  # real seconds without any news of a socket, before the clock jumps


class _Selector(selectors.DefaultSelector):
    """Waits for sockets in real time, for timers in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        events = super().select(SETTLE if timeout is not None else 5.0)
        if not events:
            if timeout is None:
                raise RuntimeError("nothing is ever going to happen in this loop")
            self.passed += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 1,000 and moves only when everybody waits."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return 1_000.0 + self._virtual.passed


Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

REAL: Final[Loops] = {"asyncio": asyncio.new_event_loop}
VIRTUAL: Final[Loops] = {"virtual": VirtualLoop}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    """The loops in which the tests of a module run, each in its own (a hook of pytest-asyncio)."""
    module = item.getparent(pytest.Module)
    assert module is not None
    loops: Loops = getattr(module.obj, "LOOPS", REAL)
    return loops
