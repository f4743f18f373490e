"""The asyncio end of a connection: bytes in whole, errors where they belong, one end."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time

import pytest

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.transport.socket_wire import INBOX_BYTES, NARROW, QUICK, WRITE_HIGH, Inbox, Link, inbox_for
from tests.peers import until
from tests.transport.wire import linked


class Taker:
    """Uses at most ``step`` bytes at a time, in units of ``unit``."""

    def __init__(self, link: Link, unit: int = 1) -> None:
        self.got = bytearray()
        self.unit = unit
        self.failed: list[Exception] = []
        self.lost: list[Exception | None] = []
        link.receiver = self.take
        link.on_failed = self.failed.append
        link.on_lost = self.lost.append

    def take(self, view: memoryview) -> int:
        used = len(view) - len(view) % self.unit
        self.got += view[:used]
        return used


@pytest.mark.parametrize("unit", [1, 7, 4_096, 65_537])
async def test_what_was_not_used_comes_again(unit: int) -> None:
    link, bare = await linked()
    taker = Taker(link, unit)
    data = bytes(range(256)) * (8 * unit // 256 + 1)
    data = data[: 4 * unit]
    for start in range(0, len(data), max(1, len(data) // 5)):
        await bare.send(data[start : start + max(1, len(data) // 5)])
        await asyncio.sleep(0.001)
    await until(lambda: len(taker.got) == len(data))
    assert taker.got == data
    assert not link.incomplete
    bare.close()
    await until(lambda: taker.lost)
    assert taker.lost == [None]


async def test_two_links_share_an_inbox_and_keep_their_own_rest() -> None:
    (one, left), (other, right) = await linked(), await linked()
    first, second = Taker(one, 4), Taker(other, 4)
    await left.send(b"abc")
    await right.send(b"xy")
    await until(lambda: one.incomplete and other.incomplete)
    await left.send(b"d")
    await right.send(b"zw")
    await until(lambda: first.got and second.got)
    assert (bytes(first.got), bytes(second.got)) == (b"abcd", b"xyzw")
    left.close()
    right.close()
    await until(lambda: first.lost and second.lost)


async def test_an_end_in_the_middle_is_told() -> None:
    link, bare = await linked()
    taker = Taker(link, 4)
    await bare.send(b"abc")
    await until(lambda: link.incomplete)
    bare.finish()
    await until(lambda: taker.lost)
    assert isinstance(taker.lost[0], ConnectionClosed)
    assert link.lost
    bare.close()


async def test_an_exception_goes_to_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    link, bare = await linked()
    taker = Taker(link)

    def broken(view: memoryview) -> int:
        raise ZeroDivisionError(len(view))

    link.receiver = broken
    await bare.send(b"x")
    await until(lambda: taker.failed)
    assert isinstance(taker.failed[0], ZeroDivisionError)
    assert not link.lost
    assert not caplog.records
    link.abort()
    await until(lambda: taker.lost)
    bare.close()


async def test_after_the_end_nothing_is_called() -> None:
    link, bare = await linked()
    taker = Taker(link)
    link.abort()
    await until(lambda: taker.lost)
    link.write(b"into the void")
    link.abort()
    link.close()
    link.connection_lost(None)
    link.resume_writing()
    assert len(taker.lost) == 1
    assert taker.failed == []
    bare.close()


async def test_congestion_begins_and_ends() -> None:
    link, bare = await linked()
    taker = Taker(link)
    rooms: list[bool] = []
    link.on_room = lambda: rooms.append(link.congested)
    size = 0
    while not link.congested:
        link.write(bytes(65_536))
        size += 65_536
    assert size > WRITE_HIGH
    assert rooms == []
    assert len(await bare.read(size)) == size
    await until(lambda: rooms)
    assert rooms == [False]
    link.abort()
    await until(lambda: taker.lost)
    bare.close()


async def test_finish_lets_everything_leave_and_reads_on() -> None:
    link, bare = await linked()
    taker = Taker(link)
    link.write(bytes(4 << 20))
    link.finish()
    assert len(await bare.rest()) == 4 << 20
    await bare.send(b"still here")
    await until(lambda: bytes(taker.got) == b"still here")
    bare.close()
    await until(lambda: taker.lost)
    assert taker.lost == [None]


async def test_finish_on_a_connection_that_was_reset() -> None:
    link, bare = await linked()
    taker = Taker(link)
    bare.reset()
    link.write(b"x")
    link.finish()
    await until(lambda: taker.lost)


async def test_leftovers_of_an_earlier_phase_come_first() -> None:
    link, bare = await linked()
    taker = Taker(link, 4)
    link.feed(b"abcde")
    assert bytes(taker.got) == b"abcd"
    await bare.send(b"fgh")
    await until(lambda: len(taker.got) == 8)
    assert bytes(taker.got) == b"abcdefgh"
    bare.close()
    await until(lambda: taker.lost)


async def test_the_inbox_is_the_loop_s() -> None:
    loop = asyncio.get_running_loop()
    assert inbox_for(loop) is inbox_for(loop)
    assert len(inbox_for(loop).view) == INBOX_BYTES


def test_the_inbox_goes_with_its_loop() -> None:
    loop = asyncio.new_event_loop()
    inbox_for(loop)
    loop.close()
    del loop
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Inbox)]


async def test_a_proactor_loop_reads_ahead_so_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(asyncio, "ProactorEventLoop", type(loop), raising=False)
    assert inbox_for(loop) is not inbox_for(loop)


async def test_what_is_written_may_change_at_once() -> None:
    """Also what the socket did not take: it waits in the loop's buffer, as a copy."""
    link, bare = await linked()
    Taker(link)
    memory = bytearray(1 << 16)
    view = memoryview(memory)
    sent = b""
    for value in range(200):
        memory[:] = bytes([value]) * len(memory)
        link.write(view)
        sent += bytes(memory)
    assert link.transport.get_write_buffer_size() > 0
    got = b""
    while len(got) < len(sent):
        got += await bare.receive()
    assert got == sent
    bare.close()
    link.abort()


