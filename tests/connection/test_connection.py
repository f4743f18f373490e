"""One connection: its streams, its handlers, its end. Real time and real sockets, in both roles."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import (
    ConnectionClosed,
    DecryptError,
    LimitExceeded,
    MuxerError,
    StreamEnded,
    StreamReset,
    UnsupportedProtocol,
)
from stronghold_p2p.events.events import Ended, Opened
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.muxing.yamux_muxer import YAMUX
from stronghold_p2p.noise.security import NOISE, NoiseChannel
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport import busy_poll
from stronghold_p2p.transport.upgrade import Negotiated
from stronghold_p2p.yamux import Session, session
from stronghold_p2p.yamux.header import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE, frame
from tests.peers import connect, saying, swarm, until
from tests.swarm.handlers import ECHO, ask, echo, never, pair, swallow
from tests.swarm.raw import SEED, Events, Raw, bare_to, muxer, raw_in, raw_out, wire
from tests.transport.ends import NoMuxer, identity, upgrade

HELLO = b"hello"


# ---------------------------------------------------------------------- handlers


async def test_returning_closes_raising_resets(caplog: pytest.LogCaptureFixture) -> None:
    async with swarm(1) as alice, swarm(2) as bob:

        async def raising(stream: LiveStream) -> None:
            await stream.write(b"x")
            raise ZeroDivisionError

        alice.handle("/returns", saying(HELLO))
        alice.handle("/raises", raising)
        connection = await connect(bob, alice)
        async with await connection.open_stream("/returns") as stream:
            assert await stream.read_to_end() == HELLO
        with pytest.raises(StreamReset):
            async with await connection.open_stream("/raises") as stream:
                await stream.read_to_end()
        assert "handler of /raises failed" in caplog.text
        with pytest.raises(UnsupportedProtocol):
            async with await connection.open_stream("/other") as stream:
                await stream.read()
        await until(lambda: connection.streams == 0 and not alice.connections()[0].handlers)
        assert not connection.closed
    caplog.clear()


@pytest.mark.parametrize("kind", [StreamEnded, StreamReset])
async def test_what_the_peer_did_is_no_error_of_the_handler(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async def raising(_stream: LiveStream) -> None:
        raise kind("gone")

    async with pair(raising) as (_, connection):
        with pytest.raises(StreamReset):
            await ask(connection)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_half_close_both_ways() -> None:
    async def late(stream: LiveStream) -> None:
        got = await stream.read_to_end()
        await stream.write(got[::-1])
        stream.finish()

    async with pair(late) as (_, connection), await connection.open_stream(ECHO) as stream:
        await stream.write(HELLO)
        stream.finish()
        assert await stream.read_to_end() == HELLO[::-1]


@pytest.mark.parametrize("code", [0, 1, Reset.GATED, 0xFFFF_FFFF])
async def test_the_code_of_a_reset(code: int) -> None:
    async def resetting(stream: LiveStream) -> None:
        await stream.readexactly(5)
        stream.reset(code)

    async with pair(resetting) as (_, connection):
        stream = await connection.open_stream(ECHO)
        await stream.write(HELLO)
        with pytest.raises(StreamReset) as caught:
            await stream.read()
        assert caught.value.code == code


# ---------------------------------------------------------------------- how many streams


async def test_the_513th_stream() -> None:
    """The others go on, and one that ends makes room."""
    async with pair(echo) as (_, connection):
        streams = [await connection.open_stream(ECHO) for _ in range(100)]
        for wave in range(100, 512, 103):
            for stream in streams[wave - 100 :]:
                await stream.write(b"a")
                assert await stream.readexactly(1) == b"a"
            streams += [await connection.open_stream(ECHO) for _ in range(103)]
        assert len(streams) == 512
        for stream in streams:
            await stream.write(HELLO)
        for stream in streams:
            await stream.readexactly(5)
        surplus = await connection.open_stream(ECHO)
        with pytest.raises(LimitExceeded) as caught:
            await surplus.read()
        assert (caught.value.limit, caught.value.remote) == ("streams", True)
        await asyncio.gather(*(_again(stream) for stream in streams))
        streams[0].close()
        await until(lambda: connection.streams == 511)
        assert await ask(connection) == HELLO
        for stream in streams:
            stream.reset()


async def _again(stream: LiveStream) -> None:
    await stream.write(HELLO)
    assert (await stream.readexactly(5))[-5:] == HELLO


async def test_the_code_for_the_513th_stream() -> None:
    async with swarm(1, limits=Limits(streams_in=4)) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        for number in (1, 3, 5, 7, 9):
            await raw.open(number, ECHO, HELLO)
        got = await raw.until(WINDOW_UPDATE, RST)
        assert (got.stream, got.length) == (9, Reset.RESOURCE_LIMIT)
        await raw.data(1, b"again")
        assert connection.streams == 4
        await raw.send(frame(PING, SYN, 0, 1))
        await raw.until(PING, ACK)


async def test_the_257th_waits_for_an_acknowledgement() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        streams = [await connection.open_stream(ECHO) for _ in range(256)]
        waiting = [asyncio.ensure_future(connection.open_stream(ECHO)) for _ in range(4)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        await raw.send(frame(WINDOW_UPDATE, ACK, 1, 0))
        streams.append(await waiting[1])
        await asyncio.sleep(0.02)
        assert not waiting[2].done()
        streams[5].reset()
        streams.append(await waiting[2])
        connection.abort()
        with pytest.raises(ConnectionClosed):
            await waiting[3]
        assert len(streams) == 258


# ---------------------------------------------------------------------- going away


@pytest.mark.parametrize("code", [GoAway.NORMAL, GoAway.PROTOCOL_ERROR, GoAway.GATED])
async def test_the_peer_goes_away(code: int) -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        events = Events(alice)
        stream = await connection.open_stream(ECHO)
        reading = asyncio.ensure_future(stream.read())
        await raw.send(frame(GO_AWAY, 0, 0, code))
        with pytest.raises(ConnectionClosed) as caught:
            await reading
        assert (caught.value.code, caught.value.remote) == (code, True)
        with pytest.raises(ConnectionClosed) as again:
            await connection.open_stream(ECHO)
        assert (again.value.code, again.value.remote) == (code, True)
        raw.bare.finish()
        await raw.gone()
        (ended,) = events.all
        assert isinstance(ended, Ended)
        assert ended.error is connection.error


@pytest.mark.parametrize("code", [GoAway.NORMAL, GoAway.SHUTDOWN])
async def test_we_go_away(code: int) -> None:
    """Everything that was written is there before it, and nothing of the peer's makes it an RST."""
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        stream = await connection.open_stream(ECHO)
        await stream.write(bytes(100_000))
        for _ in range(20):
            await raw.send(frame(PING, SYN, 0, 1))
        closing = asyncio.ensure_future(connection.close(code))
        got = await raw.body(stream._end.id, 33 + 100_000)
        assert len(got) == 33 + 100_000
        for _ in range(20):
            await raw.send(frame(PING, SYN, 0, 1))
        assert await raw.gone() == code
        raw.bare.finish()
        await closing
        assert connection.error is not None
        with pytest.raises(ConnectionClosed) as caught:
            await stream.read()
        assert not caught.value.remote


