"""Events: callbacks at once, readers behind a bounded buffer."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from stronghold_p2p import AddressAdded, ConfigError, Dropped, Event, Events, Firewall, Judged, UsageError
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.events.hub import Hub, Overflow
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.rules import Rule
from tests.firewall.attempts import attempt


def event(number: int) -> Event:
    return AddressAdded(parse(f"/ip4/192.0.2.1/tcp/{number}"))


def hub() -> Hub:
    return Hub(Audit())


async def rest(events: Events) -> list[Event]:
    events.close()
    return [one async for one in events]


async def test_events_wait_for_their_reader() -> None:
    one = hub()
    events = Events(one, 256, "drop_oldest")
    for number in range(5):
        one.emit(event(number))
    assert [await anext(events) for _ in range(5)] == [event(number) for number in range(5)]
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    with pytest.raises(UsageError):
        await anext(events)
    one.emit(event(7))
    one.emit(event(8))
    assert await waiting == event(7)
    one.end()
    assert [found async for found in events] == [event(8)]
    assert not one._followers


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [
        ("drop_oldest", [Dropped(7), event(7), event(8), event(9)]),
        ("drop_newest", [event(0), event(1), event(2), Dropped(7)]),
    ],
)
async def test_what_is_lost_is_counted(overflow: Overflow, kept: list[Event]) -> None:
    one = hub()
    events = Events(one, 3, overflow)
    for number in range(10):
        one.emit(event(number))
    assert await rest(events) == kept


async def test_a_gap_stays_in_its_place() -> None:
    one = hub()
    events = Events(one, 2, "drop_newest")
    for number in range(4):
        one.emit(event(number))
    assert await anext(events) == event(0)
    assert await anext(events) == event(1)
    one.emit(event(4))
    assert await rest(events) == [Dropped(2), event(4)]


async def test_cancelling_the_reader_loses_nothing() -> None:
    one = hub()
    async with Events(one, 2, "drop_oldest") as events:
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
    one = hub()
    Events(one, 2, "drop_oldest")
    gc.collect()
    assert not one._followers
    one.end()


@pytest.mark.parametrize(("buffer", "overflow"), [(0, "drop_oldest"), (1, "block")])
def test_options_are_checked(buffer: int, overflow: Overflow) -> None:
    with pytest.raises(ConfigError):
        Events(hub(), buffer, overflow)


# ---------------------------------------------------------------------- the Rust library's tests of its channels


async def ten(overflow: Overflow) -> list[Event]:
    """What is left of ten events in a buffer of five."""
    one = hub()
    events = Events(one, 5, overflow)
    for number in range(10):
        one.emit(event(number))
    return await rest(events)


async def test_t9_drop_latest_channel() -> None:
    """The oldest arrive. There six of ten do, the sender's own place included; here five, and what is lost is told."""
    assert await ten("drop_newest") == [*map(event, range(5)), Dropped(5)]


async def test_t10_buffered_channel() -> None:
    """The last five arrive. There the first does, too, as it is past the buffer already; here it is among the lost."""
    assert await ten("drop_oldest") == [Dropped(5), *map(event, range(5, 10))]


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "wait"])
async def test_d25_what_is_kept_keeps_its_order(overflow: Overflow) -> None:
    """There an item that is sent while the ring is full overtakes it: 0 to 3, then 99, arrive as 0, 99, 1, 2, 3."""
    one, sent, read = hub(), 0, list[int]()
    events = Events(one, 4, overflow)
    rng = random.Random(25)
    for _ in range(500):
        if rng.random() < 0.6:
            one.emit(event(sent))
            sent += 1
        elif events._waiting or events._lost:
            read += numbers([await anext(events)])
    read += numbers(await rest(events))
    assert len(read) < sent
    assert read == sorted(set(read))


def numbers(events: list[Event]) -> list[int]:
    return [int(str(one.address).rpartition("/")[2]) for one in events if isinstance(one, AddressAdded)]


async def test_every_event_is_read_or_counted() -> None:
    for overflow in ("drop_oldest", "drop_newest", "wait"):
        one, sent = hub(), 0
        events = Events(one, 7, overflow)
        found: list[Event] = []
        for burst in (3, 20, 1, 8, 0, 40):
            for _ in range(burst):
                one.emit(event(sent))
                sent += 1
            assert len(events._waiting) <= 7 + 1  # and what tells how many are lost
            found += [await anext(events) for _ in range(2)]
        found += await rest(events)
        lost = sum(one.count for one in found if isinstance(one, Dropped))
        assert len(numbers(found)) + lost == sent


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
    Approval(Firewall(), audit).verdict(asked)
    assert seen == [Judged(asked, Rule.REJECT)] * 2
    assert heard == []
    unfollow()
    assert audit.readers
    other()
    assert not audit.readers


def test_a_callback_that_fails_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    one = hub()
    seen: list[Event] = []

    def fail(_: Event) -> None:
        raise ValueError

    one.on_event(fail)
    one.follow(seen.append)
    one.emit(event(1))
    assert seen == [event(1)]
    assert "an event callback failed" in caplog.text
    caplog.clear()
