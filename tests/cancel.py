"""Cancels a coroutine wherever it can be cancelled.

Between two steps of a coroutine the event loop may run anything, also ``task.cancel()``. So a coroutine that
suspends n times is run n times, and cancelled at its first, second, ... n-th suspension.

A cancellation has to come out as ``CancelledError``. After each run ``check`` says whether everything is as if nothing
had happened; the last run, which was not cancelled, gives its result to ``finished`` before that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

MOST = 200
MOST_TURNS = 20_000

Make = Callable[[], Coroutine[Any, Any, Any]]
Check = Callable[[], Awaitable[object]]
Finished = Callable[[Any], Awaitable[object]]


class _CancelAt:
    """Awaits ``inner`` and cancels the task that does so at the ``n``-th suspension."""

    def __init__(self, inner: Coroutine[Any, Any, Any], n: int) -> None:
        self._inner = inner
        self._n = n
        self.hit = False

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._inner.__await__()
        error: BaseException | None = None
        number = 0
        while True:
            try:
                waiting = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value
            number, error = number + 1, None
            if number == self._n:
                self.hit = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waiting
            except BaseException as raised:
                error = raised

    async def run(self) -> Any:
        return await self


async def _ends(task: asyncio.Future[Any], finished: Finished | None) -> bool:
    """Whether the task came to its end; it may have been cancelled instead."""
    try:
        result = await task
    except asyncio.CancelledError:
        return False
    if finished is not None:
        await finished(result)
    return True


async def everywhere(make: Make, check: Check, finished: Finished | None = None) -> int:
    """Run ``make()`` again and again, cancelled one suspension later each time, until it is not reached.

    The result is the number of suspensions.
    """
    for n in range(1, MOST):
        wrapped = _CancelAt(make(), n)
        ended = await _ends(asyncio.ensure_future(wrapped.run()), finished)
        assert ended is not wrapped.hit, f"cancellation {n} was swallowed"
        await check()
        if ended:
            return n - 1
    raise AssertionError(f"more than {MOST} suspensions")


async def at_each_turn(make: Make, check: Check, finished: Finished | None = None) -> int:
    """The same, but cancelled after so many turns of the loop: wherever it and the tasks that it has started are then.

    Turns come one by one at first and then with growing gaps. The result is how many turns it took to the end.
    """
    turns = 0
    while turns < MOST_TURNS:
        task = asyncio.ensure_future(make())
        for _ in range(turns):
            await asyncio.sleep(0)
        done = task.done()
        task.cancel()
        assert await _ends(task, finished) is done, f"the cancellation after {turns} turns was swallowed"
        await check()
        if done:
            return turns
        turns += 1 + turns // 16
    raise AssertionError(f"not over after {MOST_TURNS} turns")
