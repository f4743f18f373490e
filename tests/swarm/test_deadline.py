"""One deadline over several steps."""

from __future__ import annotations

import asyncio

import pytest

from stronghold_p2p.errors import DeadlineExceeded
from stronghold_p2p.swarm.deadline import Deadline


async def test_it_tells_in_which_step_it_came() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        async with Deadline(0.02, "dial") as deadline:
            deadline.phase, deadline.peer, deadline.sent = "wait", "bob", True
            await asyncio.Event().wait()
    error = caught.value
    assert (error.phase, error.peer, error.sent, error.timeout) == ("wait", "bob", True, 0.02)
    assert str(error) == "0.02 s were over in wait: raise timeout="


async def test_nothing_happens_in_time() -> None:
    async with Deadline(5, "dial") as deadline:
        left = deadline.when - asyncio.get_running_loop().time()
        assert 4 < left <= 5


async def test_none_is_no_deadline() -> None:
    async with Deadline(None, "dial") as deadline:
        assert deadline.when == float("inf")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("timeout", [0.0, -1.0])
async def test_a_deadline_that_is_over_already(timeout: float) -> None:
    with pytest.raises(DeadlineExceeded):
        async with Deadline(timeout, "dial"):
            await asyncio.sleep(1)


async def test_other_errors_pass() -> None:
    for error in (ValueError, TimeoutError):
        with pytest.raises(error) as caught:
            async with Deadline(5, "dial"):
                raise error("mine")
        assert str(caught.value) == "mine"


async def test_cancelling_from_outside_is_no_deadline() -> None:
    async def wait() -> None:
        async with Deadline(5, "dial"):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_first_of_two_counts() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        async with Deadline(5, "outer"), Deadline(0.02, "inner"):
            await asyncio.Event().wait()
    assert caught.value.phase == "inner"
    with pytest.raises(DeadlineExceeded) as caught:
        async with Deadline(0.02, "outer"), Deadline(5, "inner"):
            await asyncio.Event().wait()
    assert caught.value.phase == "outer"
