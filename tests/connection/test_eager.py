"""connection/eager.py: a task that begins at once is an ordinary task from its first line on."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from stronghold_p2p.connection.eager import begun


async def in_a_callback(make: Any) -> Any:
    """What ``make(loop)`` returns, called on a bare callback of the loop."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(lambda: result.set_result(make(loop)))
    return await result


async def test_it_has_run_as_far_as_it_can_when_the_callback_goes_on() -> None:
    """A new CPython whose loop keeps its steps elsewhere would fail here: then handlers begin a turn later."""
    done: list[str] = []
    gate = asyncio.Event()

    async def work() -> None:
        async with asyncio.timeout(5):  # needs a current task
            done.append("begun")
            await gate.wait()
        done.append("through")

    def make(loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Task[None] | None, list[str]]:
        return begun(work(), loop, "work"), list(done)

    task, seen = await in_a_callback(make)
    assert seen == ["begun"]
    gate.set()
    await task
    assert done == ["begun", "through"]


async def test_one_that_needs_nothing_is_done_at_once_and_one_that_fails_tells_it() -> None:
    async def fails() -> None:
        raise ValueError("its own")

    task = await in_a_callback(lambda loop: begun(fails(), loop, "fails"))
    assert task.done()
    with pytest.raises(ValueError, match="its own"):
        task.result()


async def test_beside_a_task_factory_nothing_begins() -> None:
    loop = asyncio.get_running_loop()
    coroutine = asyncio.sleep(0)
    loop.set_task_factory(lambda loop, coroutine, **options: asyncio.Task(coroutine, loop=loop, **options))
    try:
        assert await in_a_callback(lambda loop: begun(coroutine, loop, "")) is None
    finally:
        loop.set_task_factory(None)
        await coroutine


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="asyncio itself begins tasks at once from 3.12 on")
async def test_where_the_queue_of_the_loop_is_not_known_nothing_is_made() -> None:
    class Other:
        def get_task_factory(self) -> None: ...

    coroutine = asyncio.sleep(0)
    assert await in_a_callback(lambda _: begun(coroutine, Other(), "")) is None  # type: ignore[arg-type]
    await coroutine


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="asyncio itself begins tasks at once from 3.12 on")
async def test_what_another_thread_put_behind_it_keeps_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    order: list[str] = []
    create = asyncio.Task

    async def work() -> None:
        order.append("task")

    def crowded(coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = create(coroutine, **options)
        loop.call_soon(order.append, "other")
        return task

    monkeypatch.setattr(asyncio, "Task", crowded)
    task = await in_a_callback(lambda loop: begun(work(), loop, "work"))
    monkeypatch.undo()
    assert order in ([], ["task", "other"])  # not before its turn
    await task
    await asyncio.sleep(0)
    assert order == ["task", "other"]
