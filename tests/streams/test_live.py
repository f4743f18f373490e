from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    DecryptError,
    LimitExceeded,
    Malformed,
    MuxerError,
    StreamEnded,
    StreamReset,
    UsageError,
)
from stronghold_p2p.streams.live import JOIN_BELOW, Intake, LiveStream
from stronghold_p2p.streams.negotiation import InboundNegotiation, LazyConfirm
from stronghold_p2p.yamux.header import DATA, INITIAL_WINDOW, WINDOW_UPDATE
from stronghold_p2p.yamux.outbox import TURN_BYTES
from tests.peers import turns
from tests.yamux.streams import PEER, End, joined
from tests.yamux.wire import ACK, FIN, RST, Sink, data, syn, update

Read = Callable[[LiveStream], Awaitable[Any]]


class Kept(Sink, Intake):
    """An intake that takes note."""

    def __init__(self, due: float = inf) -> None:
        super().__init__()
        self.due = due


@pytest.fixture
async def end() -> AsyncIterator[End]:
    """A server's end whose peer is the test."""
    end = End(client=False)
    yield end
    end.fail(ConnectionClosed("the test is over"))
    end.accepted = asyncio.Queue()


async def given(end: End, stream: int = 1) -> LiveStream:
    """A stream that the peer has opened."""
    end.hear(syn(stream))
    end.frames()
    return await end.accepted.get()


@pytest.fixture
async def stream(end: End) -> LiveStream:
    return await given(end)


async def started(work: Awaitable[Any]) -> asyncio.Future[Any]:
    """A task that has gone as far as it can."""
    task = asyncio.ensure_future(work)
    await turns(10)
    return task


def buffered(end: End) -> int:
    return end.session.budget.buffered


async def test_read_gives_what_is_there_and_no_more_than_was_asked(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"abcdef"))
    assert [await stream.read(2), await stream.readexactly(1), await stream.read(99)] == [b"ab", b"c", b"def"]
    assert await stream.readexactly(0) == b""
    assert buffered(end) == 0
    assert (stream.peer, repr(stream)) == (PEER, "<Stream 1 negotiating>")
    stream.protocol = "/a/1"
    assert repr(stream) == "<Stream 1 /a/1>"


async def test_what_is_read_is_bytes_and_not_none(end: End, stream: LiveStream) -> None:
    """A large body comes as a view of its record; nobody should notice."""
    end.hear(data(1, bytes(5_000)))
    assert type(await stream.read(1_000)) is bytes
    assert type(await stream.read()) is bytes
    for n in (0, -1):
        with pytest.raises(ValueError, match="at least one byte"):
            await stream.read(n)


async def test_tiny_pieces_are_joined_and_large_ones_are_not_copied(end: End, stream: LiveStream) -> None:
    end.hear(*[data(1, b"ab")] * 1_000)
    assert len(stream._chunks) <= 2_000 // JOIN_BELOW + 1
    assert await stream.readexactly(2_000) == b"ab" * 1_000
    pieces = [b"a" * JOIN_BELOW, b"b", b"c" * JOIN_BELOW]
    end.hear(*[data(1, piece) for piece in pieces])
    assert [await stream.read() for _ in pieces] == pieces


@pytest.mark.parametrize("read", [lambda stream: stream.readexactly(3_000), lambda stream: stream.read_to_end()])
async def test_tiny_pieces_that_a_reader_collects_are_joined(end: End, stream: LiveStream, read: Read) -> None:
    """Hostile row 141: their credit is given back at once, so no window bounds them."""
    reading = await started(read(stream))
    for _ in range(1_400):
        end.hear(data(1, b"ab"))
        await turns(2)
    reading.cancel()
    await turns(3)
    assert 2 <= len(stream._chunks) <= 2_800 // JOIN_BELOW + 1
    end.hear(data(1, b"ab" * 100, FIN))
    assert await read(stream) == b"ab" * 1_500


