"""Yamux over a channel over a wire: what keeps a connection alive, what ends it, and its goodbye. Time is virtual."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConnectionClosed, MuxerError
from stronghold_p2p.events.events import Ended
from stronghold_p2p.muxing.yamux_muxer import INCOMPLETE, YamuxMuxer
from stronghold_p2p.yamux import receiver
from stronghold_p2p.yamux.header import ACK, DATA, GO_AWAY, PING, SYN, WINDOW_UPDATE, frame
from tests.inside import wire
from tests.peers import ECHO, ask, connect, echo, levels, now, swarm, until
from tests.swarm.raw import Events, raw_in, raw_out
from tests.virtual import VIRTUAL, eventually

LOOPS = VIRTUAL

QUIET = {"keepalive": None, "idle": None}


async def test_a_ping_after_silence_and_another_after_its_answer() -> None:
    async with swarm(1, timeouts=Timeouts(idle=None)) as alice, raw_in(alice) as (raw, connection):
        began = now()
        for round_ in range(1, 4):
            ping = await raw.read()
            assert ping is not None
            assert (ping.kind, ping.flags) == (PING, SYN)
            assert now() - began == pytest.approx(30 * round_, abs=1.5)
            await raw.send(frame(PING, ACK, 0, ping.length))
        await until(lambda: connection.latency is not None)
        assert not connection.closed


async def test_a_silent_peer_is_gone_within_40_seconds() -> None:
    """Hostile row 6: no FIN, no RST, nothing."""
    async with swarm(1) as alice, raw_in(alice) as (_, connection):
        alice.handle(ECHO, echo)
        events = Events(alice)
        began = now()
        await eventually(lambda: connection.closed)
        assert now() - began == pytest.approx(40, abs=1)
        (ended,) = events.of(Ended)
        assert "ping" in str(ended.error)
        assert not ended.error.remote


async def test_who_waits_learns_that_the_peer_is_silent() -> None:
    async with swarm(1) as alice, raw_out(alice) as (_, connection):
        stream = await connection.open_stream(ECHO)
        stream.intake = None  # as if it had been accepted
        with pytest.raises(ConnectionClosed, match="ping"):
            await stream.read()


async def test_a_talking_peer_is_not_pinged() -> None:
    async with swarm(1, timeouts=Timeouts(idle=None)) as alice, raw_in(alice) as (raw, connection):
        for number in range(20):
            await asyncio.sleep(20)
            await raw.send(frame(PING, SYN, 0, number))
            got = await raw.read()
            assert got is not None
            assert (got.kind, got.flags, got.length) == (PING, ACK, number)
        assert not connection.closed


@pytest.mark.parametrize("keepalive", [30.0, None])
async def test_two_of_ours_keep_each_other_alive_and_without_keepalive_nobody_is_pinged(
    keepalive: float | None,
) -> None:
    quiet = Timeouts(idle=None, keepalive=keepalive)
    async with swarm(1, timeouts=quiet) as alice, swarm(2, timeouts=quiet) as bob:
        alice.handle(ECHO, echo)
        connection = await connect(bob, alice)
        await asyncio.sleep(3_600)
        assert (connection.latency is None) == (keepalive is None)
        assert await ask(connection) == b"hello"


@pytest.mark.parametrize("drops", [True, False])
async def test_a_peer_that_takes_nothing(drops: bool) -> None:
    """It sends pings all the time, so it is not silent; but it does not read."""
    async with swarm(1, timeouts=Timeouts(idle=None)) as alice, raw_out(alice) as (raw, connection):
        stream = await connection.open_stream(ECHO)
        first = await raw.until(DATA, SYN)
        await raw.answer(first.stream, ECHO)
        await raw.send(frame(WINDOW_UPDATE, 0, first.stream, 64 << 20))
        writing = asyncio.ensure_future(stream.write(bytes(32 << 20)))
        await until(lambda: wire(connection).congested)
        began = now()
        talking = asyncio.ensure_future(_talk(raw))
        if drops:
            with pytest.raises(ConnectionClosed, match="took no bytes"):
                await writing
            assert 10 <= now() - began <= 13
        else:  # now and then it takes something
            for _ in range(10):
                await asyncio.sleep(6)
                assert not connection.closed
                await raw.bare.read(2 << 20)
            writing.cancel()
            stream.reset()
        talking.cancel()
        await asyncio.gather(talking, writing, return_exceptions=True)


async def _talk(raw: Any) -> None:
    while True:
        await asyncio.sleep(1)
        await raw.send(frame(WINDOW_UPDATE, 0, 1, 1))


@pytest.mark.parametrize("what", ["record", "frame"])
@pytest.mark.parametrize("keepalive", [30.0, None])
async def test_what_never_becomes_whole(what: str, keepalive: float | None) -> None:
    """Hostile row 31, below the channel and above: a byte every nine seconds is no progress; what came is delivered."""
    timeouts = Timeouts(keepalive=keepalive, idle=None)
    async with swarm(1, timeouts=timeouts) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        await raw.open(1, ECHO)
        await raw.body(1, 20)
        began = now()
        if what == "record":
            await raw.bare.send(b"\x40\x00")
        else:
            await raw.send(frame(DATA, 0, 1, 65_536) + b"0")
            assert await raw.body(1, 1) == b"0"
        while not connection.closed:
            await asyncio.sleep(9)
            await (raw.bare.send(b"x") if what == "record" else raw.send(b"1"))
        assert INCOMPLETE <= now() - began <= INCOMPLETE + 10
        assert isinstance(connection.error, MuxerError)
        assert await raw.gone() == GoAway.PROTOCOL_ERROR


async def test_slow_but_whole_records_are_no_fault() -> None:
    async with swarm(1, timeouts=Timeouts(**QUIET)) as alice, raw_in(alice) as (raw, connection):
        record = bytes(raw.seal(frame(PING, SYN, 0, 1)))
        for byte in record:
            await raw.bare.send(bytes([byte]))
            await asyncio.sleep(0.9)
        assert (await raw.until(PING, ACK)).length == 1
        await asyncio.sleep(120)
        assert not connection.closed


@pytest.mark.parametrize("stays", [True, False])
async def test_our_goodbye(stays: bool) -> None:
    """A peer has a second to close its side, too."""
    async with swarm(1) as alice, swarm(2) as bob, raw_in(alice) as (_, stranger):
        connection = stranger if stays else await connect(alice, bob)
        began = now()
        await connection.close()
        assert now() - began == pytest.approx(1.0 if stays else 0.0, abs=0.1)
        assert wire(connection).lost


async def test_more_frames_than_a_turn_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 42: the loop comes to others between the turns, and what came is still processed in its order."""
    turns: list[int] = []
    others = 0
    received = YamuxMuxer.received

    def noted(self: YamuxMuxer, view: memoryview) -> int:
        turns.append(others)
        return received(self, view)

    monkeypatch.setattr(YamuxMuxer, "received", noted)
    monkeypatch.setattr(receiver, "TURN_SECONDS", 0.0)  # each look at the clock ends a turn
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        loop = asyncio.get_running_loop()

        def other() -> None:
            nonlocal others
            others += 1
            loop.call_soon(other) if others < 100 else None

        sent = bytes(raw.seal(b"".join(frame(PING, SYN, 0, number) for number in range(8_000))))
        turns.clear()
        wire(connection)._deliver(memoryview(sent))  # as if it had come at once
        other()
        assert [(await raw.until(PING, ACK)).length for _ in range(8_000)] == list(range(8_000))
        assert len(turns) >= 8
        assert len(set(turns[:8])) == 8
        await raw.send(frame(PING, SYN, 0, 9_000))
        assert (await raw.until(PING, ACK)).length == 9_000
        assert not connection.closed


async def test_who_leaves_in_the_middle_of_many_frames(caplog: pytest.LogCaptureFixture) -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        await raw.send(*(frame(PING, SYN, 0, number) for number in range(3_500)), frame(GO_AWAY, 0, 0, 7))
        await until(lambda: connection.closed)
        assert isinstance(connection.error, ConnectionClosed)
        assert connection.error.code == 7
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        sent = bytes(raw.seal(b"".join(frame(PING, SYN, 0, number) for number in range(3_500))))
        wire(connection)._deliver(memoryview(sent))
        connection.abort()
        await until(lambda: not alice.connections())
    assert levels(caplog) == []