@pytest.mark.parametrize("who", ["dialer", "listener", "both"])
async def test_an_orderly_close(who: str) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(ECHO, echo)
        ours = await connect(bob, alice)
        assert await ask(ours) == HELLO
        (theirs,) = alice.connections()
        events = Events(alice), Events(bob)
        began = time.perf_counter()
        closers = {"dialer": [ours], "listener": [theirs], "both": [ours, theirs]}[who]
        await asyncio.gather(*(connection.close() for connection in closers))
        assert time.perf_counter() - began < 0.5
        await until(lambda: all(each.of(Ended) for each in events))
        assert [len(each.all) for each in events] == [1, 1]
        for event in events[0].all + events[1].all:
            assert isinstance(event.error, ConnectionClosed)
            assert event.error.code == 0
            assert not isinstance(event.error.__cause__, ConnectionResetError)
        await ours.close()
        await theirs.close()


async def test_close_while_everything_runs() -> None:
    """Hostile row 110: 64 readers, 64 writers, 16 openers: all wake with the same cause."""
    for end in ("close", "abort", "rst"):
        async with swarm(1) as alice, raw_out(alice) as (raw, connection):
            streams = [await connection.open_stream(ECHO) for _ in range(256)]
            waiting: list[asyncio.Task[Any]] = []
            waiting += [asyncio.ensure_future(stream.read()) for stream in streams[:64]]
            waiting += [asyncio.ensure_future(stream.write(bytes(1 << 20))) for stream in streams[64:128]]
            waiting += [asyncio.ensure_future(connection.open_stream(ECHO)) for _ in range(16)]
            await asyncio.sleep(0.05)
            began = time.perf_counter()
            if end == "rst":
                raw.bare.reset()
            elif end == "abort":
                connection.abort()
            closing = asyncio.ensure_future(connection.close()) if end == "close" else None
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert time.perf_counter() - began < 0.5
            assert {type(result) for result in results} == {ConnectionClosed}
            assert len({str(result) for result in results}) == 1
            raw.close()
            if closing is not None:
                await closing