async def test_credit_is_given_back_as_bytes_are_read(end: End, stream: LiveStream) -> None:
    end.hear(data(1, bytes(INITIAL_WINDOW)))
    await stream.readexactly(INITIAL_WINDOW // 2 - 1)
    assert [frame.kind for frame in end.frames()] == []
    await stream.read(1)
    updates = [frame for frame in end.frames() if frame.kind == WINDOW_UPDATE]
    assert [(frame.stream, frame.length) for frame in updates] == [(1, INITIAL_WINDOW // 2)]


async def test_a_clean_end_outlives_the_connection_and_a_reset(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"all"), update(1, 0, FIN), update(1, 5, RST))
    end.fail(ConnectionClosed("gone"))
    assert [await stream.read(), await stream.read()] == [b"all", b""]
    with pytest.raises(StreamReset):
        await stream.write(b"x")


async def test_a_reset_takes_unread_bytes_with_it_and_wakes_reader_and_writer(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"half of it"))
    reading = asyncio.create_task(stream.readexactly(99))
    writing = await started(stream.write(bytes(INITIAL_WINDOW + 1)))
    end.hear(update(1, 7, RST))
    done = await asyncio.gather(reading, writing, stream.read(), stream.write(b"x"), return_exceptions=True)
    assert [(type(error), getattr(error, "code", 0)) for error in done] == [(StreamReset, 7)] * 4
    assert done[0] is not done[1]
    assert not stream._chunks


@pytest.mark.parametrize(
    ("cause", "seen"),
    [
        (MuxerError("the reason", code=1), ConnectionClosed),
        (DecryptError("the reason"), ConnectionClosed),
        (DeadlineExceeded("the reason", timeout=1.0), DeadlineExceeded),
        (OSError("the reason"), ConnectionClosed),
        (LimitExceeded("the reason", limit="receive_memory", current=1, maximum=1), LimitExceeded),
    ],
    ids=lambda cause: type(cause).__name__,
)
async def test_each_cause_is_told(end: End, stream: LiveStream, cause: Exception, seen: type[Exception]) -> None:
    end.fail(cause)
    for use in (stream.read(), stream.write(b"x")):
        with pytest.raises(seen, match="the reason"):
            await use


ENDS: list[tuple[Read, bytes, bytes]] = [
    (lambda s: s.readexactly(3), b"", b""),
    (lambda s: s.readexactly(3), b"12", b"12"),
    (lambda s: s.read_message(), b"\x80", b"\x80"),
    (lambda s: s.read_message(), b"\x05abc", b"abc"),
    (lambda s: s.read_message(), b"\x05", b""),
]


@pytest.mark.parametrize(("read", "sent", "partial"), ENDS)
async def test_an_end_that_comes_too_early(
    end: End, stream: LiveStream, read: Read, sent: bytes, partial: bytes
) -> None:
    end.hear(data(1, sent) if sent else b"", update(1, 0, FIN))
    with pytest.raises(StreamEnded) as caught:
        await read(stream)
    assert caught.value.partial == partial


async def cancelled(reading: Awaitable[Any]) -> None:
    task = await started(reading)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


READS: dict[str, tuple[Read, bytes, bytes, object]] = {
    "read": (lambda s: s.read(), b"", b"abc", b"abc"),
    "readexactly": (lambda s: s.readexactly(6), b"abc", b"def", b"abcdef"),
    "read_to_end": (lambda s: s.read_to_end(), b"abc", b"def", b"abcdef"),
    "read_message": (lambda s: s.read_message(), b"\x85\x01" + b"a" * 100, b"b" * 33, b"a" * 100 + b"b" * 33),
    "prefix": (lambda s: s.read_message(), b"\x85", b"\x01" + b"b" * 133, b"b" * 133),
    "no message": (lambda s: s.read_message(), b"", b"", None),
}


@pytest.mark.parametrize(("read", "before", "after", "result"), READS.values(), ids=READS)
async def test_a_cancelled_read_loses_nothing(
    end: End, stream: LiveStream, read: Read, before: bytes, after: bytes, result: object
) -> None:
    end.hear(data(1, before))
    for _ in range(3):
        await cancelled(read(stream))
    end.hear(data(1, after), update(1, 0, FIN))
    assert await read(stream) == result


async def test_cancelled_reads_do_not_give_credit_twice(end: End, stream: LiveStream) -> None:
    window = end.session.streams[1].window
    end.hear(data(1, bytes(200_000)))
    for number in range(5):
        await cancelled(stream.readexactly(250_000))
        if number == 4:
            end.hear(data(1, bytes(50_000)))
            assert await stream.readexactly(250_000) == bytes(250_000)
        assert (window.buffered, buffered(end)) == (0, 0)
        assert window.credit <= window.size


async def test_a_cancelled_read_of_a_closed_stream_gives_nothing_back(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"abc"))
    reading = await started(stream.readexactly(9))
    stream.close()
    reading.cancel()
    with pytest.raises((asyncio.CancelledError, UsageError)):
        await reading
    assert not stream._chunks
    assert stream._untold == 0


