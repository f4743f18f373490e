"""streams/waiter.py: who goes on when, and that a task sees nothing of it but its time."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial

import pytest

from stronghold_p2p.streams import waiter as waiters
from stronghold_p2p.streams.waiter import Slices, Turn, Waiter
from tests.peers import turns


def waiting() -> tuple[Turn, Waiter, list[str], asyncio.Task[None]]:
    """A task that waits, and says so when it goes on."""
    turn = Turn(asyncio.get_running_loop())
    waiter, told = Waiter(turn.loop, turn), list[str]()

    async def wait() -> None:
        await waiter
        told.append("on")

    return turn, waiter, told, asyncio.ensure_future(wait())


def bare(*calls: Callable[[], object]) -> None:
    """Call one after the other as the loop runs a callback: outside of any task."""
    asyncio.get_running_loop().call_soon(lambda: [call() for call in calls])


def tell(turn: Turn, *waiters: Waiter) -> None:
    """A turn in which there is news for these, who go on at its end."""
    turn.waiting = []
    for waiter in waiters:
        waiter.set()
    turn.resume()


async def test_it_goes_on_within_the_callback_that_had_the_news() -> None:
    turn, waiter, told, task = waiting()
    await turns(2)
    bare(lambda: tell(turn, waiter, waiter), lambda: told.append("after"))
    await turns(1)
    assert told == ["on", "after"]
    await task


async def test_outside_of_a_callback_it_goes_on_in_the_next_turn() -> None:
    _, waiter, told, task = waiting()
    await turns(2)
    waiter.set()
    assert told == []
    await task
    assert told == ["on"]


async def test_a_callback_inside_a_task_does_not_run_another() -> None:
    turn, waiter, told, task = waiting()
    await turns(2)
    tell(turn, waiter)
    assert told == []
    await task


async def test_set_before_it_is_awaited_and_a_timeout() -> None:
    turn = Turn(asyncio.get_running_loop())
    waiter = Waiter(turn.loop, turn)
    waiter.set()
    await waiter
    assert waiter.done()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Waiter(turn.loop, turn)


async def test_set_after_the_task_has_begun_to_wait_and_before_it_looks() -> None:
    """``asyncio.Task`` adds its callback when the first step has ended; it may be done by then."""
    _, waiter, told, task = waiting()
    bare(waiter.set)
    await task
    assert told == ["on"]


async def test_cancelled_while_it_waits() -> None:
    _, waiter, told, task = waiting()
    await turns(2)
    assert task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    waiter.set()
    await turns(2)
    assert told == []


async def test_cancelled_after_it_was_woken() -> None:
    """The cancellation counts, as with a future that is done."""
    _, waiter, told, task = waiting()
    await turns(2)
    waiter.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == []


async def test_the_task_keeps_its_context() -> None:
    name = contextvars.ContextVar("name", default="the loop's")
    turn = Turn(asyncio.get_running_loop())
    waiter, seen = Waiter(turn.loop, turn), list[tuple[str, bool]]()

    async def wait() -> None:
        name.set("the task's")
        await waiter
        seen.append((name.get(), asyncio.current_task() is task))

    task = asyncio.ensure_future(wait())
    await turns(2)
    bare(lambda: tell(turn, waiter), lambda: seen.append((name.get(), asyncio.current_task() is None)))
    await task
    assert seen == [("the task's", True), ("the loop's", True)]


async def test_who_was_to_go_on_behind_an_end_of_the_program_still_does() -> None:
    turn = Turn(asyncio.get_running_loop())
    told: list[str] = []

    def stops() -> None:
        raise KeyboardInterrupt

    def news() -> None:
        turn.waiting = []
        for go_on in (lambda: told.append("first"), stops, lambda: told.append("last")):
            turn.add(go_on)
        with pytest.raises(KeyboardInterrupt):
            turn.resume()

    bare(news)
    await turns(2)
    assert told == ["first", "last"]


async def test_what_a_task_wakes_while_it_goes_on_waits_for_the_next_turn() -> None:
    turn, second, told, task = waiting()
    first = Waiter(turn.loop, turn)

    async def wake() -> None:
        await first
        second.set()
        told.append("woke")

    waking = asyncio.ensure_future(wake())
    await turns(2)
    bare(lambda: tell(turn, first), lambda: told.append("after"))
    await asyncio.gather(waking, task)
    assert told == ["woke", "after", "on"]


def news_for(slices: Slices, *calls: Callable[[], object]) -> None:
    """A callback of one connection in which all these are woken."""
    turn = Turn(asyncio.get_running_loop(), slices)
    turn.waiting = []
    for call in calls:
        turn.add(call)
    turn.resume()


async def test_what_wakes_together_goes_on_in_slices_that_connections_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 130: one step of each connection after the other, and the loop looks at its sockets in between."""
    monkeypatch.setattr(waiters, "SLICE", 0.0)
    slices, told = Slices(), list[str]()

    def news() -> None:
        for name in "abc":
            news_for(slices, *(partial(told.append, f"{name}{number}") for number in range(3)))
        news_for(slices, partial(told.append, "alone"))  # a single one waits for nobody

    bare(news)
    await turns(1)
    assert told == ["a0", "alone"]
    seen = []
    while slices.waiting:
        await turns(1)
        seen.append(len(told))
    assert seen == list(range(3, 11))  # one in each turn
    assert told[2:] == ["a1", "b0", "c0", "a2", "b1", "c1", "b2", "c2"]


async def test_a_slice_that_ends_in_the_end_of_the_program_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "SLICE", 0.0)
    slices, told, stopped = Slices(), list[str](), list[object]()

    def fails() -> None:
        raise ValueError("ours")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: stopped.append(context["exception"]))
    bare(lambda: news_for(slices, partial(told.append, "first"), fails, partial(told.append, "last")))
    await turns(4)
    assert (told, [type(one) for one in stopped]) == (["first", "last"], [ValueError])


async def test_inside_a_task_all_wait() -> None:
    slices, told = Slices(), list[str]()
    news_for(slices, partial(told.append, "a"), partial(told.append, "b"))
    assert told == []
    await turns(2)
    assert told == ["a", "b"]
