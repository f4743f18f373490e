"""1 GiB on one stream while 63 others go on answering, readers that take their time, and perf; with go-libp2p."""

from __future__ import annotations

import asyncio
import os
import statistics
import time

import pytest

from stronghold_p2p.protocols import perf
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.stream import Stream
from tests.interop.names import ECHO, SINK, SLOW, SLOW_CHUNK, SLOW_PAUSE, SOURCE
from tests.interop.our_peer import Pair
from tests.interop.ways import GO, OURS_DIALS, played

BULK = 1 << 30
OTHERS = 63
WORST_MS = 500.0
TIMEOUT = 120.0
MIB = 1 << 20
WINDOW = 262_144
PERF_SIZE = 256 << 20
PERF_TIMEOUT = 60.0


def each_way(size: int, *both: tuple[int, int]) -> pytest.MarkDecorator:
    ways = [(size, 0), (0, size), *both]
    return pytest.mark.parametrize(("up", "down"), ways, ids=["upload", "download", "both"][: len(ways)])


def scaled(pair: Pair, size: int) -> int:
    """Less with those that are slower than go."""
    return size if pair.real.name == "go-libp2p" or size < PERF_SIZE else size // 16


async def ping_pong(stream: LiveStream, finished: asyncio.Event) -> list[float]:
    """64 bytes there and back, again and again until the bulk transfer is over; milliseconds."""
    message = os.urandom(64)
    times: list[float] = []
    while not finished.is_set():
        begin = time.perf_counter()
        await stream.write(message)
        assert await stream.readexactly(64) == message
        times.append((time.perf_counter() - begin) * 1e3)
        await asyncio.sleep(0.001)
    return times


async def bulk_with_small(pair: Pair, up: int, down: int) -> tuple[float, list[list[float]]]:
    finished = asyncio.Event()
    others = [await pair.open(ECHO) for _ in range(OTHERS)]
    async with asyncio.TaskGroup() as group:
        small = [group.create_task(ping_pong(stream, finished)) for stream in others]
        begin = time.perf_counter()
        async with await pair.open(perf.PERF) as stream:
            await perf.measure(Stream(stream), upload=up, download=down)
        took = time.perf_counter() - begin
        finished.set()
    for stream in others:
        stream.close()
    return took, [task.result() for task in small]


@pytest.mark.speed
@each_way(BULK)
@played("go", roles=["ours dials"])
async def test_ours_while_63_others_answer(pair: Pair, up: int, down: int) -> None:
    took, times = await bulk_with_small(pair, up, down)
    everything = [took_one for one in times for took_one in one]
    worst, least = max(everything), min(len(one) for one in times)
    way = "up" if up else "down"
    print(
        f"ours asks: 1 GiB {way} in {took:.2f} s, {BULK / took / 1e6:.0f} MB/s; {OTHERS} others: "
        f"{len(everything)} answers (at least {least} each), median {statistics.median(everything):.1f} ms, "
        f"worst {worst:.1f} ms"
    )
    assert least >= 5
    assert worst < WORST_MS
    assert took < TIMEOUT


@pytest.mark.speed
@each_way(BULK)
@played("go", roles=["theirs dials"])
async def test_theirs_while_63_others_answer(pair: Pair, up: int, down: int) -> None:
    answer = await pair.real.call(
        "bulk_with_small", peer=str(pair.ours.peer), bytes=up, down=down, others=OTHERS, timeout=TIMEOUT
    )
    print(
        f"go asks: 1 GiB {'up' if up else 'down'} in {answer['seconds']:.2f} s, {answer['mb_per_s']:.0f} MB/s; "
        f"{OTHERS} others: {answer['answers']} answers (at least {answer['least_answers']} each), "
        f"median {answer['median_ms']:.1f} ms, worst {answer['worst_ms']:.1f} ms"
    )
    assert answer["failures"] == []
    assert answer["least_answers"] >= 5
    assert answer["worst_ms"] < WORST_MS


@GO
async def test_they_read_slowly(pair: Pair) -> None:
    """The window holds us back: what go has not read waits here and not in its memory."""
    async with await pair.open(SLOW) as stream:
        begin = time.perf_counter()
        await stream.write(bytes(MIB))
        written = time.perf_counter() - begin
        stream.finish()
        assert int.from_bytes(await stream.readexactly(8), "big") == MIB
        took = time.perf_counter() - begin
        assert took >= MIB / SLOW_CHUNK * SLOW_PAUSE
        assert written >= (MIB - 2 * WINDOW) / SLOW_CHUNK * SLOW_PAUSE / 2


async def test_we_read_slowly(pair: Pair) -> None:
    """go never has more in flight than the window; the stream beside it does not wait."""
    async with await pair.open(SOURCE) as stream:
        await stream.write(MIB.to_bytes(8, "big"))
        received, most = 0, 0
        while chunk := await stream.read(SLOW_CHUNK):
            received += len(chunk)
            most = max(most, sum(map(len, stream._chunks)))
            await asyncio.sleep(SLOW_PAUSE)
            if received == 4 * SLOW_CHUNK:
                async with await pair.open(SINK) as other:
                    await other.write(bytes(MIB))
                    other.finish()
                    assert int.from_bytes(await other.readexactly(8), "big") == MIB
        assert received == MIB
        assert WINDOW // 2 < most <= 2 * WINDOW


async def test_their_stream_that_we_read_slowly(pair: Pair) -> None:
    answer = await pair.ask("sink", bytes=MIB, protocol=SLOW)
    assert answer["counted"] == MIB


@OURS_DIALS
async def test_nobody_reads_for_a_while(pair: Pair) -> None:
    """A stream that is not read at all fills its window and no more; read later, everything is there."""
    async with await pair.open(SOURCE) as stream:
        await stream.write(MIB.to_bytes(8, "big"))
        await asyncio.sleep(0.3)
        assert WINDOW - 64 <= sum(map(len, stream._chunks)) <= WINDOW  # the negotiation had a part of it
        assert await stream.read_to_end(MIB) == bytes(MIB)


@pytest.mark.speed
@each_way(PERF_SIZE, ((1 << 20) + 1, (1 << 20) + 3))  # more than a window, and an odd number of bytes
async def test_perf_that_we_ask(pair: Pair, up: int, down: int) -> None:
    up, down = scaled(pair, up), scaled(pair, down)
    begin = time.perf_counter()
    async with await pair.open(perf.PERF) as stream:
        await perf.measure(Stream(stream), upload=up, download=down)
    took = time.perf_counter() - begin
    print(f"ours asks, {pair.role}: {PERF_SIZE >> 20} MiB {'up' if up else 'down'} in {took:.2f} s")
    assert took < PERF_TIMEOUT


@pytest.mark.speed
@each_way(PERF_SIZE, ((1 << 20) + 1, (1 << 20) + 3))  # more than a window, and an odd number of bytes
async def test_perf_that_they_ask(pair: Pair, up: int, down: int) -> None:
    up, down = scaled(pair, up), scaled(pair, down)
    answer = await pair.ask("perf", up=up, down=down, timeout=PERF_TIMEOUT)
    print(f"go asks, {pair.role}: {PERF_SIZE >> 20} MiB {'up' if up else 'down'} in {answer['seconds']:.2f} s")