async def test_read_to_end(end: End) -> None:
    stream, other = await given(end), await given(end, 3)
    end.hear(data(1, b"abc"))
    reading = await started(stream.read_to_end(6))
    end.hear(data(1, b"def"), update(1, 0, FIN), data(3, b"abcd"))
    assert await reading == b"abcdef"
    assert await stream.read_to_end() == b""
    with pytest.raises(Malformed, match="more than 3 bytes"):
        await other.read_to_end(3)


@pytest.mark.parametrize("prefix", [varint.encode(1_001), b"\x80\x00", b"\xff" * 10])
async def test_a_message_is_refused_by_its_prefix(end: End, stream: LiveStream, prefix: bytes) -> None:
    end.hear(data(1, prefix))
    with pytest.raises(Malformed, match="message length"):
        await stream.read_message(1_000)


async def test_two_readers(end: End, stream: LiveStream) -> None:
    reading = await started(stream.readexactly(2))
    for piece in (b"a", b"b"):  # the first reader may be awake without having run yet
        with pytest.raises(UsageError, match="another task is reading"):
            await stream.read()
        end.hear(data(1, piece))
    assert await reading == b"ab"


async def test_write_frames_all_and_keeps_no_buffer_of_the_caller(end: End, stream: LiveStream) -> None:
    changing = bytearray(b"two")
    await stream.write(b"one")
    await stream.write(changing)
    changing[:] = b"new"
    await stream.write(memoryview(b"three"))
    await stream.write(b"")
    assert [(frame.kind, frame.body) for frame in end.frames()] == [(DATA, b"onetwothree")]


async def test_write_message(end: End, stream: LiveStream) -> None:
    await stream.write_message(b"abc")
    await stream.write_message(array("I", [1, 2]))  # type: ignore[arg-type]
    await stream.write_message(memoryview(array("H", [1])))
    body = b"\x03abc" + b"\x08" + array("I", [1, 2]).tobytes() + b"\x02" + array("H", [1]).tobytes()
    assert end.frames()[0].body == body


async def test_write_waits_for_the_window(end: End, stream: LiveStream) -> None:
    payload = bytes(range(256)) * 1_024 + b"tail"
    writing = await started(stream.write(payload))
    sent = b"".join(frame.body for frame in end.frames())
    assert len(sent) == INITIAL_WINDOW
    assert not writing.done()
    end.hear(update(1, 3))
    await turns()
    assert not writing.done()
    end.hear(update(1, 1))
    await writing
    assert sent + b"".join(frame.body for frame in end.frames()) == payload


async def test_two_writers(end: End, stream: LiveStream) -> None:
    writing = await started(stream.write(bytes(INITIAL_WINDOW + 1)))
    for delta in (0, 1):
        end.hear(update(1, delta))
        with pytest.raises(UsageError, match="another task is writing"):
            await stream.write(b"x")
        with pytest.raises(UsageError, match="another task is writing"):
            stream.finish()
    await writing
    await stream.write(b"")


async def test_a_cancelled_write_leaves_the_stream_usable(end: End, stream: LiveStream) -> None:
    await cancelled(stream.write(bytes(INITIAL_WINDOW + 1)))
    end.hear(update(1, 5))
    await stream.write(b"again")
    assert b"".join(frame.body for frame in end.frames())[-5:] == b"again"


