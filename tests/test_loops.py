"""Where a call comes from, and how it gets to the loop that it is for; and how long to wait for the next try."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from stronghold_p2p.backoff import backoff
from stronghold_p2p.errors import UsageError
from stronghold_p2p.loops import at_home, check_home, running


async def test_at_home_at_once_from_elsewhere_in_order() -> None:
    told: list[int] = []
    call = at_home(told.append)
    call(1)
    assert told == [1]
    await asyncio.to_thread(lambda: [call(number) for number in (2, 3)])
    await asyncio.sleep(0)
    assert told == [1, 2, 3]
    assert running() is asyncio.get_running_loop()
    check_home(asyncio.get_running_loop())


def test_a_loop_that_does_not_run_calls_later_and_one_that_is_closed_never() -> None:
    told: list[int] = []
    loop = asyncio.new_event_loop()
    call = at_home(told.append, loop)
    call(1)
    assert told == []
    loop.run_until_complete(asyncio.sleep(0))
    assert told == [1]
    loop.close()
    call(2)
    assert told == [1]
    assert running() is None
    with pytest.raises(UsageError):
        check_home(loop)


def test_each_wait_is_about_twice_as_long_up_to_the_longest() -> None:
    for _ in range(50):
        waits = list(itertools.islice(backoff(0.25, 30.0), 12))
        for number, wait in enumerate(waits):
            most = min(0.25 * 2**number, 30.0)
            assert most / 2 <= wait <= most
    assert len({next(backoff(0.25, 30.0)) for _ in range(50)}) > 40
