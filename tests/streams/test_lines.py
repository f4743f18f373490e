"""``readuntil``, ``readline`` and ``read(-1)``: as asyncio's, however the bytes arrive, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stronghold_p2p.errors import ConnectionClosed, Malformed, StreamEnded, StreamReset, UsageError
from stronghold_p2p.streams.live import LiveStream
from tests.peers import turns
from tests.yamux.streams import End
from tests.yamux.wire import FIN, RST, data, syn, update

TEXTS = st.lists(st.binary(max_size=12).map(lambda text: bytes(b"ab\n;-"[byte % 5] for byte in text)), max_size=12)


@pytest.fixture
async def end() -> AsyncIterator[End]:
    """A server's end whose peer is the test."""
    end = End(client=False)
    yield end
    end.fail(ConnectionClosed("the test is over"))
    end.accepted = asyncio.Queue()


@pytest.fixture
async def stream(end: End) -> LiveStream:
    end.hear(syn(1))
    end.frames()
    return await end.accepted.get()


async def test_lines(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"one\ntwo\n\nthr"), data(1, b"ee\nfour", FIN))
    assert [await stream.readline() for _ in range(6)] == [b"one\n", b"two\n", b"\n", b"three\n", b"four", b""]


async def test_up_to_a_separator_of_several_bytes(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"GET / HTTP/1.1\r\nHost: x\r"), data(1, b"\n\r"), data(1, b"\nbody", FIN))
    assert await stream.readuntil(b"\r\n\r\n") == b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with pytest.raises(StreamEnded) as caught:
        await stream.readuntil(b"\r\n\r\n")
    assert caught.value.partial == b"body"
    assert await stream.read() == b""


@given(pieces=TEXTS, separator=st.sampled_from([b"\n", b";-", b"--", b"a\nb"]), maximum=st.integers(1, 40))
@example(pieces=[b"a", b"\n", b"b"], separator=b"a\nb", maximum=3)
def test_as_asyncios_reader(pieces: list[bytes], separator: bytes, maximum: int) -> None:
    """Whatever arrives in whatever pieces: the same lines, and what is left at the end."""

    async def lines(read: Any) -> list[Any]:
        found: list[Any] = []
        while True:
            try:
                found.append(await read(separator))
            except (StreamEnded, asyncio.IncompleteReadError) as error:
                return [*found, error.partial]

    async def play() -> None:
        end = End(client=False)
        end.hear(syn(1))
        stream, theirs = await end.accepted.get(), asyncio.StreamReader()
        for piece in pieces:
            if piece:
                end.hear(data(1, piece))
                theirs.feed_data(piece)
        end.hear(update(1, 0, FIN))
        theirs.feed_eof()
        assert await lines(stream.readuntil) == await lines(theirs.readuntil)
        end.fail(ConnectionClosed("over"))

    asyncio.run(play())


async def test_a_line_longer_than_the_maximum_stays(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"123456\n"), data(1, b"x" * 600), data(1, b"y\n", FIN))
    for _ in range(2):
        with pytest.raises(Malformed, match="no separator in the first 6 bytes"):
            await stream.readline(6)
    assert await stream.readline(7) == b"123456\n"
    with pytest.raises(Malformed):
        await stream.readline(601)
    assert await stream.readuntil(b"y\n", 602) == b"x" * 600 + b"y\n"


@pytest.mark.parametrize("separator", [b"\n", b"-" * 200])
async def test_a_long_chunk_is_searched_once(end: End, stream: LiveStream, separator: bytes) -> None:
    text = separator.join([b"x" * 1_000, b"y" * 50_000, b"z" * 127, b""])
    end.hear(data(1, text, FIN))
    for body in (b"x" * 1_000, b"y" * 50_000, b"z" * 127):
        assert await stream.readuntil(separator) == body + separator
    assert await stream.read() == b""


async def test_cancelled_in_the_middle_nothing_is_lost(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"first half, "))
    task = asyncio.ensure_future(stream.readline())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    end.hear(data(1, b"second half\nrest"))
    assert [await stream.readline(), await stream.read()] == [b"first half, second half\n", b"rest"]
    assert end.session.budget.buffered == 0  # each byte was told once


async def test_it_waits_for_the_rest(end: End, stream: LiveStream) -> None:
    task = asyncio.ensure_future(stream.readline())
    await turns()
    with pytest.raises(UsageError, match="another task is reading"):
        await stream.readline()
    end.hear(data(1, b"a"))
    end.hear(data(1, b"b\nc"))
    assert await task == b"ab\n"
    end.hear(update(1, 0, RST))
    with pytest.raises(StreamReset):
        await stream.readline()


async def test_a_separator_has_a_byte(stream: LiveStream) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        await stream.readuntil(b"")


async def test_everything(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"all "), data(1, b"of it", FIN))
    assert await stream.read(-1) == b"all of it"
    assert await stream.read(-1) == b""
    with pytest.raises(ValueError, match="at least one byte"):
        await stream.read(0)