async def test_a_cancelled_writer_keeps_nobody_else_waiting(end: End) -> None:
    first, second = await given(end, 1), await given(end, 3)
    end.congested = True
    end.flush()
    one = asyncio.create_task(first.write(b"1"))
    two = await started(second.write(b"2"))
    one.cancel()
    end.congested = False
    end.flush()
    await two
    assert [frame.body for frame in end.frames()] == [b"2"]
    with pytest.raises(asyncio.CancelledError):
        await one


async def test_the_writers_of_a_connection_take_turns() -> None:
    """Each has credit for all of it; what decides is the room of a turn."""
    end = End(client=True)
    streams = [end.open() for _ in range(40)]
    finished: list[LiveStream] = []
    size = TURN_BYTES * 2

    async def write(stream: LiveStream) -> None:
        await stream.write(bytes(size))
        finished.append(stream)

    for stream in streams:
        await stream.write(b"?")
    await turns()
    end.hear(*(update(stream._end.id, size, ACK) for stream in streams))
    writers = [asyncio.create_task(write(stream)) for stream in streams]
    while not all(writer.done() for writer in writers):
        await asyncio.sleep(0)
        left = [state.credit for state in end.session.streams.values()]
        assert max(left) - min(left) <= size // 2 + INITIAL_WINDOW
    assert finished == streams
    end.fail(ConnectionClosed("over"))


async def test_write_now_never_waits(end: End, stream: LiveStream) -> None:
    end.congested = True
    end.flush()
    stream.send_now(b"na")
    end.congested = False
    assert [frame.body for frame in end.frames()] == [b"na"]
    stream.finish()
    stream.send_now(b"too late")
    assert [frame.flags for frame in end.frames()] == [FIN]


async def test_close_sends_fin_and_drops_what_comes(end: End, stream: LiveStream) -> None:
    reading = await started(stream.readexactly(99))
    end.hear(data(1, b"unread"))
    await stream.write(b"answer")
    end.lingers_until = 1_000.0
    stream.close()
    stream.close()
    assert [frame.flags for frame in end.frames()] == [0, FIN]
    assert end.looks == [end.session.streams[1].due] == [1_000.0]
    end.hear(data(1, bytes(1_000)))
    assert buffered(end) == 0
    for use, told in ((reading, "the stream is closed"), (stream.write(b"x"), "closed for writing")):
        with pytest.raises(UsageError, match=told):
            await use
    end.hear(update(1, 0, FIN))
    assert not end.session.streams
    with pytest.raises(UsageError, match="the stream is closed"):
        await stream.read()


async def test_close_under_a_waiting_write_is_a_reset(end: End, stream: LiveStream) -> None:
    """Half a message followed by FIN would look like a whole one."""
    writing = await started(stream.write(bytes(INITIAL_WINDOW + 1)))
    stream.close()
    with pytest.raises(StreamReset):
        await writing
    flags = [frame.flags for frame in end.frames()]
    assert flags[-1] == RST
    assert set(flags[:-1]) == {0}


def finish(end: End, stream: LiveStream) -> None:
    """Both directions are over, one after the other."""
    stream.finish()
    end.hear(update(1, 0, FIN))


ENDS_OF_STREAMS: dict[str, Callable[[End, LiveStream], object]] = {
    "finished": finish,
    "reset by peer": lambda end, _: end.hear(update(1, 9, RST)),
    "reset by us": lambda _, stream: stream.reset(4),
    "lost": lambda end, _: end.fail(ConnectionClosed("lost")),
}


@pytest.mark.parametrize("before", ENDS_OF_STREAMS)
async def test_close_and_reset_in_every_state(before: str) -> None:
    for close in (LiveStream.close, LiveStream.reset):
        end = End(client=False)
        stream = await given(end)
        end.hear(data(1, b"unread"))
        ENDS_OF_STREAMS[before](end, stream)
        end.frames()
        close(stream)
        stream.close()
        stream.finish()
        stream.reset()
        assert end.frames() == []
        assert not stream._chunks
        assert (end.session.streams, buffered(end)) == ({}, 0)
        for use in (stream.read(), stream.write(b"x")):
            with pytest.raises((UsageError, StreamReset, ConnectionClosed)):
                await use


