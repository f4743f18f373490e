"""The face: ``Stream`` passes everything on to the live stream."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any
from unittest.mock import MagicMock, call

import pytest

from stronghold_p2p.streams.live import READ_CHUNK, LiveStream
from stronghold_p2p.streams.stream import Stream, StreamOpening
from tests.yamux.streams import PEER, End
from tests.yamux.wire import FIN, RST, data, syn, update

CALLS = [
    ("read", (5,), call.read(5)),
    ("read", (), call.read(READ_CHUNK)),
    ("readexactly", (5,), call.readexactly(5)),
    ("readuntil", (b";", 5), call.readuntil(b";", 5)),
    ("readuntil", (), call.readuntil(b"\n", READ_CHUNK)),
    ("readline", (5,), call.readline(5)),
    ("read_to_end", (5,), call.read_to_end(5)),
    ("read_message", (5,), call.read_message(5)),
    ("write", (b"x",), call.write(b"x")),
    ("write_message", (b"x",), call.write_message(b"x")),
    ("close_write", (), call.finish()),
    ("close", (), call.close()),
    ("reset", (7,), call.reset(7)),
]


@pytest.fixture
async def live() -> LiveStream:
    """A stream that the peer has opened, and on which it has said all that it will."""
    end = End(client=False)
    end.hear(syn(1), data(1, b"a" * 600), data(1, b"b" * 600), update(1, 0, FIN))
    return await end.accepted.get()


def sent(live: LiveStream) -> list[int]:
    """The flags of what has left."""
    return [frame.flags for frame in live.connection.frames()[-1:]]


@pytest.mark.parametrize(("name", "arguments", "reaches"), CALLS)
async def test_each_method_reaches_the_live_stream(name: str, arguments: tuple[Any, ...], reaches: Any) -> None:
    live = MagicMock(spec=LiveStream)
    result = getattr(Stream(live), name)(*arguments)
    if isawaitable(result):
        result = await result
    assert live.mock_calls == [reaches]
    if name.startswith("read"):
        assert result is getattr(live, name).return_value


async def test_what_it_tells(live: LiveStream) -> None:
    stream = Stream(live)
    live.protocol = "/a/1"
    assert (stream.peer, stream.protocol, stream.connection) == (PEER, "/a/1", live.connection.face)
    assert repr(stream) == "<Stream 1 /a/1>"


async def test_iteration_ends_with_the_stream(live: LiveStream) -> None:
    assert [chunk async for chunk in Stream(live)] == [b"a" * 600, b"b" * 600]


@pytest.mark.parametrize("opened", [False, True])
async def test_async_with_closes_and_resets(live: LiveStream, opened: bool) -> None:
    """A stream as it is given to a handler, and one that is being opened."""
    live.connection.hear(syn(3))
    live.connection.frames()
    for number, ends in ((1, FIN), (3, RST)):
        one = live if number == 1 else await live.connection.accepted.get()
        with suppress(KeyError):
            async with StreamOpening(partial(face, one)) if opened else Stream(one) as stream:
                await stream.write(b"in order")
                if ends == RST:
                    raise KeyError
        assert sent(live) == [ends]


async def face(live: LiveStream) -> Stream:
    return Stream(live)


async def test_an_opening_that_is_awaited_is_the_callers_to_close(live: LiveStream) -> None:
    stream = await StreamOpening(lambda: face(live))
    await stream.write(b"still open")
    assert sent(live) == [0]


async def test_an_opening_that_fails_closes_nothing() -> None:
    async def refused() -> Stream:
        raise ConnectionRefusedError

    opening = StreamOpening(refused)
    with pytest.raises(ConnectionRefusedError):
        async with opening:
            pytest.fail("there is no stream")
    await opening.__aexit__(None, None, None)
