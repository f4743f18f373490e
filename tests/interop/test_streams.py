"""Streams with go-libp2p: many at once and one after the other, the limit for inbound ones, and how they end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from stronghold_p2p.codes import Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import StreamReset, UsageError
from tests.interop.names import ECHO, HALF_CLOSE, HOLD, RESET, RESET_CODE, RR, SINK, SOURCE
from tests.interop.our_peer import Pair, connected
from tests.interop.ways import AT_ONCE, ROLES, Role, played
from tests.peers import until

SEQUENTIAL = 10_000
CONCURRENT = 1_000
RAISED = Limits(streams_in=CONCURRENT + 24)
DEFAULT = Limits().streams_in


def sequential(pair: Pair) -> int:
    return SEQUENTIAL if pair.real.name == "go-libp2p" else SEQUENTIAL // 20


async def request(connection: LiveConnection, body: bytes) -> None:
    async with await connection.open_stream(RR) as stream:
        await stream.write(body)
        stream.finish()
        assert await stream.read_to_end() == body


@pytest.mark.speed
async def test_ours_one_after_the_other(pair: Pair) -> None:
    for number in range(sequential(pair)):
        await request(pair.connection, number.to_bytes(8, "big"))
    await pair.quiet()


@pytest.mark.speed
async def test_theirs_one_after_the_other(pair: Pair) -> None:
    answer = await pair.ask("streams_sequential", n=sequential(pair))
    assert answer["done"] == sequential(pair)
    await pair.quiet()


@pytest.mark.speed
async def test_ours_at_once(pair: Pair) -> None:
    """All are open, with half of their request sent, before any of them goes on (ACK backlog: 256 at a time)."""
    opened = asyncio.Barrier(CONCURRENT)
    most = 0

    async def one() -> None:
        nonlocal most
        body = os.urandom(64)
        async with await pair.open(RR) as stream:
            await stream.write(body[:32])
            await opened.wait()
            most = max(most, pair.streams)
            await stream.write(body[32:])
            stream.finish()
            assert await stream.read_to_end() == body

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT):
            group.create_task(one())
    assert CONCURRENT <= most <= CONCURRENT + 2  # js may be telling of itself at that moment
    await pair.quiet()


@pytest.mark.speed
@pytest.mark.parametrize("role", ROLES)
async def test_theirs_at_once(go: Path, role: Role) -> None:
    async with connected(go, role, limits=RAISED) as pair:
        answer = await pair.ask("streams_concurrent", n=CONCURRENT)
        assert (answer["done"], answer["failures"]) == (CONCURRENT, [])
        await pair.quiet()


async def test_the_513th_is_reset_and_the_others_go_on(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    assert DEFAULT == 512
    most = DEFAULT - pair.real.pings
    opened = await pair.ask("open_hold", n=most + 3)
    assert opened["done"] == most
    assert [failure["index"] for failure in opened["failures"]] == [most, most + 1, most + 2]
    assert int(Reset.RESOURCE_LIMIT) == 0x1002
    refused = pair.real.heard(Reset.RESOURCE_LIMIT)
    assert {failure.get("code") for failure in opened["failures"]} == {refused}
    assert all(failure["remote"] for failure in opened["failures"] if pair.real.codes)

    checked = await pair.real.call("check_held")
    assert (checked["done"], checked["failed"]) == (most, 0)
    await request(pair.connection, b"ours are not counted")

    await pair.real.call("release", n=1)
    await until(lambda: pair.streams < most)
    assert (await pair.ask("open_hold", n=1))["failed"] == 0
    again = await pair.ask("open_hold", n=1)
    assert [failure.get("code") for failure in again["failures"]] == [refused]
    assert (await pair.real.call("check_held"))["done"] == most

    await pair.real.call("release")
    await pair.quiet()
    assert (await pair.ask("streams_sequential", n=10))["done"] == 10
    assert [record.levelname for record in caplog.records if "streams_in 512/512" in record.getMessage()] == ["WARNING"]
    caplog.clear()  # the only one


@AT_ONCE
async def test_we_hold_more_than_the_backlog(pair: Pair) -> None:
    """go acknowledges as it accepts: 600 of ours stay open, each goes on working, and each ends."""
    streams = [await pair.open(ECHO) for _ in range(600)]
    for stream in streams:
        await stream.write(b"a")
    for stream in streams:
        assert await stream.readexactly(1) == b"a"
    await until(lambda: pair.streams == 600)
    for stream in streams:
        stream.close()
    await pair.quiet()


@played("rust")
async def test_streams_that_libp2p_stream_drops(pair: Pair) -> None:
    """It keeps one for an application that has not fetched the last one yet."""
    streams = [await pair.open(ECHO) for _ in range(200)]
    for stream in streams:
        await stream.write(b"x")
    answers = await asyncio.gather(*(stream.readexactly(1) for stream in streams), return_exceptions=True)
    assert b"x" in answers
    assert {type(answer) for answer in answers} == {bytes, StreamReset}
    for stream in streams:
        stream.close()
    async with await pair.open(ECHO) as stream:
        await stream.write(b"y")
        assert await stream.readexactly(1) == b"y"


@played("go", "rust", roles=["ours dials"])
async def test_held_streams_end_with_the_peer(pair: Pair) -> None:
    """go dies with streams open: each of ours ends, and nothing is left."""
    streams = [await pair.open(HOLD) for _ in range(50)]
    for stream in streams:
        await stream.write(b"x")
    pair.real.process.kill()
    pair.real.exit_code = -9
    for stream in streams:
        with pytest.raises(ConnectionError):
            await stream.read()
    await until(lambda: pair.connection.closed)


SIZE = 1 << 20
CODES = [0, 1, 0x1003, 0xDEAD_BEEF]


async def test_we_end_first_and_read_on(pair: Pair) -> None:
    async with await pair.open(SOURCE) as stream:
        await stream.write(SIZE.to_bytes(8, "big"))
        stream.finish()
        with pytest.raises(UsageError):
            await stream.write(b"more")
        assert await stream.read_to_end(SIZE) == bytes(SIZE)
        await pair.quiet()


async def test_they_end_first_and_we_write_on(pair: Pair) -> None:
    async with await pair.open(HALF_CLOSE) as stream:
        assert await stream.read() == b""
        for _ in range(16):
            await stream.write(bytes(SIZE // 16))
        await until(lambda: pair.streams == 1)
        stream.finish()
        await pair.real.until("stream", protocol=HALF_CLOSE, bytes=SIZE)
        await pair.quiet()


async def test_their_stream_they_end_first(pair: Pair) -> None:
    answer = await pair.ask("source", bytes=SIZE)
    assert answer["received"] == SIZE
    assert (await pair.ask("sink", bytes=SIZE))["counted"] == SIZE
    await pair.ask("half_close", size=SIZE)
    await pair.quiet()


async def test_their_stream_we_end_first(pair: Pair) -> None:
    answer = await pair.ask("half_close", remote_first=True, size=SIZE)
    assert (answer["received"], answer["sent"]) == (0, SIZE)
    await until(lambda: [done.received for done in pair.ours.served] == [SIZE])
    await pair.quiet()


async def test_they_reset_what_we_opened(pair: Pair) -> None:
    stream = await pair.open(RESET)
    await stream.write(b"x")
    with pytest.raises(StreamReset) as caught:
        await stream.read()
    assert caught.value.code == pair.real.sent(RESET_CODE)
    with pytest.raises(StreamReset) as caught:
        await stream.write(b"more")
    assert caught.value.code == pair.real.sent(RESET_CODE)
    await until(lambda: pair.streams == 0)


@pytest.mark.parametrize("code", CODES, ids=hex)
async def test_they_reset_what_they_opened(pair: Pair, code: int) -> None:
    await pair.ask("reset", code=code)
    await until(lambda: pair.ours.served != [])
    (served,) = pair.ours.served
    assert served.protocol == ECHO
    assert isinstance(served.error, StreamReset)
    assert served.error.code == pair.real.sent(code)
    await until(lambda: pair.streams == 0)


@pytest.mark.parametrize("code", CODES, ids=hex)
async def test_we_reset_what_we_opened(pair: Pair, code: int) -> None:
    stream = await pair.open(ECHO)
    await stream.write(b"xyz")
    assert await stream.readexactly(3) == b"xyz"
    stream.reset(code)
    with pytest.raises(StreamReset):
        await stream.read()
    ended = await pair.real.until("stream", protocol=ECHO)
    assert (ended.get("code"), ended["bytes"]) == (pair.real.heard(code), 3)
    assert ("error" in ended) is pair.real.hears_resets
    await until(lambda: pair.streams == 0)


async def test_we_reset_what_they_opened(pair: Pair) -> None:
    answer = await pair.ask("expect_reset")
    assert answer["received"] == 0
    if pair.real.hears_resets:
        assert (answer.get("code"), answer["remote"]) == (pair.real.heard(RESET_CODE), True)
    else:
        assert answer["told"] is None
    await pair.quiet()


async def test_a_reset_in_the_middle_of_much_data(pair: Pair) -> None:
    """Only that stream ends, whoever is in the middle of writing; the connection goes on."""
    stream = await pair.open(SOURCE)
    await stream.write((64 << 20).to_bytes(8, "big"))
    await stream.readexactly(300_000)
    stream.reset(7)
    ended = await pair.real.until("stream", protocol=SOURCE)
    assert ended.get("code") == pair.real.heard(7)
    async with await pair.open(SINK) as stream:
        await stream.write(bytes(SIZE))
        stream.finish()
        assert int.from_bytes(await stream.readexactly(8), "big") == SIZE