async def test_reset_sends_its_code_and_ends_both_directions(end: End, stream: LiveStream) -> None:
    end.hear(data(1, b"unread"))
    reading = await started(stream.readexactly(99))
    stream.reset(0x1004)
    assert [(frame.flags, frame.length) for frame in end.frames()] == [(RST, 0x1004)]
    with pytest.raises(StreamReset) as caught:
        await reading
    assert caught.value.code == 0x1004
    assert (end.session.streams, buffered(end)) == ({}, 0)


async def test_abandon_tells_our_side_why(end: End, stream: LiveStream) -> None:
    stream.abandon(DeadlineExceeded("too slow", timeout=1.0), 0x1001)
    stream.abandon(Malformed("second thoughts"), 0x1002)
    assert [frame.length for frame in end.frames()] == [0x1001]
    with pytest.raises(DeadlineExceeded, match="too slow"):
        await stream.read()


async def test_an_intake_gets_everything_until_negotiated(end: End) -> None:
    intake = Kept()
    end.intake = lambda _: intake
    stream, silent = await given(end), await given(end, 3)
    reading = await started(silent.read())
    end.hear(data(1, b"/proposal"), update(3, 0, FIN))
    stream.consumed(9)
    assert (intake.body, intake.events) == (b"/proposal", ["end"])
    stream.negotiated("/a/1", memoryview(b"left over"))
    silent.negotiated("/a/1")
    end.hear(data(1, b" and more"))
    assert await stream.read() == b"left over and more"
    assert stream.protocol == "/a/1"
    assert await reading == b""


@pytest.mark.parametrize("how", ["reset by peer", "reset by us", "lost"])
async def test_an_intake_hears_of_the_failure_once(end: End, how: str) -> None:
    intake = Kept()
    end.intake = lambda _: intake
    stream = await given(end)
    ENDS_OF_STREAMS[how](end, stream)
    end.fail(ConnectionClosed("lost"))
    assert intake.events == ["failed"]
    assert stream.intake is None


@pytest.mark.parametrize("cut", [None, 1, 30])
@pytest.mark.parametrize("listens", [True, False])
async def test_what_a_negotiation_leaves_over_is_counted_once(end: End, listens: bool, cut: int | None) -> None:
    """A window that is given back twice lets the peer send more than it holds."""
    connection: Any = SimpleNamespace(
        admits=lambda *_: True, park=lambda _: False, unpark=lambda: None, start=lambda _: None
    )
    end.intake = lambda one: (
        InboundNegotiation(connection, one, inf, None)
        if listens
        else LazyConfirm(one, "/a/1", multistream.propose("/a/1"), inf, None)
    )
    stream = await given(end)
    window = end.session.streams[1].window
    body = multistream.propose("/a/1") + bytes(200_000)
    for piece in (body[:cut], body[cut:]) if cut else (body,):
        end.hear(data(1, piece))
        end.flush()
    told_later = window.buffered - 200_000  # with the first read
    assert 0 <= told_later <= len(multistream.propose("/a/1"))
    assert buffered(end) == window.buffered
    assert await stream.readexactly(200_000) == bytes(200_000)
    assert (window.buffered, buffered(end)) == (0, 0)
    assert window.credit <= window.size


async def test_closed_while_negotiating_the_intake_goes_on(end: End) -> None:
    """What was written needs its negotiation; only then is the rest dropped."""
    intake = Kept()
    end.intake = lambda _: intake
    stream = await given(end)
    stream.close()
    end.hear(data(1, b"/echo"))
    assert intake.body == b"/echo"
    stream.negotiated("/a/1", b"left over")
    assert not stream._chunks
    end.hear(data(1, b"dropped"))
    assert buffered(end) == 0


async def test_the_earlier_deadline_of_stream_and_intake_is_looked_at(end: End, stream: LiveStream) -> None:
    yamux = end.session.streams[1]
    stream.expire(50.0)
    stream.take_in(Kept(80.0))
    stream.take_in(Kept(20.0))
    stream.expire(90.0)
    assert end.looks == [50.0, 20.0]
    assert yamux.due == 20.0