async def test_closing_from_inside_a_handler() -> None:
    """Hostile row 109."""
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def closing(stream: LiveStream) -> None:
        await stream.connection.close()
        done.set_result("still here")

    async with pair(closing) as (_, connection):
        with pytest.raises(ConnectionClosed):
            await ask(connection)
        assert await done == "still here"


@pytest.mark.parametrize("together", [True, False])
async def test_a_message_and_goodbye(together: bool) -> None:
    """What somebody says before he leaves is heard: the handler has a moment to read it."""
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def listening(stream: LiveStream) -> None:
            heard.set_result(await stream.read_to_end())

        alice.handle(ECHO, listening)
        body = multistream.propose(ECHO) + HELLO
        frames = [frame(DATA, SYN, 1, len(body)) + body, frame(WINDOW_UPDATE, FIN, 1, 0), frame(GO_AWAY, 0, 0, 0)]
        if together:
            await raw.send(*frames)
        else:
            for each in frames:
                await raw.send(each)
        raw.bare.finish()
        assert await heard == HELLO
        await raw.gone()
        await until(lambda: wire(connection).lost)


async def test_a_handler_that_is_due_when_its_peer_leaves() -> None:
    """It starts, and when it is through nobody is waited for any more."""
    started: list[LiveStream] = []

    async def quick(stream: LiveStream) -> None:
        started.append(stream)

    async with pair(quick) as (alice, _):
        (connection,) = alice.connections()
        stream = MagicMock(protocol=ECHO, connection=connection, intake=None)
        connection._handlers.start(stream)
        connection._handlers.cancel(1.0)
        await until(lambda: started == [stream])
        await until(lambda: connection._handlers._late is None, 0.5)
        started.clear()


async def test_a_handler_whose_connection_ends_before_it_starts() -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, never)
        body = b"\x13/multistream/1.0.0\n\x0c/echo/1.0.0\n"
        await raw.send(frame(DATA, SYN, 1, len(body)), body, frame(GO_AWAY, 0, 0, 0))
        assert await raw.gone() == 0
        raw.close()
        await until(lambda: wire(connection).lost)


# ---------------------------------------------------------------------- broken invariants


