"""streams/aside.py: one thread, each peer in its turn, and nothing that waits for who has gone."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import DeadlineExceeded, StreamReset
from stronghold_p2p.streams.aside import Aside
from stronghold_p2p.streams.live import LiveStream
from tests.firewall.attempts import ALICE, BOB
from tests.peers import swallow, swarms, turns, until


class Gate:
    """Work that waits in its thread until it is let go."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.go_on.wait(10)
        return "through"


def left(aside: Aside) -> tuple[int, bool]:
    return len(aside._waiting), aside._working


def fails(error: BaseException) -> Callable[[], Any]:
    def work() -> None:
        raise error

    return work


async def test_it_works_in_a_thread() -> None:
    aside = Aside()
    assert await aside.run(ALICE, threading.get_ident) != threading.get_ident()
    assert left(aside) == (0, False)


@pytest.mark.parametrize("kind", [ValueError, StopIteration, SystemExit])
async def test_what_it_raises_is_raised(kind: type[BaseException]) -> None:
    aside = Aside()
    # A coroutine turns a StopIteration into what it would not be taken for.
    with pytest.raises(RuntimeError if kind is StopIteration else kind):
        await aside.run(ALICE, fails(kind("broken")))
    assert await aside.run(ALICE, lambda: 1) == 1


async def test_each_peer_has_its_turn() -> None:
    aside, gate, order = Aside(), Gate(), list[str]()
    first = asyncio.ensure_future(aside.run(ALICE, gate))
    await turns(1)
    tasks = [
        asyncio.ensure_future(aside.run(peer, lambda name=name: order.append(name)))  # type: ignore[misc]
        for peer, name in ((ALICE, "a1"), (ALICE, "a2"), (ALICE, "a3"), (BOB, "b1"), (BOB, "b2"))
    ]
    await turns(1)
    gate.go_on.set()
    await asyncio.gather(first, *tasks)
    assert order == ["a1", "b1", "a2", "b2", "a3"]
    assert left(aside) == (0, False)


async def test_what_nobody_waits_for_does_not_begin() -> None:
    aside, gate, order = Aside(), Gate(), list[str]()
    running = asyncio.ensure_future(aside.run(ALICE, gate))
    await until(gate.began.is_set)
    waiting = [asyncio.ensure_future(aside.run(ALICE, lambda: order.append("never"))) for _ in range(2)]
    await turns(1)
    for task in (running, *waiting):
        task.cancel()
    assert {type(one) for one in await asyncio.gather(running, *waiting, return_exceptions=True)} == {
        asyncio.CancelledError
    }
    assert left(aside) == (0, True)  # a thread cannot be stopped: its result is dropped
    other = asyncio.ensure_future(aside.run(BOB, lambda: "after it"))
    gate.go_on.set()
    assert await other == "after it"
    assert order == []


@pytest.mark.parametrize("how", ["reset", "more"])
async def test_the_end_of_the_stream_is_told_meanwhile(how: str) -> None:
    aside, gate, told = Aside(), Gate(), list[BaseException]()

    async def serve(stream: Any) -> None:
        try:
            await aside.run(stream.peer, gate, stream)
        except StreamReset as error:
            told.append(error)
            raise

    async with swarms(serve) as (_, _, connection), await connection.open_stream("/echo/1.0.0") as stream:
        await stream.write(b"")
        await until(gate.began.is_set)
        if how == "reset":
            stream.reset(7)
        else:
            await stream.write(b"more")
        await until(lambda: told)
        assert told[0].code == (7 if how == "reset" else Reset.PROTOCOL_VIOLATION)  # type: ignore[attr-defined]
        assert not gate.go_on.is_set()
        gate.go_on.set()
        await until(lambda: not aside._working)
    told.clear()


async def test_an_end_behind_the_last_step_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is through and the stream ends in one turn of the loop, before who waited for the work goes on."""
    aside, streams, told = Aside(), list[LiveStream](), list[BaseException]()
    over = aside._over

    def both(*given: Any) -> None:
        over(*given)
        streams[0].expired(math.inf)

    monkeypatch.setattr(Aside, "_over", lambda _, *given: both(*given))

    async def serve(stream: LiveStream) -> None:
        streams.append(stream)
        stream.expire(asyncio.get_running_loop().time() + 60)
        try:
            await aside.run(stream.peer, lambda: None, stream)
        except DeadlineExceeded as error:
            told.append(error)
            raise

    async with swarms(serve) as (_, _, connection), await connection.open_stream("/echo/1.0.0") as stream:
        await stream.write(b"")
        await until(lambda: told)
    aside.close()
    told.clear()
    streams.clear()


async def test_threads_that_the_application_has_taken_are_no_matter() -> None:
    """They may even wait for what is read here."""
    aside, gate = Aside(), Gate()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        loop.set_default_executor(pool)
        taken = asyncio.ensure_future(asyncio.to_thread(gate))
        await until(gate.began.is_set)
        async with asyncio.timeout(5):
            assert await aside.run(ALICE, lambda: "read") == "read"
        gate.go_on.set()
        await taken
    aside.close()


async def test_closed_it_ends_its_thread_and_takes_another_for_what_comes_late() -> None:
    aside, gate = Aside(), Gate()
    running = asyncio.ensure_future(aside.run(ALICE, gate))
    await until(gate.began.is_set)
    aside.close()
    aside.close()
    gate.go_on.set()
    assert await running == "through"
    assert await aside.run(ALICE, lambda: "late") == "late"
    aside.close()


def test_a_loop_that_was_closed_meanwhile_hears_nothing() -> None:
    aside, gate = Aside(), Gate()

    async def leave() -> None:
        running = asyncio.ensure_future(aside.run(ALICE, gate))
        await until(gate.began.is_set)
        running.cancel()

    asyncio.run(leave())
    gate.go_on.set()
    thread = aside._thread
    assert thread is not None
    thread.shutdown()


async def test_a_stream_that_lasts_is_read_again() -> None:
    aside = Aside()

    async def serve(stream: Any) -> None:
        await aside.run(stream.peer, lambda: None, stream)
        assert stream.intake is None
        await swallow(stream)

    async with swarms(serve) as (_, _, connection), await connection.open_stream("/echo/1.0.0") as stream:
        await stream.write(b"")
        stream.finish()
        assert await stream.read() == b""