async def test_what_leaves_at_once_does_not_pass_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    link, bare = await linked()
    Taker(link)
    monkeypatch.setattr(type(link.transport), "write", None)
    link.write(b"directly")
    assert await bare.receive() == b"directly"
    monkeypatch.undo()
    bare.close()
    link.abort()


async def test_without_descriptors_the_loop_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setattr("stronghold_p2p.transport.socket_wire.DIRECT", False)
    monkeypatch.setattr("os.write", None)
    link, bare = await linked()
    Taker(link)
    link.write(memoryview(b"by the loop"))
    assert await bare.receive() == b"by the loop"
    bare.close()
    link.abort()


async def test_writing_to_a_peer_that_has_gone_ends_the_connection_once() -> None:
    link, bare = await linked()
    taker = Taker(link)
    bare.reset()

    def lost() -> bool:
        link.write(b"x")
        return bool(taker.lost)

    await until(lost)
    assert len(taker.lost) == 1
    link.write(b"too late")


async def test_after_the_end_nothing_is_written_to_who_has_the_descriptor_now() -> None:
    link, bare = await linked()
    Taker(link)
    number = link.transport.get_extra_info("socket").fileno()
    link.abort()
    link.write(b"not even before it is closed")
    await until(lambda: link.lost)
    reading, writing = os.pipe()
    try:
        assert number in (reading, writing)
        link.write(b"never")
        os.set_blocking(reading, False)
        with pytest.raises(BlockingIOError):
            os.read(reading, 10)
    finally:
        os.close(reading)
        os.close(writing)
    bare.close()


async def test_writes_after_a_reset_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a peer that leaves while much is answered has a line logged for each answer (hostile row 70)."""
    lost: list[Exception | None] = []
    link, bare = await linked()
    link.on_lost = lost.append
    bare.reset()
    for _ in range(20):
        link.write(b"an answer")
    await until(lambda: lost)
    assert isinstance(lost[0], OSError)
    assert caplog.records == []
    link.abort()


class Slow(Taker):
    """Needs time for whatever comes."""

    def take(self, view: memoryview) -> int:
        time.sleep(len(view) / QUICK * 2)
        return super().take(view)


@pytest.mark.parametrize("kind", [Taker, Slow])
@pytest.mark.parametrize("unit", [1, 65_537])
async def test_a_full_inbox_is_followed_by_what_is_there(kind: type[Taker], unit: int) -> None:
    """Everything comes once and in order, in pieces of half the inbox for whoever is slow."""
    link, bare = await linked()
    taker = kind(link, unit)
    sizes: list[int] = []
    take = link.receiver

    def sized(view: memoryview) -> int:
        sizes.append(len(view))
        return take(view)

    link.receiver = sized
    data = os.urandom(unit) * ((8 << 20) // unit)
    link.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sending = asyncio.get_running_loop().create_task(bare.send(data))
    await until(lambda: len(taker.got) == len(data), 20)
    await sending
    assert taker.got == data
    assert max(sizes) <= (NARROW if kind is Slow else INBOX_BYTES)
    bare.close()
    await until(lambda: taker.lost)


async def test_a_full_inbox_is_not_followed_once_reading_is_paused() -> None:
    link, bare = await linked()
    taker = Taker(link)
    take = link.receiver

    def pausing(view: memoryview) -> int:
        link.pause_reading()
        return take(view)

    link.receiver = pausing
    link.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    link.pause_reading()
    sending = asyncio.get_running_loop().create_task(bare.send(bytes(2 << 20)))
    await asyncio.sleep(0.05)
    link.resume_reading()
    await until(lambda: taker.got)
    assert len(taker.got) <= NARROW
    link.receiver = take
    link.resume_reading()
    await until(lambda: len(taker.got) == 2 << 20)
    await sending
    bare.close()
    await until(lambda: taker.lost)
