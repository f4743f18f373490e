"""Fairness, and much of everything. Bounds on time are generous: they catch a standstill, not a slow machine."""

from __future__ import annotations

import asyncio
import time

import pytest

from stronghold_p2p.streams.live import LiveStream
from tests.peers import ECHO, echo, swallow, swarms

BULK = "/bulk/1.0.0"


@pytest.mark.speed
async def test_one_stream_moves_much_and_63_others_answer() -> None:
    """100 MB on one stream; the others ask all the while, and each gets its turn."""
    async with swarms(echo) as (_, bob, connection):
        bob.handle(BULK, swallow)
        delays: list[float] = []
        done = asyncio.Event()

        async def asking(stream: LiveStream) -> int:
            rounds = 0
            while not done.is_set():
                began = time.perf_counter()
                await stream.write(b"x" * 64)
                assert await stream.readexactly(64) == b"x" * 64
                delays.append(time.perf_counter() - began)
                rounds += 1
            stream.close()
            return rounds

        others = [asyncio.ensure_future(asking(await connection.open_stream(ECHO))) for _ in range(63)]
        piece = bytes(65_536)
        async with await connection.open_stream(BULK) as stream:
            for _ in range(100_000_000 // len(piece)):
                await stream.write(piece)
            stream.finish()
            assert await stream.read() == b""
        done.set()
        rounds = await asyncio.gather(*others)
        assert min(rounds) >= 3
        assert min(rounds) * 4 >= max(rounds)
        assert max(delays) < 2.0
