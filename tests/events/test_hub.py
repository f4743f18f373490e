"""Events: callbacks at once, readers behind a bounded buffer."""

from __future__ import annotations

import asyncio
import gc
import random
from unittest.mock import Mock

import pytest

from stronghold_p2p import AddressAdded, ConfigError, Dropped, Event, Events, Firewall, Judged, UsageError
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.events.hub import Hub, Overflow
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.rules import Rule
from tests.firewall.asking.asked import approving
from tests.firewall.attempts import attempt


def event(number: int) -> Event:
    return AddressAdded(parse(f"/ip4/192.0.2.1/tcp/{number}"))


def reading(buffer: int, overflow: Overflow) -> tuple[Hub, Events]:
    hub = Hub(Audit())
    return hub, Events(hub, buffer, overflow)


def emit(hub: Hub, *numbers: int) -> None:
    for number in numbers:
        hub.emit(event(number))


async def rest(events: Events) -> list[Event]:
    events.close()
    return [one async for one in events]


async def test_events_wait_for_their_reader() -> None:
    one, events = reading(256, "drop_oldest")
    emit(one, *range(5))
    assert [await anext(events) for _ in range(5)] == [event(number) for number in range(5)]
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    with pytest.raises(UsageError):
        await anext(events)
    emit(one, 7, 8)
    assert await waiting == event(7)
    one.end()
    assert [found async for found in events] == [event(8)]
    assert not one._followers


async def test_a_gap_stays_in_its_place() -> None:
    one, events = reading(2, "drop_newest")
    emit(one, *range(4))
    assert await anext(events) == event(0)
    assert await anext(events) == event(1)
    one.emit(event(4))
    assert await rest(events) == [Dropped(2), event(4)]


async def test_cancelling_the_reader_loses_nothing() -> None:
    one, reader = reading(2, "drop_oldest")
    async with reader as events:
        task = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        task.cancel()
        one.emit(event(1))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await anext(events) == event(1)
    with pytest.raises(StopAsyncIteration):
        await anext(events)


def test_an_iterator_that_is_forgotten_collects_nothing() -> None:
    one, _ = reading(2, "drop_oldest")
    del _
    gc.collect()
    assert not one._followers
    one.end()


@pytest.mark.parametrize(("buffer", "overflow"), [(0, "drop_oldest"), (1, "block")])
def test_options_are_checked(buffer: int, overflow: Overflow) -> None:
    with pytest.raises(ConfigError):
        reading(buffer, overflow)


async def ten(overflow: Overflow) -> list[Event]:
    """What is left of ten events in a buffer of five."""
    one, events = reading(5, overflow)
    emit(one, *range(10))
    return await rest(events)


async def test_t9_drop_latest_channel() -> None:
    """The oldest arrive. There six of ten do, the sender's own place included; here five, and what is lost is told."""
    assert await ten("drop_newest") == [*map(event, range(5)), Dropped(5)]


async def test_t10_buffered_channel() -> None:
    """The last five arrive. There the first does, too, as it is past the buffer already; here it is among the lost."""
    assert await ten("drop_oldest") == [Dropped(5), *map(event, range(5, 10))]


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "wait"])
async def test_d25_what_is_kept_keeps_its_order_and_the_rest_is_counted(overflow: Overflow) -> None:
    """There an item that is sent while the ring is full overtakes it: 0 to 3, then 99, arrive as 0, 99, 1, 2, 3."""
    (one, events), sent, found = reading(4, overflow), 0, list[Event]()
    rng = random.Random(25)
    for _ in range(500):
        if rng.random() < 0.6:
            one.emit(event(sent))
            sent += 1
        elif events._waiting or events._lost:
            found.append(await anext(events))
        assert len(events._waiting) <= 4 + 1  # and what tells how many are lost
    found += await rest(events)
    read = numbers(found)
    assert len(read) < sent
    assert read == sorted(set(read))
    assert len(read) + sum(one.count for one in found if isinstance(one, Dropped)) == sent


def numbers(events: list[Event]) -> list[int]:
    return [int(str(one.address).rpartition("/")[2]) for one in events if isinstance(one, AddressAdded)]


def test_judgements_cost_nothing_while_nobody_follows() -> None:
    audit = Audit()
    one = Hub(audit)
    heard: list[Event] = []
    one.on_event(heard.append)
    assert not audit.readers
    seen: list[Event] = []
    unfollow = one.follow(seen.append)
    other = one.follow(seen.append)
    assert audit.readers
    asked = attempt()
    approving(Firewall(), audit).verdict(asked)
    assert seen == [Judged(asked, Rule.REJECT)] * 2
    assert heard == []
    unfollow()
    assert audit.readers
    other()
    assert not audit.readers


def test_a_callback_that_fails_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    one, seen = Hub(Audit()), list[Event]()
    one.on_event(Mock(side_effect=ValueError))
    one.follow(seen.append)
    one.emit(event(1))
    assert seen == [event(1)]
    assert "an event callback failed" in caplog.text
    caplog.clear()