async def test_a_record_that_does_not_open(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing on this channel can be trusted, so nothing is said on it; what came before is delivered."""
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        stream = await connection.open_stream(ECHO)
        number = (await raw.until(DATA, SYN)).stream
        good = b"\x13/multistream/1.0.0\n\x0c/echo/1.0.0\n" + HELLO
        record = bytes(raw.seal(frame(DATA, ACK, number, len(good)) + good))
        forged = bytearray(raw.seal(b"x" * 40))
        forged[-1] ^= 1
        await raw.bare.send(record + bytes(forged))
        assert await stream.readexactly(5) == HELLO
        with pytest.raises(ConnectionClosed) as caught:
            await stream.read()
        assert isinstance(caught.value, DecryptError)
        assert isinstance(connection.error, DecryptError)
        assert await raw.gone() is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"\x01" + bytes(11), GoAway.PROTOCOL_ERROR),
        (frame(DATA, 0, 0, 5), GoAway.PROTOCOL_ERROR),
        (frame(7, 0, 0, 0), GoAway.PROTOCOL_ERROR),
        (frame(DATA, SYN, 2, 0), GoAway.PROTOCOL_ERROR),
        (frame(DATA, SYN, 1, 262_145), GoAway.PROTOCOL_ERROR),
    ],
)
async def test_a_broken_invariant(said: bytes, code: int) -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, swallow)
        await raw.send(said)
        assert await raw.gone() == code
        assert isinstance(connection.error, MuxerError)
        assert not connection.error.remote


async def test_reset_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found outside the receive loop, too: the connection ends with the code for it."""
    monkeypatch.setattr(session, "RESET_BURST", 50)
    monkeypatch.setattr(session, "RESET_RATE", 1.0)
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        for number in range(1, 200, 2):
            if connection.closed:
                break
            await raw.data(number, b"\x00", SYN)
            await asyncio.sleep(0)
        assert await raw.gone() == GoAway.RATE_LIMITED
        assert isinstance(connection.error, MuxerError)


async def test_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Hostile row 113: one connection pays, with a code that says whose fault it was."""
    async with swarm(1) as alice, raw_in(alice) as (raw, connection), raw_in(alice, 8) as (_, other):
        monkeypatch.setattr(muxer(connection), "_receiver", SimpleNamespace(receive=lambda _: 1 // 0))
        await raw.send(frame(PING, SYN, 0, 1))
        assert await raw.gone() == GoAway.INTERNAL_ERROR
        monkeypatch.undo()
        assert isinstance(connection.error, ConnectionClosed)
        assert connection.error.code == GoAway.INTERNAL_ERROR
        assert "internal error" in caplog.text
        assert "in received" in caplog.text  # where it happened
        assert not other.closed
    caplog.clear()


@pytest.mark.parametrize("where", ["data_to_send", "flushed"])
async def test_a_fault_of_ours_while_sending(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The turn that sends is no receive: its faults end the connection, too, and nothing reaches the loop."""
    async with swarm(1) as alice, raw_in(alice) as (_, connection):
        stream = await connection.open_stream(ECHO)
        original = getattr(Session, where)
        calls: list[int] = []

        def broken(*args: Any, **options: Any) -> Any:
            if not calls:
                calls.append(1)
                raise ZeroDivisionError
            return original(*args, **options)

        monkeypatch.setattr(Session, where, broken)
        await stream.write(b"x")
        muxer(connection)._session.congested = True  # there is something to tell once it was sent
        await until(lambda: connection.closed)
        assert isinstance(connection.error, ConnectionClosed)
        assert connection.error.code == GoAway.INTERNAL_ERROR
    caplog.clear()


async def test_a_fault_of_ours_at_a_deadline(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with swarm(1, timeouts=Timeouts(negotiate=0.05)) as alice, raw_in(alice) as (raw, connection):
        monkeypatch.setattr(LiveStream, "abandon", lambda *_: 1 // 0)
        await raw.send(frame(WINDOW_UPDATE, SYN, 1, 0))
        assert await raw.gone() == GoAway.INTERNAL_ERROR
        monkeypatch.undo()
        assert isinstance(connection.error, ConnectionClosed)
    caplog.clear()


async def test_the_counter_of_the_channel_is_used_up() -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        stream = await connection.open_stream(ECHO)
        channel = muxer(connection)._channel
        assert isinstance(channel, NoiseChannel)
        channel._sealer._n = 2**64 - 1
        await stream.write(HELLO)
        with pytest.raises(ConnectionClosed, match="counter"):
            await stream.read()
        assert await raw.gone() is None


async def secured(target: Swarm) -> tuple[Raw, bytes]:
    """A hand-made dialer that has finished Noise without an early muxer: what it says next is its choice."""
    bare = await bare_to(target.addresses[0])
    noise = upgrade(SEED).securities[0].handshake(initiator=True, expected=None, muxers=())
    runner = ExchangeRunner(multistream.lazy(NOISE, noise))
    await bare.send(runner.start())
    last = b""
    while not runner.done:
        last = runner.feed(await bare.receive())
    return Raw(bare, Negotiated(runner.result, NoMuxer(), False), runner.leftover), last


@pytest.mark.parametrize("good", [True, False])
async def test_frames_in_the_record_that_ends_the_negotiation(good: bool) -> None:
    """The first frames share a record with the muxer's proposal: they are the session's, good or bad."""
    async with swarm(1) as alice:
        alice.handle(ECHO, echo)
        events = Events(alice)
        raw, last = await secured(alice)
        body = multistream.propose(ECHO) + HELLO
        frames = frame(DATA, SYN, 1, len(body)) + body if good else b"\x07" * 12
        record = bytes(raw.seal(multistream.propose(YAMUX) + frames))
        await raw.bare.send(last + record)
        assert await raw.fill(len(multistream.propose(YAMUX)))
        del raw.plain[: len(multistream.propose(YAMUX))]
        if good:
            assert await raw.body(1, 38) == body
            connection = alice.connections()[0]
            assert not connection.early_muxer
        else:
            assert await raw.gone() == GoAway.PROTOCOL_ERROR
        raw.close()
        await until(lambda: not alice.connections())
        await until(lambda: len(events.all) == 2)
        assert [type(event) for event in events.all] == [Opened, Ended]
        events.all.clear()


async def test_deadlines_spend_the_budget_of_resets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the timer, not by a receive: the next turn that sends ends the connection."""
    monkeypatch.setattr(session, "RESET_BURST", 5)
    monkeypatch.setattr(session, "RESET_RATE", 0.1)
    async with swarm(1, timeouts=Timeouts(negotiate=0.05)) as alice, raw_in(alice) as (raw, connection):
        await raw.send(*(frame(WINDOW_UPDATE, SYN, number, 0) for number in range(1, 41, 2)))
        assert await raw.gone() == GoAway.RATE_LIMITED
        assert isinstance(connection.error, MuxerError)


async def unread(raw: Raw, stream: int) -> int | None:
    """A stream with 200,000 bytes that nobody reads; the code with which it was reset, if it was."""
    await raw.open(stream, ECHO)
    for _ in range(4):
        await raw.data(stream, bytes(50_000))
    await raw.send(frame(PING, SYN, 0, stream))
    code = None
    while (got := await raw.read()) is not None and (got.kind != PING or not got.flags & ACK):
        if got.kind == PING:
            await raw.send(frame(PING, ACK, 0, got.length))
        elif got.flags & RST and got.stream == stream:
            code = got.length
    assert got is not None
    return code


async def test_all_connections_together_hold_so_much_and_protected_peers_a_quarter_more() -> None:
    """Hostile row 38: the budget of all, and who keeps working when it is used up."""
    limits = Limits(receive_memory_total=4 << 20)
    async with swarm(1, limits=limits) as alice, raw_in(alice, 20) as (one, _), raw_in(alice, 21) as (two, _):
        alice.handle(ECHO, never)
        codes = [await unread(one, stream) for stream in range(1, 61, 2)]
        kept = codes.count(None)
        assert codes == [None] * kept + [Reset.RESOURCE_LIMIT] * (30 - kept)
        assert 15 <= kept <= 17  # 3 MiB of the pool, and 256 KiB of its own
        assert alice.pool.snapshot()["receive_memory"] == 3 << 20
        assert await unread(two, 1) is None  # its own 256 KiB
        assert await unread(two, 3) == Reset.RESOURCE_LIMIT
        alice.protected.add(identity(21).peer_id)
        assert await unread(two, 5) is None
        assert alice.pool.snapshot()["receive_memory"] == (3 << 20) + (256 << 10)
        one.close()
        await until(lambda: len(alice.connections()) == 1)
        assert alice.pool.snapshot()["receive_memory"] == 256 << 10
    assert not any(alice.pool.snapshot().values())


@pytest.mark.parametrize("rule", [Rule.ALLOW, Rule.ASK])
async def test_handlers_that_do_not_notice_a_reset_are_counted(rule: Rule) -> None:
    async def yes(_: Attempt) -> bool:
        return True

    async with swarm(1, rule, limits=Limits(streams_in=4)) as alice, raw_in(alice) as (raw, connection):
        alice.firewall.on_ask(yes)
        alice.handle(ECHO, never)
        for number in (1, 3, 5, 7):
            await raw.open(number, ECHO)
            await raw.body(number, 33)
            await raw.reset(number)
        await raw.open(9, ECHO)
        assert (await raw.until(WINDOW_UPDATE, RST, 9)).length == Reset.RESOURCE_LIMIT
        assert len(connection.handlers) == 4
        assert connection.streams == 0


async def test_a_swarm_waits_for_handlers_of_connections_that_are_over() -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        ends: list[float] = []

        async def slow(_stream: LiveStream) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.1)
                ends.append(time.monotonic())

        alice.handle(ECHO, slow)
        await raw.open(1, ECHO)
        await raw.body(1, 33)
        connection.abort()
        await alice.close()
        assert ends


# ---------------------------------------------------------------------- overload


async def test_a_peer_that_does_not_take_our_answers() -> None:
    """Hostile rows 33 and 34: we stop reading, instead of keeping answers without end."""
    timeouts = Timeouts(write_stall=30.0)
    async with swarm(1, timeouts=timeouts) as alice, raw_in(alice) as (raw, connection):
        pings = b"".join(frame(PING, SYN, 0, number) for number in range(5_000))

        async def flood() -> None:
            while True:
                await raw.send(pings)

        flooding = asyncio.ensure_future(flood())
        await until(lambda: muxer(connection)._reading_paused and wire(connection).congested, 20)
        sizes = set()
        for _ in range(10):
            await asyncio.sleep(0.01)
            sizes.add(muxer(connection)._session.outbox.size)
        assert len(sizes) == 1  # nothing grows
        assert sizes.pop() < 1 << 20
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        connection.abort()


async def test_after_a_pause_it_goes_on() -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        for start in range(0, 2_000, 40):
            await raw.send(*(frame(PING, SYN, 0, number) for number in range(start, start + 40)))
        for number in range(2_000):
            assert (await raw.until(PING, ACK)).length == number
        assert not muxer(connection)._reading_paused


async def test_an_idle_connection_costs_no_task() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(ECHO, echo)
        before = len(asyncio.all_tasks())
        connection = await connect(bob, alice)
        await ask(connection)
        await until(lambda: len(asyncio.all_tasks()) == before)
        stream = await connection.open_stream(ECHO)
        await stream.write(b"x")
        await stream.readexactly(1)
        assert len(asyncio.all_tasks()) == before + 1  # the handler
        stream.close()


async def test_latency_and_repr() -> None:
    async with pair(saying(bytes(1 << 20))) as (alice, connection):
        assert connection.latency is None
        assert str(alice.peer_id) in repr(connection)
        assert len(await ask(connection)) == 1 << 20
        await until(lambda: connection.latency is not None)
        assert connection.latency is not None
        assert 0 < connection.latency < 1


async def test_nothing_is_read_into_the_inbox_while_it_is_in_use() -> None:
    """Writers wait, a record is cut, and its rest comes during the callback: it comes after what was there before."""
    kept: list[LiveStream] = []

    async def keep(stream: LiveStream) -> None:
        kept.append(stream)
        await asyncio.Event().wait()

    async with swarm(1, timeouts=Timeouts(busy_poll=0.01)) as alice, raw_in(alice) as (raw, connection):
        alice.handle("/keep", keep)
        await raw.open(1, "/keep")
        await until(lambda: kept)
        polling, user = wire(connection), muxer(connection)
        policy = busy_poll._policies[asyncio.get_running_loop()]
        policy.change(polling)
        policy.looked(found=True)  # the next short answer is followed by a look
        first, second = (bytes(raw.seal(frame(PING, SYN, 0, value))) for value in (1, 2))

        def slowly(view: memoryview) -> int:
            polling.user = user
            raw.bare.sock.send(second[10:])
            kept[0]._end.wait_turn(again=False)
            return user.received(view)

        polling.user = MagicMock(received=slowly)
        await raw.bare.send(first + second[:10])
        async with asyncio.timeout(5):
            assert [(await raw.until(PING, ACK)).length for _ in range(2)] == [1, 2]
        assert not connection.closed
