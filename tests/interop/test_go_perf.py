"""/perf/1.0.0 with go-libp2p: 256 MiB each way, in both roles."""

from __future__ import annotations

import time

import pytest

from stronghold_p2p.protocols import perf
from stronghold_p2p.streams.stream import Stream
from tests.interop.our_peer import OURS_DIALS, Pair

SIZE = 256 << 20
TIMEOUT = 60.0

pytestmark = pytest.mark.speed


@pytest.mark.parametrize(("up", "down"), [(SIZE, 0), (0, SIZE)], ids=["upload", "download"])
async def test_we_ask(pair: Pair, up: int, down: int) -> None:
    begin = time.perf_counter()
    async with await pair.open(perf.PERF) as stream:
        await perf.measure(Stream(stream), upload=up, download=down)
    took = time.perf_counter() - begin
    print(f"ours asks, {pair.role}: {SIZE >> 20} MiB {'up' if up else 'down'} in {took:.2f} s")
    assert took < TIMEOUT


@pytest.mark.parametrize(("up", "down"), [(SIZE, 0), (0, SIZE)], ids=["upload", "download"])
async def test_go_asks(pair: Pair, up: int, down: int) -> None:
    answer = await pair.ask_go("perf", up=up, down=down, timeout=TIMEOUT)
    print(f"go asks, {pair.role}: {SIZE >> 20} MiB {'up' if up else 'down'} in {answer['seconds']:.2f} s")


@OURS_DIALS
async def test_both_ways_on_one_stream(pair: Pair) -> None:
    """perf uploads first and downloads then; more than a window each way, and an odd number of bytes."""
    async with await pair.open(perf.PERF) as stream:
        await perf.measure(Stream(stream), upload=(1 << 20) + 1, download=(1 << 20) + 3)
    await pair.ask_go("perf", up=(1 << 20) + 5, down=(1 << 20) + 7)
