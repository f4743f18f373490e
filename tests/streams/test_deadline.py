"""One absolute deadline over several steps. Time is virtual."""

from __future__ import annotations

import asyncio
import math

import pytest

from stronghold_p2p.errors import DeadlineExceeded
from stronghold_p2p.streams.deadline import Deadline
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


async def test_it_says_where_it_came() -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded) as caught:
        async with Deadline(10.0, "dial") as deadline:
            assert deadline.when == began + 10
            await asyncio.sleep(6)
            deadline.phase, deadline.peer, deadline.sent = "wait", "bob", True
            await asyncio.sleep(6)
    error = caught.value
    assert (error.timeout, error.phase, error.peer, error.sent) == (10.0, "wait", "bob", True)
    assert asyncio.get_running_loop().time() == pytest.approx(began + 10)


async def test_none_is_no_deadline() -> None:
    async with Deadline(None, "dial") as deadline:
        assert deadline.when == math.inf
        await asyncio.sleep(3_600)


async def test_an_inner_deadline_is_not_touched() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        async with Deadline(10.0, "outer"), Deadline(1.0, "inner"):
            await asyncio.sleep(60)
    assert caught.value.phase == "inner"


async def test_other_errors_and_cancellation_pass() -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with Deadline(10.0, "dial"):
            raise TimeoutError("mine")

    async def waiting() -> None:
        async with Deadline(10.0, "dial"):
            await asyncio.sleep(60)

    task = asyncio.ensure_future(waiting())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
