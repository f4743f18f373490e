"""ping between ours and go-libp2p."""

from __future__ import annotations

import asyncio

from stronghold_p2p.codes import Reset
from stronghold_p2p.protocols.ping import PING, SIZE
from tests.interop.our_peer import GO_DIALS, OURS_DIALS, Pair


async def test_we_ping(pair: Pair) -> None:
    times = [await pair.ours.ping.ping(pair.connection) for _ in range(20)]
    assert all(0 < took < 1.0 for took in times)
    together = await asyncio.gather(*(pair.ours.ping.ping(pair.connection) for _ in range(20)))
    assert all(0 < took < 1.0 for took in together)


async def test_go_pings(pair: Pair) -> None:
    answer = await pair.ask_go("ping", n=20)
    assert len(answer["rtt_us"]) == 20
    assert all(0 < took < 1e6 for took in answer["rtt_us"])


async def test_both_ping_at_once(pair: Pair) -> None:
    async with asyncio.TaskGroup() as group:
        theirs = group.create_task(pair.ask_go("ping", n=100))
        mine = [group.create_task(pair.ours.ping.ping(pair.connection)) for _ in range(100)]
    assert len(theirs.result()["rtt_us"]) == 100
    assert len(mine) == 100


@OURS_DIALS
async def test_half_a_ping_and_a_piece_of_the_next(pair: Pair) -> None:
    """A ping is 32 bytes however they come."""
    async with await pair.open(PING) as stream:
        message = bytes(range(2 * SIZE))
        for start, end in ((0, 1), (1, 31), (31, 40), (40, 64)):
            await stream.write(message[start:end])
            await asyncio.sleep(0.01)
        assert await stream.readexactly(2 * SIZE) == message
        stream.finish()
        assert await stream.read() == b""


@GO_DIALS
async def test_a_third_ping_stream_of_one_peer_is_refused(pair: Pair) -> None:
    answer = await pair.ask_go("open_hold", protocol=PING, n=2, no_echo=True)
    assert answer["failed"] == 0
    third = await pair.ask_go("expect_reset", protocol=PING)
    assert third["code"] == Reset.RESOURCE_LIMIT
    assert (await pair.go.call("release", n=1))["done"] == 1
    assert len((await pair.ask_go("ping", n=3))["rtt_us"]) == 3
    await pair.go.call("release")
