"""The leak check, under which every test runs (a pytest plugin; tests/conftest.py switches it on).

After a test, and after its fixtures have ended, nothing of it may be left:

* every test: no new file descriptor and no new thread;
* a test with an event loop, besides: no task, no waiting timer whose callback is ours, no living object of ours that
  can be closed or reset (connections, sessions, streams, listeners, networks: told by their methods, so that no list
  can forget one), no place taken in a limiter of ours (each has a ``snapshot``), and nothing that reached the loop's
  exception handler, "never retrieved" included.

What is on its way out gets one second (``leak_patience_seconds``). A test that has failed is not checked: its
traceback keeps everything alive. The loop runs in debug mode, which is slow: tests marked ``speed`` run
without it, under the same check. Coroutines that were never awaited and unclosed sockets and files are warnings, and
warnings are errors here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.limits.gate import Gate
from stronghold_p2p.per_peer import Memory
from stronghold_p2p.yamux.places import StreamPool
from stronghold_p2p.yamux.window import ReceivePool

OURS = "stronghold_p2p"
Limiter: TypeAlias = Gate | Approval | ReceivePool | StreamPool | Memory[Any]
LIMITERS = (Gate, Approval, ReceivePool, StreamPool, Memory)
MANY = 20_000  # objects: to look at so many after each test takes longer than the test
CLOSERS = ("close", "abort", "reset")

_FOLDERS = [folder for folder in (Path("/proc/self/fd"), Path("/dev/fd")) if folder.is_dir()]
_FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("slow_callback_seconds", "asyncio logs a callback that takes longer (debug mode)", default="0.1")
    parser.addini("leak_patience_seconds", "how long a test's leavings may take to go", default="1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The loop's check must be set up before, and so end after, all other fixtures that use the loop."""
    for item in items:
        if pytest_asyncio.is_async_test(item) and isinstance(item, pytest.Function):
            item.fixturenames.insert(0, "no_loop_leaks")


def pytest_collection_finish() -> None:
    """What exists now is not looked at again: that makes collecting after each test cheap."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """No file descriptor and no thread outlives the test."""
    files, threads = _descriptors(), set(threading.enumerate())
    yield
    if _FAILED in request.node.stash:
        return

    def look() -> list[str]:
        left = [line for line in _descriptors() if line not in files]
        return left + [f"thread: {thread}" for thread in threading.enumerate() if thread not in threads]

    end = _deadline(request)
    while (left := look()) and time.monotonic() < end:
        time.sleep(0.01)
    _judge(left)


@pytest_asyncio.fixture
async def no_loop_leaks(request: pytest.FixtureRequest, no_leaks: None) -> AsyncIterator[None]:
    """No task, timer, living object or unhandled exception outlives the test; requested by the plugin itself."""
    loop = asyncio.get_running_loop()
    loop.set_debug(request.node.get_closest_marker("speed") is None)
    loop.slow_callback_duration = float(request.config.getini("slow_callback_seconds"))
    complaints: list[str] = []
    loop.set_exception_handler(lambda _, context: complaints.append(_told(context)))
    objects = _living()
    if len(gc.get_objects()) > MANY:
        gc.freeze()  # what libraries keep: what is alive now is nobody's leak later
        objects.clear()
    limiters: list[Limiter] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in LIMITERS:
            patch.setattr(kind, "__init__", _noted(kind.__init__, limiters))
        yield
    if _FAILED in request.node.stash:
        return
    request.node.funcargs.clear()  # pytest keeps the values of fixtures that have ended

    def look() -> list[str]:
        alive = [f"alive: {count} of {name}" for name, count in (_living() - objects).items()]
        return _tasks() + _timers(loop) + _taken(limiters) + alive

    end = _deadline(request)
    while (left := look()) and time.monotonic() < end:
        await asyncio.sleep(0.01)
    _judge(left + complaints)


def _deadline(request: pytest.FixtureRequest) -> float:
    return time.monotonic() + float(request.config.getini("leak_patience_seconds"))


def _judge(left: list[str]) -> None:
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


def _descriptors() -> list[str]:
    """Open file descriptors and what they are; the one that lists them is closed again before it is asked."""
    found: list[str] = []
    for number in os.listdir(_FOLDERS[0]) if _FOLDERS else []:
        with contextlib.suppress(OSError):
            found.append(f"file descriptor {number}: {os.readlink(_FOLDERS[0] / number)}")
    return found


def _tasks() -> list[str]:
    return [f"task: {task!r}" for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def _timers(loop: asyncio.AbstractEventLoop) -> list[str]:
    scheduled: Iterable[asyncio.TimerHandle] = getattr(loop, "_scheduled", ())  # uvloop has no such list
    waiting: Iterable[Any] = (handle for handle in scheduled if not handle.cancelled())
    return [f"timer: {handle!r}" for handle in waiting if _is_ours(handle._callback)]


def _is_ours(callback: Callable[..., Any]) -> bool:
    while isinstance(callback, functools.partial):
        callback = callback.func
    return (getattr(callback, "__module__", None) or "").split(".")[0] == OURS


@functools.cache
def _can_be_closed(kind: type) -> bool:
    return str(kind.__module__).split(".")[0] == OURS and any(callable(getattr(kind, name, None)) for name in CLOSERS)


def _noted(make: Callable[..., None], made: list[Limiter]) -> Callable[..., None]:
    """``make``, an ``__init__``, which also puts what it makes on a list."""

    @functools.wraps(make)
    def noting(self: Limiter, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        made.append(self)

    return noting


def _taken(limiters: list[Limiter]) -> list[str]:
    """The limiters with a place taken; the others are let go, as they may keep alive who uses them."""
    limiters[:] = [limiter for limiter in limiters if any(limiter.snapshot().values())]
    return [f"taken: {type(limiter).__name__} {dict(limiter.snapshot())}" for limiter in limiters]


def _living() -> Counter[str]:
    gc.collect()
    kinds = Counter(map(type, gc.get_objects())).items()
    return Counter({f"{kind.__module__}.{kind.__qualname__}": count for kind, count in kinds if _can_be_closed(kind)})


def _told(context: dict[str, Any]) -> str:
    return f"exception handler: {context.get('message')} {context.get('exception')!r} {context.get('future', '')!r}"
