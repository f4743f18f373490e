"""How streams end between ours and go-libp2p: each direction for itself, or both at once with a code."""

from __future__ import annotations

import pytest

from stronghold_p2p.errors import StreamReset, UsageError
from tests.interop.our_peer import ECHO, HALF_CLOSE, RESET, RESET_CODE, SINK, SOURCE, Pair, eventually

SIZE = 1 << 20
CODES = [0, 1, 0x1003, 0xDEAD_BEEF]


async def test_we_end_first_and_go_on_reading(pair: Pair) -> None:
    async with await pair.open(SOURCE) as stream:
        await stream.write(SIZE.to_bytes(8, "big"))
        stream.finish()
        with pytest.raises(UsageError):
            await stream.write(b"more")
        assert await stream.read_to_end(SIZE) == bytes(SIZE)
        await pair.quiet()


async def test_go_ends_first_and_we_go_on_writing(pair: Pair) -> None:
    async with await pair.open(HALF_CLOSE) as stream:
        assert await stream.read() == b""
        for _ in range(16):
            await stream.write(bytes(SIZE // 16))
        assert pair.connection.streams == 1
        stream.finish()
        await pair.go.until("stream", protocol=HALF_CLOSE, bytes=SIZE)
        await pair.quiet()


async def test_gos_stream_go_ends_first(pair: Pair) -> None:
    answer = await pair.ask_go("source", bytes=SIZE)
    assert answer["received"] == SIZE
    assert (await pair.ask_go("sink", bytes=SIZE))["counted"] == SIZE
    await pair.ask_go("half_close", size=SIZE)
    await pair.quiet()


async def test_gos_stream_we_end_first(pair: Pair) -> None:
    answer = await pair.ask_go("half_close", remote_first=True, size=SIZE)
    assert (answer["received"], answer["sent"]) == (0, SIZE)
    await eventually(lambda: [done.received for done in pair.ours.served] == [SIZE])
    await pair.quiet()


async def test_go_resets_what_we_opened(pair: Pair) -> None:
    stream = await pair.open(RESET)
    await stream.write(b"x")
    with pytest.raises(StreamReset) as caught:
        await stream.read()
    assert caught.value.code == RESET_CODE
    with pytest.raises(StreamReset) as caught:
        await stream.write(b"more")
    assert caught.value.code == RESET_CODE
    assert pair.connection.streams == 0


@pytest.mark.parametrize("code", CODES, ids=hex)
async def test_go_resets_what_it_opened(pair: Pair, code: int) -> None:
    await pair.ask_go("reset", code=code)
    await eventually(lambda: pair.ours.served != [])
    (served,) = pair.ours.served
    assert served.protocol == ECHO
    assert isinstance(served.error, StreamReset)
    assert served.error.code == code
    assert pair.connection.streams == 0


@pytest.mark.parametrize("code", CODES, ids=hex)
async def test_we_reset_what_we_opened(pair: Pair, code: int) -> None:
    stream = await pair.open(ECHO)
    await stream.write(b"xyz")
    assert await stream.readexactly(3) == b"xyz"
    stream.reset(code)
    with pytest.raises(StreamReset):
        await stream.read()
    ended = await pair.go.until("stream", protocol=ECHO)
    assert (ended["code"], ended["remote"], ended["bytes"]) == (code, True, 3)
    assert pair.connection.streams == 0


async def test_we_reset_what_go_opened(pair: Pair) -> None:
    answer = await pair.ask_go("expect_reset")
    assert (answer["code"], answer["remote"], answer["received"]) == (RESET_CODE, True, 0)
    await pair.quiet()


async def test_a_reset_in_the_middle_of_much_data(pair: Pair) -> None:
    """Only that stream ends, whoever is in the middle of writing; the connection goes on."""
    stream = await pair.open(SOURCE)
    await stream.write((64 << 20).to_bytes(8, "big"))
    await stream.readexactly(300_000)
    stream.reset(7)
    ended = await pair.go.until("stream", protocol=SOURCE)
    assert ended["code"] == 7
    async with await pair.open(SINK) as stream:
        await stream.write(bytes(SIZE))
        stream.finish()
        assert int.from_bytes(await stream.readexactly(8), "big") == SIZE
