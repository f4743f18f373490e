"""Tests that leak, one of each kind, and clean ones beside them; run by tests/test_leak_check.py only."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from stronghold_p2p.config import Limits
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.firewall.limits.gate import Gate
from stronghold_p2p.yamux.window import ReceivePool
from tests.leaks import MANY

kept: list[object] = []


def _nothing() -> Exchange[None]:
    yield 1


async def _raises() -> None:
    raise ValueError("nobody asks")


async def test_clean_that_keeps_much() -> None:
    """Before all others: from here on there is more than the check looks at each time."""
    kept.extend([] for _ in range(2 * MANY))


async def test_leaks_task() -> None:
    kept.append(asyncio.ensure_future(asyncio.sleep(60)))


async def test_leaks_timer() -> None:
    asyncio.get_running_loop().call_later(60, functools.partial(Limits, inbound=1))


async def test_leaks_object() -> None:
    kept.append(ExchangeRunner(_nothing()))


async def test_leaks_socket_with_loop() -> None:
    kept.append(socket.socket())


async def test_leaks_place() -> None:
    Gate(Limits()).dial()


async def test_leaks_unread_bytes() -> None:
    ReceivePool(9).take(1, protected=True)


def test_leaks_socket() -> None:
    kept.append(socket.socket())


def test_leaks_dropped_socket() -> None:
    socket.socket()


def test_leaks_thread() -> None:
    threading.Thread(target=threading.Event().wait, args=(5,), daemon=True).start()


async def test_leaks_future_exception() -> None:
    asyncio.get_running_loop().create_future().set_exception(ValueError("nobody asks"))


async def test_leaks_task_exception() -> None:
    await asyncio.wait([asyncio.ensure_future(_raises())])


async def test_leaks_callback_exception() -> None:
    asyncio.get_running_loop().call_soon(int, "nobody catches")
    await asyncio.sleep(0)


async def test_leaks_coroutine() -> None:
    _raises()  # type: ignore[unused-coroutine]


@pytest_asyncio.fixture
async def forgetful() -> AsyncIterator[None]:
    yield
    kept.append(asyncio.ensure_future(asyncio.sleep(60)))


async def test_leaks_in_fixture(forgetful: None) -> None:
    await asyncio.sleep(0)


@pytest_asyncio.fixture
async def tidy() -> AsyncIterator[ExchangeRunner[None]]:
    task = asyncio.ensure_future(asyncio.sleep(60))
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
