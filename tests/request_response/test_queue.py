"""Requests of ours over ``Limits.requests_per_peer`` wait: in their order, each for its own time, not too many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stronghold_p2p import DeadlineExceeded, LimitExceeded, Limits, Network, Request
from stronghold_p2p.per_peer import PerPeer
from stronghold_p2p.request_response.queue import Queue
from tests.peers import connected, network, never, now, turns, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


def few(places: int = 3, **options: Any) -> Network:
    return Network(limits=Limits(requests_per_peer=places, **options))


@pytest.mark.speed
async def test_a_thousand_at_once_are_answered() -> None:
    """With the defaults of both sides; 900 of them were ``LimitExceeded``."""
    most = 0

    async def answer(request: Request[Any]) -> Any:
        nonlocal most
        most = max(most, bob.stats()["requests_in"])
        await asyncio.sleep(0.001)
        return request.message

    bob = network(answer)
    async with connected(bob) as alice:
        answers = await asyncio.gather(*(alice.request(bob.peer_id, number) for number in range(1_000)))
        assert answers == list(range(1_000))
        assert alice.stats()["requests_out"] == 0
    assert most == 100


async def test_they_begin_in_the_order_in_which_they_came() -> None:
    begun: list[Any] = []

    async def answer(request: Request[Any]) -> Any:
        begun.append(request.message)
        await asyncio.sleep(0.1)
        return None

    async with connected(bob := network(answer), few()) as alice:
        asked = [asyncio.ensure_future(alice.request(bob.peer_id, number)) for number in range(12)]
        await until(lambda: len(begun) == 6)
        asked.append(asyncio.ensure_future(alice.request(bob.peer_id, 12)))  # does not overtake
        await asyncio.gather(*asked)
    assert begun == list(range(13))


async def test_each_waits_for_its_own_time_and_leaves_no_gap() -> None:
    async with connected(bob := network(never), few(1)) as alice:
        first = asyncio.ensure_future(alice.request(bob.peer_id, "first", timeout=None))
        await until(lambda: bob.stats()["requests_in"])
        waiting = [asyncio.ensure_future(alice.request(bob.peer_id, "x", timeout=1.0 * n)) for n in (3, 1, 2)]
        began = now()
        await turns()
        with pytest.raises(DeadlineExceeded) as caught:
            await waiting[1]
        assert (caught.value.phase, caught.value.sent, caught.value.peer) == ("queue", False, bob.peer_id)
        assert 1 <= now() - began < 1.1
        waiting[2].cancel()
        first.cancel()
        await until(lambda: bob.stats()["requests_in"])  # the third has its place
        with pytest.raises(DeadlineExceeded) as caught:
            await waiting[0]
        assert (caught.value.phase, caught.value.sent) == ("wait", True)
        assert alice.stats()["requests_out"] == 0
        await asyncio.gather(first, waiting[2], return_exceptions=True)


async def test_too_many_are_told_and_those_of_another_peer_are_not_held_up() -> None:
    async with connected(bob := network(never), few(1, requests_waiting=2)) as alice, network(lambda one: 1) as carol:
        asked = [asyncio.ensure_future(alice.request(bob.peer_id, "x", timeout=None)) for _ in range(3)]
        await turns()
        with pytest.raises(LimitExceeded) as caught:
            await alice.request(bob.peer_id, "x")
        assert (caught.value.limit, caught.value.current, caught.value.maximum) == ("requests_waiting", 2, 2)
        assert not caught.value.sent
        assert await alice.request(carol.addresses[0], "x") == 1
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_they_go_on_with_another_connection_if_theirs_has_ended() -> None:
    """Nothing of them was sent on the old one."""
    bob = network()

    @bob.on_request
    async def answer(request: Request[Any]) -> Any:
        return await asyncio.Event().wait() if request.message == "first" else request.message

    async with connected(bob, few(1)) as alice:
        first = asyncio.ensure_future(alice.request(bob.peer_id, "first", timeout=None))
        await until(lambda: bob.stats()["requests_in"])
        second = asyncio.ensure_future(alice.request(bob.addresses[0], "second"))
        await turns()
        await alice.disconnect(bob.peer_id)
        assert await second == "second"
        assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], ConnectionError)


async def test_a_place_that_comes_as_its_request_is_cancelled_goes_to_the_next() -> None:
    places: PerPeer[bytes] = PerPeer(1)
    queue = Queue(places)
    assert queue.take(b"bob")
    waiting = [asyncio.ensure_future(queue.wait(b"bob")) for _ in range(3)]
    await turns()
    assert (queue.waiting(b"bob"), bool(queue), queue.take(b"bob")) == (3, True, False)
    queue.give_back(b"bob")
    waiting[0].cancel()  # in the same turn
    await turns()
    assert [task.done() for task in waiting] == [True, True, False]
    waiting[2].cancel()
    await turns()
    assert not queue
    queue.give_back(b"bob")
    assert (places.total, queue.total, queue.take(b"bob"), places.count(b"bob")) == (0, 0, True, 1)
    queue.give_back(b"bob")
    await asyncio.gather(*waiting, return_exceptions=True)
