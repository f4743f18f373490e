"""One connection: its streams, its handlers, its end. Real time and real sockets, in both roles."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection import live
from stronghold_p2p.errors import (
    ConnectionClosed,
    DecryptError,
    MuxerError,
    P2PError,
    StreamEnded,
    StreamReset,
    UnsupportedProtocol,
)
from stronghold_p2p.events.events import AcceptFailed, Ended, Opened
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.muxing import yamux_muxer
from stronghold_p2p.muxing.yamux_muxer import YAMUX
from stronghold_p2p.noise.libp2p import NOISE, NoiseChannel
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport import busy_poll
from stronghold_p2p.transport.upgrade import Negotiated
from stronghold_p2p.yamux import session
from stronghold_p2p.yamux.header import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE, frame
from tests.inside import muxer, wire
from tests.peers import ECHO, ask, connect, echo, never, saying, swallow, swarm, swarms, turns, until
from tests.swarm.raw import SEED, Events, Raw, bare_to, raw_in, raw_out
from tests.transport.ends import NoMuxer, upgrade

HELLO = b"hello"


async def test_returning_closes_raising_resets(caplog: pytest.LogCaptureFixture) -> None:
    async def raising(stream: LiveStream) -> None:
        await stream.write(b"x")
        raise ZeroDivisionError

    async with swarms(raising, "/raises") as (_, alice, connection):
        alice.handle("/returns", saying(HELLO))
        assert await ask(connection, protocol="/returns") == HELLO
        for protocol, kind in (("/raises", StreamReset), ("/other", UnsupportedProtocol)):
            with pytest.raises(kind):
                await ask(connection, protocol=protocol)
        assert "handler of /raises failed" in caplog.text
        await until(lambda: connection.streams == 0 and not alice.connections()[0].handlers.tasks)
        assert not connection.closed
    caplog.clear()


@pytest.mark.parametrize("kind", [StreamEnded, StreamReset])
async def test_what_the_peer_did_is_no_error_of_the_handler(
    kind: type[P2PError], caplog: pytest.LogCaptureFixture
) -> None:
    async def raising(_stream: LiveStream) -> None:
        raise kind("gone")

    async with swarms(raising) as (_, _, connection):
        with pytest.raises(StreamReset):
            await ask(connection)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_the_257th_waits_for_an_acknowledgement() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        streams = [await connection.open_stream(ECHO) for _ in range(256)]
        waiting = [asyncio.ensure_future(connection.open_stream(ECHO)) for _ in range(4)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        assert connection.open_now((ECHO,)) is None
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
        assert not muxer(connection)._session._opening


@pytest.mark.parametrize("code", [GoAway.NORMAL, GoAway.PROTOCOL_ERROR, GoAway.GATED])
async def test_the_peer_goes_away(code: int) -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        events = Events(alice)
        stream = await connection.open_stream(ECHO)
        reading = asyncio.ensure_future(stream.read())
        await raw.send(frame(GO_AWAY, 0, 0, code))
        for use in (reading, connection.open_stream(ECHO)):
            with pytest.raises(ConnectionClosed) as caught:
                await use
            assert (caught.value.code, caught.value.remote) == (code, True)
        raw.bare.finish()
        await raw.gone()
        assert [(type(event), event.error) for event in events.all] == [(Ended, connection.error)]


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
async def test_an_orderly_close(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with swarms(echo) as (bob, alice, ours):
        assert await ask(ours) == HELLO
        (theirs,) = alice.connections()
        events = Events(alice), Events(bob)
        monkeypatch.setattr(live, "CLOSE_GRACE", 600.0)
        monkeypatch.setattr(yamux_muxer, "CLOSE_GRACE", 600.0)
        closers = {"dialer": [ours], "listener": [theirs], "both": [ours, theirs]}[who]
        async with asyncio.timeout(30):  # no grace has to pass, however busy the machine is
            await asyncio.gather(*(connection.close() for connection in closers))
        await until(lambda: all(each.of(Ended) for each in events))
        assert [len(each.all) for each in events] == [1, 1]
        for event in events[0].all + events[1].all:
            assert isinstance(event.error, ConnectionClosed)
            assert event.error.code == 0
            assert not isinstance(event.error.__cause__, ConnectionResetError)
        await ours.close()
        await theirs.close()


async def test_closing_from_inside_a_handler() -> None:
    """Hostile row 109."""
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def closing(stream: LiveStream) -> None:
        await stream.connection.close()
        done.set_result("still here")

    async with swarms(closing) as (_, _, connection):
        with pytest.raises(ConnectionClosed):
            await ask(connection)
        assert await done == "still here"


@pytest.mark.parametrize("together", [True, False])
async def test_a_message_and_goodbye(together: bool) -> None:
    """What somebody says before he leaves is heard: the handler has a moment to read it."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listening(stream: LiveStream) -> None:
        heard.set_result(await stream.read_to_end())

    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, listening)
        body = multistream.propose(ECHO) + HELLO
        frames = [frame(DATA, SYN, 1, len(body)) + body, frame(WINDOW_UPDATE, FIN, 1, 0), frame(GO_AWAY, 0, 0, 0)]
        for each in [b"".join(frames)] if together else frames:
            await raw.send(each)
        raw.bare.finish()
        assert await heard == HELLO
        await raw.gone()
        await until(lambda: wire(connection).lost)


