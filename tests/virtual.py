"""An event loop in which waiting takes no time.

When nothing is ready and no socket has anything to tell, the clock jumps to the next timer. So a test sees
deadlines of minutes pass in milliseconds, in their order, and with the figures of production. Sockets of this
machine work as ever: what was sent to them is there before the clock jumps. While a thread of the loop works its time
is the real one. What another process does takes real time and does not fit in here.

A module of tests names its loops: ``LOOPS = VIRTUAL``. tests/conftest.py imports the hook below, which looks for
that.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

PATIENCE = 86_400.0  # seconds of virtual time
# Real seconds without any news of a socket, before the clock jumps: more before a jump that may be a deadline.
SETTLE, SETTLE_LONG = 0.0003, 0.005


class _Selector(selectors.DefaultSelector):
    """Waits for sockets in real time, for timers in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.threads = 0  # that work

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if timeout is None:
            if not (events := super().select(5.0)):
                raise RuntimeError("nothing is ever going to happen in this loop")
            return events
        if self.threads:
            settle = timeout = min(timeout, 1.0)
        else:
            settle = SETTLE if timeout < 0.5 else SETTLE_LONG
        events = super().select(settle)
        if not events:
            self.passed += timeout
            if self.passed > PATIENCE:
                raise RuntimeError("a day has passed in this loop: it waits for what is not going to happen")
        return events


def at_once(sock: socket.socket) -> None:
    """What is written to the socket leaves without delay: no Nagle, and no pacing (BBR paces, on loopback too)."""
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_CONGESTION"):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 1,000 and moves only when everybody waits."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return 1_000.0 + self._virtual.passed

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> Any:  # type: ignore[override]
        self._virtual.threads += 1
        working = super().run_in_executor(executor, function, *args)
        working.add_done_callback(self._worked)
        return working

    def _worked(self, _: object) -> None:
        self._virtual.threads -= 1

    def _make_socket_transport(self, sock: socket.socket, *args: Any, **options: Any) -> Any:
        at_once(sock)
        return super()._make_socket_transport(sock, *args, **options)  # type: ignore[misc]


Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

REAL: Final[Loops] = {"asyncio": asyncio.new_event_loop}
VIRTUAL: Final[Loops] = {"virtual": VirtualLoop}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    """The loops in which the tests of a module run, each in its own (a hook of pytest-asyncio)."""
    module = item.getparent(pytest.Module)
    assert module is not None
    loops: Loops = getattr(module.obj, "LOOPS", REAL)
    return loops


async def eventually(condition: Callable[[], object], patience: float = 1_000.0, step: float = 0.25) -> None:
    """Wait for something that takes its time."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(step)
