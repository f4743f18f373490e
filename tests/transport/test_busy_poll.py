"""When looking at a socket again is worth it, and what it does when it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.transport import link as links
from stronghold_p2p.transport.busy_poll import FIRST, MOST, SHORT, SLICE, Pace
from stronghold_p2p.transport.inbox import inbox_for
from stronghold_p2p.transport.socket_wire import SocketWire
from tests.peers import until
from tests.transport.wire import Bare, linked

PATIENT = 3.0


def waits(pace: Pace) -> int:
    """Answers until it is due."""
    count = 1
    while not pace.due():
        count += 1
    return count


def test_it_is_tried_after_some_answers_and_goes_on_while_it_finds_something() -> None:
    pace = Pace()
    assert waits(pace) == FIRST + 1
    for _ in range(5):
        pace.looked(found=True)
        assert waits(pace) == 1


def test_it_is_tried_less_and_less_often_where_it_finds_nothing() -> None:
    pace = Pace()
    waits(pace)
    seen = []
    for _ in range(10):
        pace.looked(found=False)
        seen.append(waits(pace) - 1)
    assert seen == [min(FIRST << n, MOST) for n in range(10)]
    pace.looked(found=True)
    pace.looked(found=False)
    assert waits(pace) == FIRST + 1


def test_bytes_for_another_begin_it_anew() -> None:
    pace, one, other = Pace(), object(), object()
    pace.change(one)
    waits(pace)
    pace.looked(found=True)
    pace.change(other)
    assert waits(pace) == FIRST + 1
    pace.looked(found=False)
    pace.change(one)
    pace.looked(found=False)
    pace.change(other)
    assert waits(pace) == 4 * FIRST + 1  # that it was no use is not forgotten
    pace.forget(one)
    assert pace.user is other
    pace.forget(other)
    assert pace.user is None


class Answering:
    """Answers each message of ``b"?"``, and has the peer ask the next ``more`` times before it returns."""

    def __init__(self, link: SocketWire, bare: Bare, more: int = 0) -> None:
        self.link, self.bare, self.more = link, bare, more
        self.got = bytearray()
        self.inside = 0  # messages that came while one callback of the loop lasted
        self.lost: list[Exception | None] = []
        self.then: Callable[[], object] = lambda: bare.sock.send(b"?")
        link.busy_poll = PATIENT
        link.receiver = self.take
        link.on_lost = self.lost.append
        asyncio.get_running_loop().call_soon(self._turn)
        self._count = 0

    def _turn(self) -> None:
        self.inside = max(self.inside, self._count)
        self._count = 0
        if not self.lost:
            asyncio.get_running_loop().call_soon(self._turn)

    def take(self, view: memoryview) -> int:
        self._count += 1
        self.got += view
        self.link.write(b"!")
        if self.more:
            self.more -= 1
            self.then()
        return len(view)

    def keep(self, view: memoryview) -> int:
        self.got += view
        return len(view)


async def eager(more: int = 0) -> Answering:
    """One that looks after its next answer."""
    link, bare = await linked()
    answering = Answering(link, bare, more)
    pace = inbox_for(asyncio.get_running_loop()).pace
    pace.change(link)
    waits(pace)
    pace.looked(found=True)
    return answering


async def end(answering: Answering) -> None:
    answering.bare.close()
    await until(lambda: answering.lost)


async def test_messages_that_come_at_once_are_answered_in_one_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "SLICE", 10.0)
    answering = await eager(20)
    answering.link.busy_poll = 0.01
    await answering.bare.send(b"?")
    await until(lambda: len(answering.got) == 21)
    await until(lambda: answering.inside)
    assert answering.inside == 21
    assert await answering.bare.read(21) == b"!" * 21
    await end(answering)


async def test_the_loop_has_its_turn_after_a_slice() -> None:
    answering = await eager(1 << 30)
    await answering.bare.send(b"?")
    begun = time.monotonic()
    await until(lambda: len(answering.got) > 1_000)
    answering.more = 0
    assert 1 < answering.inside < len(answering.got)
    assert time.monotonic() - begun > SLICE
    await end(answering)


async def test_what_does_not_come_is_waited_for_as_long_as_was_said() -> None:
    answering = await eager()
    answering.link.busy_poll = 0.05
    await answering.bare.send(b"?")
    begun = time.monotonic()
    await until(lambda: answering.got)
    assert time.monotonic() - begun >= 0.05
    assert waits(inbox_for(asyncio.get_running_loop()).pace) == FIRST + 1
    await end(answering)


@pytest.mark.parametrize("why", ["off", "long", "paused", "silent", "two"])
async def test_no_look(why: str) -> None:
    answering = await eager(1)
    link = answering.link
    if why == "off":
        link.busy_poll = None
    elif why == "long":
        answering.then = lambda: link.write(bytes(SHORT))
    elif why == "paused":
        answering.then = link.pause_reading
    elif why == "silent":
        link.receiver = answering.keep
    else:
        other, bare = await linked()
        await bare.send(b"x")
        await until(lambda: inbox_for(asyncio.get_running_loop()).pace.user is other)
        bare.close()
        await until(lambda: other.lost)
    begun = time.monotonic()
    await answering.bare.send(b"?")
    await until(lambda: answering.got)
    assert time.monotonic() - begun < PATIENT
    if link.paused:
        link.resume_reading()
        assert not link.paused
    await end(answering)


async def test_an_end_while_looking_is_the_loop_s_to_find() -> None:
    answering = await eager(1)
    answering.then = answering.bare.finish
    await answering.bare.send(b"?")
    await until(lambda: answering.lost)
    assert answering.lost == [None]
    answering.bare.close()


async def test_a_reset_while_looking_is_told_as_the_cause() -> None:
    answering = await eager(1)
    answering.then = answering.bare.reset
    await answering.bare.send(b"?")
    await until(lambda: answering.lost)
    assert isinstance(answering.lost[0], ConnectionError)


async def test_an_end_in_the_middle_of_a_record_while_looking() -> None:
    answering = await eager(1)
    whole = answering.link.receiver

    def but_one(view: memoryview) -> int:
        return whole(view) - 1

    answering.link.receiver = but_one
    answering.then = answering.bare.finish
    await answering.bare.send(b"??")
    await until(lambda: answering.lost)
    assert isinstance(answering.lost[0], ConnectionClosed)
    answering.bare.close()


async def test_a_rest_is_put_before_what_comes_while_looking() -> None:
    answering = await eager(3)
    answering.link.busy_poll = 0.01
    seen: list[bytes] = []

    def pairs(view: memoryview) -> int:
        seen.append(bytes(view))
        answering.take(view[:1])
        return len(view) - len(view) % 2

    answering.link.receiver = pairs
    await answering.bare.send(b"?")
    await until(lambda: len(seen) == 4)
    assert seen == [b"?", b"??", b"?", b"??"]
    await end(answering)
