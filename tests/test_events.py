"""Readers of events that are slow and have chosen ``overflow="wait"``: peers wait, the application does not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import Event, Events, Judged, Limits, Network, P2PError, Rule, Stream, Timeouts
from stronghold_p2p.addressing.kinds import tcp_address
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD
from tests.peers import connected, mirror, network, never, until

TENTH = 0.1  # seconds in which an answer would have come many times
UPPER = "/upper/1.0.0"
RAW: p2p.RequestProtocol[bytes, bytes] = p2p.RequestProtocol(
    "/raw/1", request=p2p.BYTES, response=p2p.BYTES, max_request=1_000
)


@pytest.fixture(autouse=True)
def _records_are_dropped(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What was logged about slow readers would keep their networks alive."""
    yield
    caplog.clear()


def asking(alice: Network, bob: Network, message: object = "waits") -> asyncio.Task[Any]:
    return asyncio.ensure_future(alice.request(bob.peer_id, message))


async def late(calling: asyncio.Future[Any]) -> bool:
    await asyncio.sleep(TENTH)
    return not calling.done()


def judged(events: list[Event]) -> list[str | None]:
    return [event.attempt.variant for event in events if isinstance(event, Judged)]


def of(kind: type, told: list[Event]) -> list[Any]:
    return [event for event in told if isinstance(event, kind)]


@asynccontextmanager
async def behind(bob: Network) -> AsyncIterator[tuple[Network, Events]]:
    """Alice, of whom so much waits for bob's reader that she has to wait, too; and the reader."""
    async with connected(bob) as alice:
        events = bob.events(buffer=16, overflow="wait")
        for number in range(2):
            await alice.request(bob.peer_id, f"before {number}")
        yield alice, events


async def test_t11_block_channel_with_backpressure() -> None:
    """Two batches of five while somebody reads: all ten, in order."""
    bob = network(mirror)
    events, seen = bob.events(buffer=5, overflow="wait"), list[Event]()

    async def read() -> None:
        async for event in events:
            seen.append(event)
            await asyncio.sleep(0.001)

    reading = asyncio.ensure_future(read())
    async with connected(bob) as alice:
        for batch in (range(5), range(5, 10)):
            for number in batch:
                assert await alice.request(bob.peer_id, str(number)) == str(number)
            await asyncio.sleep(0.01)
    await reading
    assert judged(seen) == [str(number) for number in range(10)]
    assert of(p2p.Dropped, seen) == []


