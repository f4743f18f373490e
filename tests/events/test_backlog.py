"""What waits for slow readers: how much, of whom, and in which order it goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from stronghold_p2p import Rule
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.events.backlog import Backlog, Crowd, held_of, refuses, source_of
from stronghold_p2p.events.events import (
    AcceptFailed,
    Accepting,
    AddressAdded,
    DialFailed,
    Dropped,
    Event,
    Judged,
    RequestFailed,
)
from stronghold_p2p.per_peer import Hold, Memory
from tests.firewall.attempts import attempt


def of(source: str) -> Event:
    return Accepting(source)


def full(crowd: Crowd, source: str, count: int) -> None:
    for _ in range(count):
        crowd.take(source)


def test_who_has_brought_it_about() -> None:
    inbound, outbound = attempt(), attempt(direction="out")
    assert source_of(Judged(inbound, Rule.ALLOW)) == inbound.peer
    assert source_of(Judged(outbound, Rule.ALLOW)) is None  # we
    assert source_of(AcceptFailed("192.0.2.1", ValueError())) == source_of(Accepting("192.0.2.1")) == "192.0.2.1"
    assert source_of(AddressAdded(parse("/ip4/192.0.2.1/tcp/1"))) is source_of(Dropped(1)) is None
    assert source_of(DialFailed(inbound.peer, ValueError())) is None
    assert [refuses(Judged(inbound, rule)) for rule in (Rule.ALLOW, Rule.REJECT)] == [False, True]


def test_what_an_event_holds() -> None:
    held: Hold[bytes] = Hold(Memory(None, None), b"", lambda: False)
    assert held_of(Judged(replace(attempt(), held=held), Rule.ALLOW)) is held
    assert held_of(RequestFailed(None, ValueError(), held)) is held
    assert held_of(Judged(attempt(), Rule.ALLOW)) is held_of(AcceptFailed("a", ValueError())) is None
    assert RequestFailed(None, error := ValueError(), held) == RequestFailed(None, error)


def test_half_for_what_begins_an_eighth_for_one_source() -> None:
    crowd = Crowd(256)
    full(crowd, "a", 31)
    assert not crowd.crowded("a")
    full(crowd, "a", 1)
    assert crowd.crowded("a")
    assert not crowd.crowded("b")
    assert not crowd.crowded(None)
    for source in "bcd":
        full(crowd, source, 32)
    assert crowd.room == 0
    assert crowd.crowded("e")
    for _ in range(32):
        crowd.give_back("a")
    assert not crowd.crowded("a")
    assert crowd.room == 32
    assert len(crowd) == 3


def test_a_place_for_what_is_under_way_and_none_for_refusals_without_end() -> None:
    crowd = Crowd(16)
    full(crowd, "a", 2)
    assert crowd.takes(of("a"))
    assert not crowd.takes(AcceptFailed("a", ValueError()))
    assert crowd.takes(AcceptFailed("b", ValueError()))
    full(crowd, "a", 14)
    assert not crowd.takes(of("b"))


async def test_nobody_waits_without_a_reader() -> None:
    backlog = Backlog()
    assert not backlog.holds("a")
    await backlog.turn("a")
    backlog.relieve()


async def held(backlog: Backlog, crowd: Crowd, went: list[str], sources: str) -> list[Any]:
    backlog.readers.append(crowd)
    forget = []
    for source in sources:
        assert backlog.holds(source)
        forget.append(backlog.hold(source, partial(went.append, source)))
    return forget


async def test_they_go_on_one_after_the_other_as_far_as_there_is_room(caplog: pytest.LogCaptureFixture) -> None:
    backlog, crowd, went = Backlog(), Crowd(4), list[str]()
    full(crowd, "x", 2)
    await held(backlog, crowd, went, "aaabc")
    assert (backlog.held, caplog.text.count("a reader of events() is 2 behind")) == (5, 1)
    crowd.give_back("x")
    backlog.relieve()
    crowd.take("x")  # before it is their turn
    await asyncio.sleep(0.01)
    assert went == []
    crowd.give_back("x")
    backlog.relieve()
    await asyncio.sleep(0.01)
    assert went == ["a", "b", "c", "a", "a"]  # nothing came of them, so all could go on: each source in its turn
    assert backlog.held == 0
    caplog.clear()


async def test_what_comes_of_them_is_waited_for() -> None:
    backlog, crowd, went = Backlog(), Crowd(4), list[str]()
    full(crowd, "x", 2)
    backlog.readers.append(crowd)

    def begin(source: str) -> None:
        went.append(source)
        crowd.take(source)

    for source in "aabb":
        backlog.hold(source, partial(begin, source))
    for expected in (["a"], ["a", "b"], ["a", "b", "a"]):
        crowd.give_back("x" if len(expected) < 3 else "a")
        backlog.relieve()
        await asyncio.sleep(0.01)
        assert went == expected


async def test_one_that_is_taken_back_and_a_reader_that_leaves(caplog: pytest.LogCaptureFixture) -> None:
    backlog, crowd, went = Backlog(), Crowd(1), list[str]()
    full(crowd, "x", 1)
    first, *_ = await held(backlog, crowd, went, "aab")
    first()
    first()
    waiting = asyncio.ensure_future(backlog.turn("a"))
    gone = asyncio.ensure_future(backlog.turn("c"))
    await asyncio.sleep(0)
    assert backlog.held == 4
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert backlog.held == 3
    backlog.leave(crowd)
    backlog.leave(crowd)
    await waiting
    await asyncio.sleep(0.01)
    assert (sorted(went), backlog.held) == (["a", "b"], 0)
    caplog.clear()
