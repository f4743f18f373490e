"""A socket as a wire: bytes in whole, kept for whoever can use them, congestion, one end. And the inbox it shares."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref

import pytest

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.transport import socket_wire
from stronghold_p2p.transport.socket_wire import INBOX_BYTES, WRITE_HIGH, SocketWire, inbox_for
from tests.peers import until
from tests.transport.wire import Taker, linked, wired


@pytest.mark.parametrize("unit", [1, 7, 4_096, 65_537])
async def test_what_was_not_used_comes_again(unit: int) -> None:
    async with wired(unit) as (wire, bare, taker):
        data = bytes(range(256)) * (8 * unit // 256 + 1)
        data = data[: 4 * unit]
        for start in range(0, len(data), max(1, len(data) // 5)):
            await bare.send(data[start : start + max(1, len(data) // 5)])
            await asyncio.sleep(0.001)
        await until(lambda: len(taker.got) == len(data))
        assert taker.got == data
        assert not wire.partial
        bare.close()
        await until(lambda: taker.lost)
        assert taker.lost == [None]


async def test_two_wires_share_an_inbox_and_keep_their_own_rest() -> None:
    async with wired(4) as (one, left, first), wired(4) as (other, right, second):
        await left.send(b"abc")
        await right.send(b"xy")
        await until(lambda: one.partial and other.partial)
        await left.send(b"d")
        await right.send(b"zw")
        await until(lambda: first.got and second.got)
        assert (bytes(first.got), bytes(second.got)) == (b"abcd", b"xyzw")


async def test_an_end_in_the_middle_is_told() -> None:
    async with wired(4) as (wire, bare, taker):
        await bare.send(b"abc")
        await until(lambda: wire.partial)
        bare.finish()
        await until(lambda: taker.lost)
        assert isinstance(taker.lost[0], ConnectionClosed)


async def test_a_wire_without_a_user_drops_what_comes() -> None:
    wire, bare = await linked()
    await bare.send(b"nobody reads this")
    while not wire.congested:
        wire.write(bytes(65_536))
    receiving = asyncio.ensure_future(bare.rest())
    await until(lambda: not wire.congested)
    assert not wire.partial
    wire.abort()
    await receiving
    bare.close()
    await until(lambda: wire.lost)


async def test_after_the_end_nothing_is_called() -> None:
    async with wired() as (wire, _, taker):
        wire.abort()
        await until(lambda: taker.lost)
        wire.write(b"into the void")
        wire.abort()
        wire.connection_lost(None)
        wire.resume_writing()
        assert (len(taker.lost), taker.rooms) == (1, 0)


async def test_congestion_begins_and_ends() -> None:
    async with wired() as (wire, bare, taker):
        assert wire.unsent == 0
        size = 0
        while not wire.congested:
            wire.write(bytes(65_536))
            size += 65_536
        assert size > WRITE_HIGH
        assert taker.rooms == 0
        assert WRITE_HIGH < wire.unsent <= size
        assert len(await bare.read(size)) == size
        await until(lambda: taker.rooms)
        assert taker.rooms == 1
        await until(lambda: wire.unsent == 0)


async def test_finish_lets_everything_leave_and_reads_on() -> None:
    async with wired() as (wire, bare, taker):
        wire.write(bytes(4 << 20))
        wire.finish()
        assert len(await bare.rest()) == 4 << 20
        await bare.send(b"still here")
        await until(lambda: bytes(taker.got) == b"still here")
        bare.close()
        await until(lambda: taker.lost)
        assert taker.lost == [None]


async def test_finish_on_a_connection_that_was_reset() -> None:
    async with wired() as (wire, bare, taker):
        bare.reset()
        wire.write(b"x")
        wire.finish()
        await until(lambda: taker.lost)


class Phase(Taker):
    """Uses one unit, and leaves the wire to the next user."""

    def __init__(self, wire: SocketWire, unit: int) -> None:
        super().__init__(wire, unit)
        self.after: Taker = self

    def received(self, view: memoryview) -> int:
        super().received(view[: self.unit])
        self.after = Taker(self.wire, self.unit)
        return self.unit


async def test_what_one_phase_left_is_the_next_one_s_at_once() -> None:
    async with wired() as (wire, bare, last):
        phase = Phase(wire, 4)
        await bare.send(b"abcdefghij")
        await until(lambda: phase.after is not phase)
        assert (bytes(phase.got), bytes(phase.after.got), wire.partial) == (b"abcd", b"efgh", True)
        await bare.send(b"kl")
        await until(lambda: bytes(phase.after.got) == b"efghijkl")
        wire.user = last


async def test_what_was_kept_comes_first_when_reading_goes_on() -> None:
    """And not from within ``resume``; what is lost meanwhile is lost."""
    async with wired(4) as (wire, bare, taker):
        await bare.send(b"abc")
        await until(lambda: wire.partial)
        wire.pause()
        await bare.send(b"de")
        await asyncio.sleep(0.02)
        assert taker.sizes == [3]
        taker.unit = 1
        wire.resume()
        assert not taker.got
        await until(lambda: len(taker.got) == 5)
        assert (bytes(taker.got), taker.sizes) == (b"abcde", [3, 3, 2])
        taker.unit = 4
        await bare.send(b"abc")
        await until(lambda: wire.partial)
        wire.resume()
        wire.abort()
        await until(lambda: taker.lost)
        assert len(taker.got) == 5


async def test_the_inbox_is_the_loop_s(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    assert inbox_for(loop) is inbox_for(loop)
    assert len(inbox_for(loop)) == INBOX_BYTES
    # A proactor loop reads ahead, so nothing is shared.
    monkeypatch.setattr(asyncio, "ProactorEventLoop", type(loop), raising=False)
    assert inbox_for(loop) is not inbox_for(loop)


def test_the_inbox_goes_with_its_loop() -> None:
    loop = asyncio.new_event_loop()
    held = weakref.ref(inbox_for(loop))
    assert loop in socket_wire._inboxes
    loop.close()
    del loop
    gc.collect()
    assert held() is None


async def test_what_is_written_may_change_at_once() -> None:
    """Also what the socket did not take: it waits in the loop's buffer, as a copy."""
    async with wired() as (wire, bare, _):
        memory = bytearray(1 << 16)
        view = memoryview(memory)
        sent = b""
        for value in range(200):
            memory[:] = bytes([value]) * len(memory)
            wire.write(view)
            sent += bytes(memory)
        assert wire.transport.get_write_buffer_size() > 0
        assert await bare.read(len(sent)) == sent


