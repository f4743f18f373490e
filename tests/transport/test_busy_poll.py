"""When looking at a socket again is worth it, and what it does when it is; and that nobody looks who was not asked to.

The policy is one of a loop; a test has one of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.transport import busy_poll
from stronghold_p2p.transport.busy_poll import FIRST, MOST, SHORT, SLICE, PollingWire, SpinPolicy
from stronghold_p2p.transport.socket_wire import SocketWire
from tests.peers import connect, swarm, until
from tests.transport.wire import Bare, Taker, linked

PATIENCE = 3.0


def waits(policy: SpinPolicy) -> int:
    """Answers until it is due."""
    count = 1
    while not policy.due():
        count += 1
    return count


def test_it_is_tried_after_some_answers_and_goes_on_while_it_finds_something() -> None:
    policy = SpinPolicy()
    assert waits(policy) == FIRST + 1
    for _ in range(5):
        policy.looked(found=True)
        assert waits(policy) == 1


def test_it_is_tried_less_and_less_often_where_it_finds_nothing() -> None:
    policy = SpinPolicy()
    waits(policy)
    seen = []
    for _ in range(10):
        policy.looked(found=False)
        seen.append(waits(policy) - 1)
    assert seen == [min(FIRST << n, MOST) for n in range(10)]
    policy.looked(found=True)
    policy.looked(found=False)
    assert waits(policy) == FIRST + 1


def test_bytes_for_another_begin_it_anew() -> None:
    policy, one, other = SpinPolicy(), object(), object()
    policy.change(one)
    waits(policy)
    policy.looked(found=True)
    policy.change(other)
    assert waits(policy) == FIRST + 1
    policy.looked(found=False)
    policy.change(one)
    policy.looked(found=False)
    policy.change(other)
    assert waits(policy) == 4 * FIRST + 1  # that it was no use is not forgotten
    policy.forget(one)
    assert policy.user is other
    policy.forget(other)
    assert policy.user is None


def of_the_loop() -> SpinPolicy:
    return busy_poll._policies[asyncio.get_running_loop()]


class Answering(Taker):
    """Answers each message of ``b"?"``, and has the peer ask the next ``more`` times before it returns."""

    def __init__(self, wire: PollingWire, bare: Bare, unit: int, more: int) -> None:
        super().__init__(wire, unit)
        self.wire: PollingWire = wire
        self.bare, self.more = bare, more
        self.answer = b"!"
        self.inside = 0  # messages that came while one callback of the loop lasted
        self.then: Callable[[], object] = lambda: bare.sock.send(b"?")
        asyncio.get_running_loop().call_soon(self._turn)
        self._count = 0

    def _turn(self) -> None:
        self.inside = max(self.inside, self._count)
        self._count = 0
        if not self.lost:
            asyncio.get_running_loop().call_soon(self._turn)

    def received(self, view: memoryview) -> int:
        self._count += 1
        used = super().received(view)
        self.wire.write(self.answer)
        if self.more:
            self.more -= 1
            self.then()
        return used


@asynccontextmanager
async def eager(more: int = 0, *, patience: float = PATIENCE, unit: int = 1) -> AsyncIterator[Answering]:
    """One that looks after its next answer."""
    wire, bare = await linked(patience=patience)
    assert isinstance(wire, PollingWire)
    answering = Answering(wire, bare, unit, more)
    of_the_loop().change(wire)
    waits(of_the_loop())
    of_the_loop().looked(found=True)
    try:
        yield answering
    finally:
        bare.close()
        await until(lambda: answering.lost)


async def test_messages_that_come_at_once_are_answered_in_one_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_poll, "SLICE", 10.0)
    async with eager(20, patience=0.01) as answering:
        await answering.bare.send(b"?")
        await until(lambda: len(answering.got) == 21)
        await until(lambda: answering.inside)
        assert answering.inside == 21
        assert await answering.bare.read(21) == b"!" * 21


async def test_an_answer_from_a_callback_of_its_own_is_looked_after() -> None:
    """As the application gives it, which had to think."""
    async with eager(patience=0.05) as answering:
        answering.answer = b""
        began = time.monotonic()
        for _ in range(2):
            answering.wire.write(b"!")
        await asyncio.sleep(0)
        assert time.monotonic() - began >= 0.05  # looked for in vain, once
        assert waits(of_the_loop()) == FIRST + 1
        assert await answering.bare.read(2) == b"!!"


async def test_the_loop_has_its_turn_after_a_slice() -> None:
    async with eager(1 << 30) as answering:
        await answering.bare.send(b"?")
        begun = time.monotonic()
        await until(lambda: len(answering.got) > 1_000)
        answering.more = 0
        assert 1 < answering.inside < len(answering.got)
        assert time.monotonic() - begun > SLICE


@pytest.mark.parametrize("why", ["long", "paused", "silent", "two"])
async def test_no_look(why: str) -> None:
    async with eager(1) as answering:
        wire = answering.wire
        if why == "long":
            answering.then = lambda: wire.write(bytes(SHORT))
        elif why == "paused":
            answering.then = wire.pause
        elif why == "silent":
            answering.answer, answering.then = b"", lambda: None
        else:
            other, bare = await linked(patience=PATIENCE)
            taker = Taker(other)
            await bare.send(b"x")
            await until(lambda: of_the_loop().user is other)
            bare.close()
            await until(lambda: taker.lost)
        begun = time.monotonic()
        await answering.bare.send(b"?")
        await until(lambda: answering.got)
        assert time.monotonic() - begun < PATIENCE
        if why == "paused":
            wire.resume()


@pytest.mark.parametrize(
    ("how", "unit", "error"),
    [("finish", 1, type(None)), ("reset", 1, ConnectionError), ("finish", 2, ConnectionClosed)],
)
async def test_an_end_while_looking_is_the_loop_s_to_find(how: str, unit: int, error: type[Exception]) -> None:
    """A reset is told as the cause, and an end in the middle of a record as such."""
    async with eager(1, unit=unit) as answering:
        answering.then = getattr(answering.bare, how)
        await answering.bare.send(b"???"[: unit + 1] if unit > 1 else b"?")
        await until(lambda: answering.lost)
        assert isinstance(answering.lost[0], error)


async def test_a_rest_is_put_before_what_comes_while_looking() -> None:
    async with eager(3, patience=0.01, unit=2) as answering:
        await answering.bare.send(b"?")
        await until(lambda: len(answering.sizes) == 4)
        assert answering.sizes == [1, 2, 1, 2]
        assert bytes(answering.got) == b"????"


@pytest.mark.parametrize(
    ("timeouts", "kind"), [(Timeouts(busy_poll=None), SocketWire), (Timeouts(busy_poll=0.01), PollingWire)]
)
async def test_only_whoever_asks_for_it_polls(timeouts: Timeouts, kind: type[SocketWire]) -> None:
    async with swarm(1, timeouts=timeouts) as alice, swarm(2, timeouts=timeouts) as bob:
        ends = [await connect(alice, bob), bob.connections()[0]]
        assert [type(end._muxer._wire) for end in ends] == [kind, kind]  # type: ignore[attr-defined]
