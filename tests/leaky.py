"""Tests that leak, one of each kind, and clean ones beside them; run by tests/test_leak_check.py only."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from stronghold_p2p.config import Limits
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.firewall.limits.gate import Gate
from stronghold_p2p.yamux.places import StreamPool
from stronghold_p2p.yamux.window import ReceivePool
from tests.leaks import MANY

kept: list[object] = []


def _nothing() -> Exchange[None]:
    yield 1


async def _raises() -> None:
    raise ValueError("nobody asks")


def _sleeping() -> asyncio.Future[None]:
    return asyncio.ensure_future(asyncio.sleep(60))


def _timer() -> object:
    return asyncio.get_running_loop().call_later(60, functools.partial(Limits, inbound=1))


def _unasked() -> None:
    asyncio.get_running_loop().create_future().set_exception(ValueError("nobody asks"))


def _thread() -> None:
    threading.Thread(target=threading.Event().wait, args=(5,), daemon=True).start()


Leaks = dict[str, tuple[Callable[[], object], str]]
LEAKS: Leaks = {  # and what their failure says
    "task": (lambda: kept.append(_sleeping()), "task: <Task pending"),
    "timer": (_timer, "timer: <TimerHandle"),
    "object": (lambda: kept.append(ExchangeRunner(_nothing())), "alive: 1 of stronghold_p2p.exchange.ExchangeRunner"),
    "socket": (lambda: kept.append(socket.socket()), "file descriptor"),
    "place": (lambda: Gate(Limits()).dial(), "taken: Gate {'pending_in': 0, 'pending_out': 1"),
    "unread": (lambda: ReceivePool(9).take(1, protected=True), "taken: ReceivePool {'receive_memory': 1"),
    "stream": (lambda: StreamPool(9).take(1, protected=True), "taken: StreamPool {'streams_in': 1"),
    "future": (_unasked, "exception handler: Future exception was never retrieved"),
    "failed": (lambda: asyncio.ensure_future(_raises()), "exception handler: Task exception was never retrieved"),
    "callback": (lambda: asyncio.get_running_loop().call_soon(int, "x"), "exception handler: Exception in callback"),
    "coroutine": (_raises, "was never awaited"),
}
WITHOUT_LOOP: Leaks = {
    "socket": LEAKS["socket"],
    "dropped": (socket.socket, "ResourceWarning: unclosed"),
    "thread": (_thread, "thread: <Thread"),
}


async def test_clean_that_keeps_much() -> None:
    """Before all others: from here on there is more than the check looks at each time."""
    kept.extend([] for _ in range(2 * MANY))


@pytest.mark.parametrize("kind", LEAKS)
async def test_leaks(kind: str) -> None:
    LEAKS[kind][0]()
    await asyncio.sleep(0)


@pytest.mark.parametrize("kind", WITHOUT_LOOP)
def test_leaks_without_loop(kind: str) -> None:
    WITHOUT_LOOP[kind][0]()


@pytest_asyncio.fixture
async def forgetful() -> AsyncIterator[None]:
    yield
    kept.append(_sleeping())


async def test_leaks_in_fixture(forgetful: None) -> None:
    await asyncio.sleep(0)


@pytest_asyncio.fixture
async def tidy() -> AsyncIterator[ExchangeRunner[None]]:
    task = _sleeping()
    yield ExchangeRunner(_nothing())
    task.cancel()
    await asyncio.wait([task])


async def test_clean_fixture(tidy: ExchangeRunner[None]) -> None:
    assert tidy.start() == b""
    assert asyncio.get_running_loop().get_debug()


async def test_clean_when_the_end_takes_a_moment() -> None:
    reader, writer = socket.socketpair()
    loop = asyncio.get_running_loop()
    loop.call_later(0.2, reader.close)
    loop.call_later(0.2, writer.close)
    kept.append(asyncio.ensure_future(asyncio.sleep(0.2)))


async def test_clean_place() -> None:
    gate = Gate(Limits())
    gate.release(gate.dial())


@pytest.mark.speed
async def test_clean_without_debug_mode() -> None:
    assert not asyncio.get_running_loop().get_debug()


def test_clean_without_loop() -> None:
    with socket.socket() as closed:
        assert closed.fileno() >= 0