@pytest.mark.parametrize("running", [False, True])
async def test_handlers_that_are_due_or_running_when_their_peer_leaves(running: bool) -> None:
    """They start, and when all are through nobody is waited for any more."""
    started: list[LiveStream] = []

    async def quick(stream: LiveStream) -> None:
        started.append(stream)
        await asyncio.sleep(0.01 * len(started))

    async with swarms(quick) as (_, alice, _):
        (connection,) = alice.connections()
        streams: list[LiveStream] = [MagicMock(protocol=ECHO, connection=connection, intake=None) for _ in range(2)]
        for stream in streams:
            connection.handlers.start(stream)
        await until(lambda: started == streams or not running)
        connection.handlers.cancel(1.0)
        await until(lambda: started == streams)
        await until(lambda: connection.handlers._late is None, 0.5)
        started.clear()


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


async def test_a_broken_invariant() -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, swallow)
        await raw.send(frame(DATA, SYN, 1, 262_145))
        assert await raw.gone() == GoAway.PROTOCOL_ERROR
        assert isinstance(connection.error, MuxerError)
        assert not connection.error.remote


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


async def test_the_counter_of_the_channel_is_used_up() -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        stream = await connection.open_stream(ECHO)
        channel = muxer(connection)._channel
        assert isinstance(channel, NoiseChannel)
        channel._sent = 2**64 - 1
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
    return Raw(bare, Negotiated(runner.result, NoMuxer()), runner.leftover), last


async def test_a_choice_of_muxer_in_records_without_end() -> None:
    """Hostile row 42: what a record costs does not depend on what is in it."""
    async with swarm(1) as alice:
        told: list[object] = []
        alice.hub.on_event(told.append)
        raw, last = await secured(alice)
        line = multistream.HEADER + b"\x80\x08" + bytes(1_024)
        await raw.bare.send(last + b"".join(bytes(raw.seal(bytes([byte]))) for byte in line))
        assert await raw.gone() is None
        await until(lambda: any(isinstance(event, AcceptFailed) for event in told))
        (event,) = [event for event in told if isinstance(event, AcceptFailed)]
        assert str(event.error) == "no muxer after 1024 records"
        raw.close()


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
        assert len(connection.handlers.tasks) == 4
        assert connection.streams == 0


async def test_a_swarm_waits_for_handlers_of_connections_that_are_over() -> None:
    ended = asyncio.Event()

    async def slow(_stream: LiveStream) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            ended.set()

    async with swarms(slow) as (_, alice, connection):
        await connection.open_stream(ECHO, wait=True)
        connection.abort()
        await alice.close()
        assert ended.is_set()


async def test_a_peer_that_does_not_take_our_answers() -> None:
    """Hostile rows 33 and 34: we stop reading, instead of keeping answers without end."""
    async with swarm(1, timeouts=Timeouts(write_stall=30.0)) as alice, raw_in(alice) as (raw, connection):
        pings = b"".join(frame(PING, SYN, 0, number) for number in range(5_000))

        async def flood() -> None:
            while True:
                await raw.send(pings)

        flooding = asyncio.ensure_future(flood())
        await until(lambda: muxer(connection)._reading_paused and wire(connection).congested, 20)
        await turns()  # what had been kept before is delivered once more
        size = muxer(connection)._session.outbox.size
        assert size < 1 << 20
        await asyncio.sleep(0.1)
        assert muxer(connection)._session.outbox.size == size  # nothing grows
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