async def test_t12_block_channel_without_backpressure(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody reads: who asks waits, until somebody does."""
    bob = network(mirror)
    async with behind(bob) as (alice, events):
        waiting = asking(alice, bob)
        assert await late(waiting)
        assert bob.stats()["held"] == 1
        assert caplog.text.count("a reader of events() is 2 behind") == 1
        assert judged([await anext(events)]) == ["before 0"]
        assert await waiting == "waits"
        assert judged([await anext(events), await anext(events)]) == ["before 1", "waits"]


async def test_one_who_waits_keeps_nobody_else_waiting() -> None:
    bob = network(mirror)
    async with behind(bob) as (alice, events):
        waiting = asking(alice, bob)
        assert await alice.ping(bob.peer_id, timeout=5) < 5  # nor ping and identify
        async with Network() as carol:
            assert await carol.request(bob.addresses[0], "hello", timeout=5) == "hello"
            assert await late(waiting)
        events.close()
        assert await waiting == "waits"


async def test_what_we_do_ourselves_never_waits() -> None:
    """The reader itself may ask a peer: it would wait for itself for ever."""
    bob = network(mirror)
    async with behind(bob) as (alice, events), network(mirror) as carol:
        alice.firewall.set(Rule.ALLOW)
        alice.on_request(lambda request: "I am here")
        for _ in range(40):  # each of them is an event of ours, too: more than there is room for
            assert await bob.request(alice.peer_id, "hello?", timeout=5) == "I am here"
        assert await bob.request(carol.addresses[0], "hi", timeout=5) == "hi"
        assert await bob.ping(alice.peer_id, timeout=5) < 5
        with pytest.raises(P2PError):
            await bob.connect("/ip4/127.0.0.1/tcp/1", timeout=5)
        assert len(events._waiting) == 16 + 1
        *_, last = [await anext(events) for _ in range(17)]
        assert isinstance(last, p2p.Dropped)  # and told
        assert last.count >= 26


async def test_sockets_wait_and_their_deadline_does_not() -> None:
    async with network(rule=None, timeouts=Timeouts(upgrade=0.3)) as bob:
        events = bob.events(buffer=2, overflow="wait")  # one, and one for what is under way
        async with Network() as first:
            await first.connect(bob.addresses[0])
        await until(lambda: len(events._waiting) >= 2)
        async with Network() as alice, Network() as carol:
            connecting = asyncio.ensure_future(alice.connect(bob.addresses[0], timeout=5))
            assert await late(connecting)
            assert bob.stats()["held"] == bob.stats()["pending_in"] == 1
            events.close()
            assert (await connecting).peer == bob.peer_id
            slow = bob.events(buffer=1, overflow="wait")
            await alice.disconnect(bob.peer_id)
            await until(lambda: slow._waiting)
            with pytest.raises(P2PError):  # bob gives up what has waited too long
                await carol.connect(bob.addresses[0], timeout=5)
            await until(lambda: bob.stats()["pending_in"] == 0)
            assert bob.stats()["held"] == 0


async def test_a_reader_that_is_forgotten_keeps_nobody_waiting() -> None:
    bob = network(mirror)
    async with connected(bob) as alice:
        events = bob.events(buffer=1, overflow="wait")
        assert await alice.request(bob.peer_id, "first") == "first"
        waiting = asking(alice, bob)
        assert await late(waiting)
        del events
        gc.collect()
        assert await waiting == "waits"


async def test_a_question_to_the_application_waits() -> None:
    bob, asked = network(mirror), list[p2p.Attempt]()
    bob.firewall.set(Rule.ASK, protocol=UPPER)

    @bob.firewall.on_ask
    async def approve(attempt: p2p.Attempt) -> bool:
        asked.append(attempt)
        return True

    @bob.on_stream(UPPER)
    async def upper(stream: Stream) -> None:
        await stream.write((await stream.read()).upper())

    async with behind(bob) as (alice, events), alice.open_stream(bob.peer_id, UPPER) as stream:
        await stream.write(b"hello")
        await asyncio.sleep(TENTH)
        assert not asked
        assert bob.stats()["held"] == 1
        while not asked or bob.stats()["held"]:
            await anext(events)
            await asyncio.sleep(0.01)
        assert await stream.readexactly(5) == b"HELLO"


@pytest.mark.parametrize("end", ["peer", "network", "cancelled", "banned"])
async def test_what_waits_ends_with_its_connection(end: str) -> None:
    bob = network(mirror)
    async with behind(bob) as (alice, events):
        waiting = [asking(alice, bob, number) for number in range(20)]
        await until(lambda: bob.stats()["held"] == 20)
        if end == "peer":
            await alice.disconnect(bob.peer_id)
        elif end == "banned":
            bob.firewall.ban(alice.peer_id)
        elif end == "cancelled":
            for call in waiting:
                call.cancel()
        if end != "network":
            await asyncio.gather(*waiting, return_exceptions=True)
            if end == "cancelled":
                events.close()
            await until(lambda: bob.stats()["held"] == 0)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, (P2PError, asyncio.CancelledError)) for result in results)


async def test_no_more_waits_than_streams_may_be_open() -> None:
    """Filled to the brim, and beyond: the surplus is told so at once."""
    bob = network(mirror, limits=Limits(streams_in=30))
    async with behind(bob) as (alice, events):
        waiting = [asking(alice, bob, number) for number in range(100)]
        await until(lambda: sum(call.done() for call in waiting) == 70)
        await until(lambda: bob.stats()["held"] == 30)  # the last ones may be on their way
        assert {type(call.exception()) for call in waiting if call.done()} == {p2p.LimitExceeded}
        events.close()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(answer, int) for answer in answers) == 30


async def test_a_dial_and_an_accept_from_their_beginning() -> None:
    async with network() as bob, Network() as alice:
        accepted, dialed = list[Event](), list[Event]()
        bob.on_event(accepted.append)
        alice.on_event(dialed.append)
        place = bob.listeners[0].addresses[0]
        await alice.connect(bob.addresses[0])
        with pytest.raises(P2PError):
            await alice.connect("/ip4/127.0.0.1/tcp/1")
        await until(lambda: len(accepted) == 2)
        assert [type(event) for event in dialed] == [p2p.Dialing, p2p.Opened, p2p.Dialing, p2p.DialFailed]
        assert [type(event) for event in accepted] == [p2p.Accepting, p2p.Opened]
        assert dialed[0] == p2p.Dialing(bob.peer_id, place)
        assert accepted[0] == p2p.Accepting("127.0.0.1", place)


async def test_a_ban_that_is_hit_names_who_was_banned() -> None:
    async with network() as bob, Network() as alice:
        told: list[Event] = []
        bob.on_event(told.append)
        bob.firewall.ban(alice.peer_id)
        with pytest.raises(P2PError):
            await alice.ping(bob.addresses[0])
        await until(lambda: of(p2p.AcceptFailed, told))
        (hit,) = of(p2p.AcceptFailed, told)
        assert isinstance(hit.error, p2p.ConnectionClosed)
        assert (hit.error.peer, hit.error.code, hit.local) == (alice.peer_id, 0x1007, bob.listeners[0].addresses[0])
        with pytest.raises(p2p.DialError):
            await bob.connect(alice.peer_id)
        with pytest.raises(p2p.DialError):
            await bob.request(alice.peer_id, "hi")


async def test_is_connected() -> None:
    async with network() as bob, Network() as alice:
        assert not alice.is_connected(bob.peer_id)
        await alice.connect(bob.addresses[0])
        await until(lambda: bob.is_connected(alice.peer_id))
        assert alice.is_connected(bob.peer_id)
        await alice.disconnect(bob.peer_id)
        assert not alice.is_connected(bob.peer_id)
        await until(lambda: not bob.is_connected(alice.peer_id))


async def too_many(bob: Network, alice: Network) -> None:
    calls = [asyncio.ensure_future(alice.request(bob.peer_id, "hang", timeout=0.3)) for _ in range(3)]
    await asyncio.gather(*calls, return_exceptions=True)


async def writing(data: bytes, bob: Network, alice: Network) -> None:
    async with alice.open_stream(bob.peer_id, "/raw/1") as stream:
        await stream.write(data)
        await stream.read()


async def given_up(bob: Network, alice: Network) -> None:
    stream = await alice.open_stream(bob.peer_id, "/raw/1")
    await stream.write(b"\x05ha")
    await until(lambda: bob.stats()["requests_in"])
    stream.reset()


@pytest.mark.parametrize(
    ("play", "kind"),
    [
        (too_many, p2p.LimitExceeded),
        (partial(writing, b"\x80\x80\x80\x01"), p2p.Malformed),  # not to be read
        (partial(writing, b"\x05ha"), p2p.DeadlineExceeded),  # half of it
        (given_up, p2p.StreamReset),
    ],
)
async def test_a_request_that_did_not_become_one(
    play: Callable[[Network, Network], Awaitable[None]], kind: type[P2PError]
) -> None:
    bob, told = network(never, limits=Limits(requests_per_peer=2), timeouts=Timeouts(request=0.4)), list[Event]()
    bob.on_request(RAW)(mirror)
    bob.on_event(told.append)
    async with connected(bob, Network(limits=Limits(requests_per_peer=9))) as alice:
        with contextlib.suppress(P2PError):
            await play(bob, alice)
        await until(lambda: of(p2p.RequestUnread, told))
        (unread,) = of(p2p.RequestUnread, told)
        assert isinstance(unread.error, kind)
        assert unread.connection.peer == alice.peer_id
        assert unread.protocol in {"/raw/1", "/stronghold-p2p/1.0.0"}
        assert alice.is_connected(bob.peer_id)
    told.clear()


def beginning(bob: Network) -> list[Stream]:
    """The streams whose handlers have begun."""
    begun: list[Stream] = []

    @bob.on_stream("/raw/1")
    async def raw(stream: Stream) -> None:
        begun.append(stream)
        await stream.read_to_end()

    return begun


@pytest.mark.parametrize("what", ["streams", "requests", "sockets"])
async def test_one_source_does_not_fill_the_room_of_all(what: str) -> None:
    """Streams that are opened, requests whose handlers began long before they came, sockets that say nothing."""
    bob = network(mirror)
    begun = beginning(bob)
    async with connected(bob) as alice, Network() as carol, contextlib.AsyncExitStack() as sockets:
        await carol.connect(bob.addresses[0])
        events = bob.events(buffer=64, overflow="wait")
        if what == "sockets":
            host, port, _ = tcp_address(bob.addresses[0]) or ("", 0, None)
            for _ in range(70):
                sockets.enter_context(socket.create_connection((host, port)))
        else:
            name = "/raw/1" if what == "streams" else STRONGHOLD.ids[0]
            streams = [await alice._swarm.connections()[0].open_stream(name) for _ in range(70)]
            await asyncio.sleep(TENTH)
            for stream in streams:
                await stream.write(b'\x03"x"')
        await until(lambda: bob.stats()["held"] >= 70 - 8)
        assert len(events._waiting) == 8
        assert await carol.request(bob.peer_id, "hello", timeout=5) == "hello"
        events.close()
        if what == "streams":
            await until(lambda: len(begun) == 70)
        if what == "requests":
            assert {await stream.read() for stream in streams} == {b'\x03"x"'}
    assert not any(isinstance(event, p2p.Dropped) for event in events._waiting)


async def test_who_is_shut_out_while_waiting_has_no_handler() -> None:
    bob = network(mirror)
    begun = beginning(bob)
    async with connected(bob) as alice:
        events = bob.events(buffer=8, overflow="wait")
        stream = await alice.open_stream(bob.addresses[0], "/raw/1")
        await stream.write(b"x")
        await until(lambda: bob.stats()["held"])
        assert [event.rule for event in events._waiting if isinstance(event, Judged)] == [Rule.ALLOW]
        bob.firewall.set(Rule.REJECT, protocol="/raw/1")
        events.close()
        with pytest.raises(p2p.StreamReset):
            await stream.read()
    assert begun == []