async def test_an_intake_is_told_of_its_deadline_and_the_stream_ends_at_its_own(end: End) -> None:
    stream, intake = await given(end), Kept(20.0)
    yamux = end.session.streams[1]
    stream.expire(50.0)
    stream.take_in(intake)
    stream.expired(19.0)
    assert (intake.events, yamux.due) == ([], 20.0)
    stream.expired(20.0)
    assert intake.events == ["expired"]
    stream.negotiated("/a/1")
    stream.expired(49.0)
    assert yamux.due == 50.0
    stream.expired(50.0)
    assert [frame.flags for frame in end.frames()] == [RST]
    with pytest.raises(DeadlineExceeded, match="the time of the stream is over"):
        await stream.read()


async def test_a_stream_that_the_peer_does_not_close_is_reset(end: End, stream: LiveStream) -> None:
    stream.expire(5.0)
    end.lingers_until = 100.0
    stream.close()  # a deadline that was set before stays
    stream.expired(5.0)
    assert [frame.flags for frame in end.frames()] == [FIN, RST]
    assert not end.session.streams


@pytest.mark.parametrize("over", [False, True])
async def test_a_stream_is_handed_over_with_what_was_not_read(end: End, over: bool) -> None:
    stream, after = await given(end), Kept()
    stream.expire(50.0)
    end.hear(data(1, b"a" * JOIN_BELOW), data(1, b"b" * JOIN_BELOW), update(1, 0, FIN) if over else b"")
    assert await stream.read(1) == b"a"
    yamux, unread, ended = stream.release()
    assert (unread, ended) == (b"a" * (JOIN_BELOW - 1) + b"b" * JOIN_BELOW, over)
    assert yamux.due == inf
    yamux.sink = after
    end.hear(b"" if over else data(1, b"more"), update(1, 7, RST))
    assert str(after.error).endswith("code 0x7")
    assert (after.body, after.events) == (b"" if over else b"more", ["failed"])
    for use in (stream.read(), stream.write(b"x")):
        with pytest.raises(UsageError, match="handed over"):
            await use
    stream.close()
    stream.reset()
    stream.abandon(ValueError("late"), 0)
    with pytest.raises(UsageError, match="handed over"):
        stream.release()


@pytest.mark.parametrize("use", ["read", "write", "negotiate"])
async def test_a_stream_that_is_used_is_not_handed_over(end: End, stream: LiveStream, use: str) -> None:
    if use == "negotiate":
        stream.take_in(Kept())
    task = await started(stream.write(bytes(INITIAL_WINDOW + 1)) if use == "write" else stream.read())
    with pytest.raises(UsageError, match="another task is using"):
        stream.release()
    stream.reset()
    with pytest.raises(StreamReset):
        await task
    with pytest.raises(StreamReset):
        stream.release()


async def test_both_directions_at_once_through_small_windows() -> None:
    """4 MiB each way, a reader slower than the writer: credit has to come back while both ends send."""
    client, server = joined()
    ours = client.open()
    payload = bytes(range(256)) * 16_384

    async def write(stream: LiveStream) -> None:
        await stream.write(payload)
        stream.finish()

    writing = asyncio.create_task(write(ours))
    theirs = await server.accepted.get()
    async with asyncio.timeout(10):
        got = await asyncio.gather(theirs.read_to_end(len(payload)), ours.read_to_end(len(payload)), write(theirs))
    await writing
    assert got[0] == got[1] == payload
    for end in (client, server):
        assert (end.session.streams, buffered(end)) == ({}, 0)


async def test_read_now_gives_what_is_there_and_never_waits() -> None:
    end = End(client=False)
    stream = await given(end)
    assert stream.read_now() == b""
    end.hear(data(1, b"hello"))
    assert (stream.read_now(2), stream.read_now(), stream.read_now()) == (b"he", b"llo", b"")
    reading = await started(stream.read())
    end.hear(data(1, b"for the reader"))
    assert stream.read_now() == b""
    assert await reading == b"for the reader"
