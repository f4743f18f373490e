"""The one timer of a connection and of its streams, with the figures of production. Time is virtual."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest

from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection import handlers
from stronghold_p2p.connection.deadlines import COARSE, LATE_AT_MOST, Deadlines
from stronghold_p2p.connection.live import LINGER, LiveConnection
from stronghold_p2p.errors import P2PError, StreamReset
from stronghold_p2p.events.events import Ended, Opened
from stronghold_p2p.yamux.header import DATA, FIN, PING, RST, SYN, WINDOW_UPDATE, frame
from tests.peers import ECHO, ask, connect, echo, never, now, swarm, until
from tests.swarm.raw import Events, raw_in, raw_out
from tests.virtual import VIRTUAL, eventually

LOOPS = VIRTUAL


@pytest.mark.parametrize("keepalive", [30.0, None])
async def test_an_idle_connection_is_closed(keepalive: float | None) -> None:
    quiet, patient = Timeouts(keepalive=keepalive), Timeouts(idle=None)
    async with swarm(1, timeouts=quiet) as alice, swarm(2, timeouts=patient) as bob:
        events, others = Events(alice), Events(bob)
        began = now()
        connection = await connect(alice, bob)
        await eventually(lambda: connection.closed)
        assert now() - began == pytest.approx(120, abs=1)
        await until(lambda: others.of(Ended))
        assert [event.error.remote for event in events.of(Ended) + others.of(Ended)] == [False, True]
        assert others.of(Ended)[0].error.code == GoAway.NORMAL


@pytest.mark.parametrize("keepalive", [30.0, None])
async def test_a_stream_keeps_it_open(keepalive: float | None) -> None:
    timeouts = Timeouts(idle=60.0, keepalive=keepalive, negotiate=None)
    async with swarm(1, timeouts=timeouts) as alice, swarm(2, timeouts=Timeouts(idle=None)) as bob:
        bob.handle(ECHO, echo)
        connection = await connect(alice, bob)
        stream = await connection.open_stream(ECHO)
        await asyncio.sleep(600)
        assert not connection.closed
        assert await ask(connection) == b"hello"
        stream.close()
        ended = now()
        await eventually(lambda: connection.closed)
        assert 59 <= now() - ended <= 121  # the clock runs from the first look at which there was no stream


async def test_a_protected_peer_is_kept() -> None:
    async with swarm(1) as alice, swarm(2, timeouts=Timeouts(idle=None)) as bob:
        alice.protected.add(bob.peer_id)
        connection = await connect(alice, bob)
        await asyncio.sleep(1_000)
        assert not connection.closed
        alice.protected.discard(bob.peer_id)
        await asyncio.sleep(300)
        assert connection.closed


async def test_a_stream_that_the_peer_does_not_close() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        began = now()
        async with await connection.open_stream(ECHO):
            pass
        number = (await raw.until(DATA, SYN)).stream
        await raw.answer(number, ECHO)
        await raw.until(DATA, FIN, number)
        await raw.until(WINDOW_UPDATE, RST, number)
        assert now() - began == pytest.approx(LINGER, abs=0.1)
        assert connection.streams == 0


async def test_many_deadlines_do_not_keep_the_loop_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "SILENT_BURST", 1_000)
    async with swarm(1, limits=Limits(streams_in=1_000)) as alice, raw_in(alice) as (raw, connection):
        for number in range(1, 1_000, 2):
            await raw.send(frame(WINDOW_UPDATE, SYN, number, 0))
            await asyncio.sleep(0.001)
        looks: list[float] = []
        look = LiveConnection.look

        def noted(self: LiveConnection, now: float) -> float:
            looks.append(now)
            return look(self, now)

        monkeypatch.setattr(LiveConnection, "look", noted)
        await eventually(lambda: connection.streams == 0)
        assert len(looks) <= 60


@pytest.mark.parametrize("said", [b"", b"\x13"])
async def test_a_peer_whose_streams_say_nothing(said: bytes) -> None:
    """Hostile row 140: who says half of a proposal has other limits."""
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        for number in range(1, 201, 2):
            await raw.send(frame(DATA, SYN, number, len(said)), said)
        await asyncio.sleep(11)
        assert (connection.closed, connection.streams) == (False, 0)
        for number in range(201, 401, 2):
            await raw.send(frame(DATA, SYN, number, len(said)), said)
        await asyncio.sleep(11)
        assert connection.closed == (not said)
        assert said or await raw.gone() == GoAway.RATE_LIMITED


class Due:
    """A stream that is due once, or again ``later``."""

    gone = False

    def __init__(self, due: float, later: float = math.inf) -> None:
        self.due, self._later = due, later
        self.sink = self
        self.told: list[float] = []

    def expired(self, now: float) -> None:
        self.told.append(now)
        self.due, self._later = self._later, math.inf
        self.gone = self.due == math.inf


class Streams(list[Due]):
    """Counts how often somebody goes through all of them."""

    looks = 0

    def __iter__(self) -> Iterator[Due]:
        self.looks += 1
        return super().__iter__()


def played(deadlines: Deadlines, streams: Streams) -> int:
    """Time passes until nothing is due any more; the number of looks."""
    looks, time = 0, now()
    while deadlines.next < math.inf:
        time = max(deadlines.next, time + COARSE)
        deadlines.expire(streams, time)  # type: ignore[arg-type]
        looks += 1
    return looks


async def test_the_deadlines_of_streams_are_put_in_order_once() -> None:
    """Hostile row 140: one every 20 ms, all of them for ten seconds."""
    deadlines = Timed().deadlines
    streams = Streams(Due(now() + 10 + number / 50) for number in range(500))
    due = [one.due for one in streams]
    deadlines.sooner(due[0])
    assert played(deadlines, streams) <= 10 / LATE_AT_MOST
    assert streams.looks == 1 + 1  # and ours
    for one, begun in zip(list(streams), due, strict=True):
        (told,) = one.told
        assert begun <= told <= begun + LATE_AT_MOST + COARSE
    deadlines.end()


async def test_deadlines_that_change() -> None:
    """Put off, put off before anybody looked, gone, and due again."""
    deadlines, began = Timed().deadlines, now()
    off, gone, again, last = streams = Streams(
        [Due(began + 2), Due(began + 3), Due(began + 4, began + 7), Due(began + 5)]
    )
    early = Due(began + 1)
    deadlines.sooner(began + 1)
    deadlines.expire([early, *streams], began + 1)  # type: ignore[list-item]
    off.due, gone.gone = began + 6, True
    streams.remove(gone)
    played(deadlines, streams)
    assert [len(one.told) for one in (early, *streams, gone)] == [1, 1, 2, 1, 0]
    assert off.told[0] >= began + 6
    assert again.told[1] >= began + 7
    assert last.told[0] <= began + 5 + LATE_AT_MOST + COARSE
    deadlines.end()


async def test_nothing_is_left_of_a_connection_that_ends_while_everything_is_due() -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, never)
        opened = Events(alice)
        await raw.open(5, ECHO)
        await raw.send(frame(WINDOW_UPDATE, SYN, 1, 0), frame(PING, SYN, 0, 7), frame(DATA, SYN, 3, 9))
        await asyncio.sleep(9)
        stream = await connection.open_stream(ECHO)
        raw.close()
        with pytest.raises(P2PError) as caught:
            await stream.read()
        assert not isinstance(caught.value, StreamReset)
        await until(lambda: not connection.handlers.tasks)
        assert [type(event) for event in opened.all] == [Ended]
        assert opened.of(Opened) == []


class Timed:
    """Notes each look, and asks for the next one ``after`` so many seconds."""

    def __init__(self, *after: float) -> None:
        self.after = list(after)
        self.looks: list[float] = []
        self.errors: list[Exception] = []
        self.began = now()
        self.deadlines = Deadlines(self, asyncio.get_running_loop())

    def look(self, now: float) -> float:
        self.looks.append(round(now - self.began, 3))
        return now + self.after.pop(0)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


async def test_the_earliest_deadline_counts_and_looks_are_not_too_often() -> None:
    timed = Timed(0.0, 5.0, 100.0)
    for due in (3.0, 1.0, 2.0):
        timed.deadlines.look_at(timed.began + due)
    await asyncio.sleep(10)
    assert timed.looks == [1.0, 1.0 + COARSE, 6.0 + COARSE]
    assert timed.deadlines.at == pytest.approx(timed.began + 106 + COARSE)
    timed.deadlines.clear()
    await asyncio.sleep(200)
    timed.deadlines.look_at(now() + 1)
    await asyncio.sleep(2)
    assert len(timed.looks) == 4
    (error,) = timed.errors  # ``look`` had nothing more to say
    assert isinstance(error, IndexError)


async def test_after_the_end_nobody_looks() -> None:
    timed = Timed()
    timed.deadlines.look_at(now() + 1)
    timed.deadlines.end()
    timed.deadlines.look_at(now() + 1)
    await asyncio.sleep(2)
    assert (timed.looks, timed.errors) == ([], [])