async def test_what_leaves_at_once_does_not_pass_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired() as (wire, bare, _):
        with monkeypatch.context() as patched:
            patched.setattr(type(wire.transport), "write", None)
            wire.write(b"directly")
            assert await bare.receive() == b"directly"


async def test_without_descriptors_the_loop_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setattr(socket_wire, "DIRECT", False)
    monkeypatch.setattr(socket_wire, "UNACKNOWLEDGED", 0)
    monkeypatch.setattr("os.write", None)
    async with wired() as (wire, bare, _):
        wire.write(memoryview(b"by the loop"))
        assert await bare.receive() == b"by the loop"
        assert wire.unsent == 0


async def test_writing_to_a_peer_that_has_gone_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a peer that leaves while much is answered has a line logged for each answer (hostile row 70)."""
    async with wired() as (wire, bare, taker):
        bare.reset()

        def lost() -> bool:
            for _ in range(20):
                wire.write(b"an answer")
            return bool(taker.lost)

        await until(lost)
        assert isinstance(taker.lost[0], OSError)
        wire.write(b"too late")
        assert caplog.records == []


async def test_after_the_end_nothing_is_written_to_who_has_the_descriptor_now() -> None:
    async with wired() as (wire, _, _taker):
        connected: socket.socket = wire.transport.get_extra_info("socket")
        number = connected.fileno()
        wire.abort()
        wire.write(b"not even before it is closed")
        await until(lambda: wire.lost)
        reading, writing = os.pipe()
        try:
            assert number in (reading, writing)
            wire.write(b"never")
            os.set_blocking(reading, False)
            with pytest.raises(BlockingIOError):
                os.read(reading, 10)
        finally:
            os.close(reading)
            os.close(writing)
