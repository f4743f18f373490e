"""Hostile rows 109 to 111: a network is closed while something is under way; all are told, nothing is left, in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from stronghold_p2p import Attempt, Identity, Network, Opened, Rule, Stream, Timeouts
from stronghold_p2p.codes import GoAway
from stronghold_p2p.connection import live as live_module
from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, P2PError, StreamReset, UsageError
from stronghold_p2p.muxing import yamux_muxer
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.yamux import session
from stronghold_p2p.yamux.header import GO_AWAY, frame
from tests import peers
from tests.field.closing import BODIES, asked_while_closing
from tests.inside import live
from tests.peers import LOOPBACK, never, now, turns, until
from tests.swarm.raw import Raw, Server, dial_raw

HOLD = "/hold/1.0.0"
CLOSE = 1.0  # ``Timeouts.close``, which handlers that do not end take


async def close(network: Network) -> None:
    """What the end of ``async with`` does."""
    await network.__aexit__(None, None, None)


def nothing_left(network: Network) -> None:
    left = {name: count for name, count in network.stats().items() if count and not name.endswith("_total")}
    assert left.keys() <= {"known_peers"}
    assert network.connections() == ()
    assert network.listeners == ()


@dataclass
class Scene:
    """``network`` is closed; ``waiting`` are calls that have to end."""

    network: Network
    friend: Network
    stack: contextlib.AsyncExitStack
    waiting: list[asyncio.Future[Any]] = field(default_factory=list)

    def call(self, awaitable: Awaitable[Any]) -> None:
        self.waiting.append(asyncio.ensure_future(awaitable))

    @property
    def friends(self) -> str:
        return str(self.friend.addresses[0])

    def from_friend(self) -> None:
        self.call(self.friend.request(self.network.addresses[0], "x"))

    async def settle(self) -> None:
        """Only the calls that are still under way are looked at."""
        await asyncio.sleep(0.05)
        self.waiting = [call for call in self.waiting if not call.done()]

    async def outcomes(self) -> list[Any]:
        """A stream that came in the last moment is as dead as the others."""
        found = await asyncio.gather(*self.waiting, return_exceptions=True)
        for place, stream in enumerate(found):
            if isinstance(stream, Stream | LiveStream):
                with pytest.raises(P2PError) as caught:
                    await stream.read()
                found[place] = caught.value
        return found


@asynccontextmanager
async def scene(ack_backlog: int = 8) -> AsyncIterator[Scene]:
    def serving() -> Network:
        one = peers.network(never, timeouts=Timeouts(close=CLOSE))
        one.on_stream(HOLD)(never)
        return one

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "ACK_BACKLOG", ack_backlog)
        async with contextlib.AsyncExitStack() as stack, serving() as network, serving() as friend:
            yield Scene(network, friend, stack)


# ---------------------------------------------------------------------- what is under way

Begin = Callable[[Scene], Awaitable[None]]


async def nothing(one: Scene) -> None:
    """It only listens."""


async def dialing(one: Scene) -> None:
    """Twenty dials to one who accepts and says nothing, and one that several wait for."""
    server = one.stack.enter_context(contextlib.closing(Server(backlog=64)))
    for number in range(20):
        stranger = Identity.from_seed(bytes([100 + number]) * 32).peer_id
        one.call(one.network.connect(f"{server.address}/p2p/{stranger}"))
    for _ in range(3):
        one.call(one.network.request(f"{server.address}/p2p/{one.friend.peer_id}", "x"))
    await until(lambda: one.network.stats()["pending_out"] == 21)


async def accepting(one: Scene) -> None:
    """Twenty sockets that say nothing."""
    for _ in range(20):
        host, port = str(one.network.addresses[0]).split("/")[2:5:2]
        one.stack.enter_context(contextlib.closing(socket.create_connection((host, int(port)))))
    await until(lambda: one.network.stats()["pending_in"] == 20)


async def asking(one: Scene) -> None:
    """The application is asked and does not answer."""
    one.network.firewall.on_ask(never)
    one.network.firewall.set(Rule.ASK)
    for _ in range(5):
        one.from_friend()
    await until(lambda: one.network.stats()["asks"] == 5)


async def asking_before_we_send(one: Scene) -> None:
    """The same for what we would send ourselves."""
    await one.network.connect(one.friends)
    await asking(one)
    one.network.firewall.set(Rule.ASK, direction="out")
    one.call(one.network.request(one.friends, "x"))
    one.call(one.network.open_stream(one.friends, HOLD).__aenter__())
    await until(lambda: one.network.stats()["asks"] == 7)


async def asking_a_stubborn_one(one: Scene) -> None:
    """The hook goes on for a while when it is cancelled."""

    @one.network.firewall.on_ask
    async def stubborn(_: Attempt) -> bool:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(0.3)
        return True

    one.network.firewall.set(Rule.ASK)
    one.from_friend()
    await until(lambda: one.network.stats()["asks"] == 1)


async def writing(one: Scene) -> None:
    """To one who never reads: on his streams, and on his socket."""
    for _ in range(10):
        stream = await one.network.open_stream(one.friends, HOLD)
        one.call(stream.write(bytes(1 << 20)))
    raw = await stalled(one)
    connection = live(one.network.connections(raw.id)[0])
    for _ in range(5):
        own = await connection.open_stream(HOLD)
        one.call(own.write(bytes(1 << 20)))
    await asyncio.sleep(0.05)


async def stalled(one: Scene) -> Raw:
    raw = await dial_raw(one.network._swarm)
    one.stack.callback(raw.close)
    await until(lambda: one.network.connections(raw.id))
    return raw


async def reading(one: Scene) -> None:
    for _ in range(10):
        stream = await one.network.open_stream(one.friends, HOLD)
        one.call(stream.read())


async def opening(one: Scene) -> None:
    """Streams for which there is no place, and one whose protocol is negotiated, with one who answers nothing."""
    raw = await stalled(one)
    connection = live(one.network.connections(raw.id)[0])
    await until(lambda: connection.streams == 1)  # identify's
    for number in range(12):
        one.call(connection.open_stream(f"/x/{number}"))
    one.call(connection.open_stream("/x/1", "/x/2"))
    await one.settle()
    assert len(one.waiting) >= 5


async def talking(one: Scene) -> None:
    """Requests in both directions, pings and identify with one who does not answer."""
    for _ in range(5):
        one.call(one.network.request(one.friends, "x"))
        one.from_friend()
    raw = await stalled(one)
    one.call(one.network.ping(raw.id))
    one.call(one.network.identify(raw.id))
    await until(lambda: one.network.stats()["requests_in"] == 5 == one.friend.stats()["requests_in"])


async def listening(one: Scene) -> None:
    """Listeners that are about to begin."""
    for _ in range(5):
        one.call(one.network.listen(LOOPBACK))
    await asyncio.sleep(0)


ASKING: tuple[Begin, ...] = (asking, asking_before_we_send, asking_a_stubborn_one)
UNDER_WAY = (nothing, dialing, accepting, *ASKING, writing, reading, opening, talking, listening)


@pytest.mark.parametrize("begin", UNDER_WAY, ids=lambda begin: begin.__name__)
async def test_closing_while(begin: Begin) -> None:
    async with scene() as one:
        await begin(one)
        start = now()
        await close(one.network)
        assert now() - start < CLOSE + 1.0  # and a busy machine
        nothing_left(one.network)
        outcomes = await one.outcomes()
        expected: set[type] = {UsageError} if begin is listening else {ConnectionClosed, StreamReset}
        if begin in ASKING:  # nobody has begun to work on what is asked about: it may be asked again
            expected |= {LimitExceeded}
            assert not any(outcome.sent for outcome in outcomes if isinstance(outcome, LimitExceeded))
        assert {type(outcome) for outcome in outcomes} <= expected, outcomes
        with pytest.raises(UsageError):
            await one.network.connect(one.friends)
        await until(lambda: not one.friend.connections())


# ---------------------------------------------------------------------- the connection ends under everybody


ENDS: dict[str, Callable[[Raw, Scene], Any]] = {
    "reset": lambda raw, one: raw.bare.reset(),
    "leave": lambda raw, one: raw.close(),
    "go_away": lambda raw, one: raw.send(frame(GO_AWAY, 0, 0, 1)),
    "disconnect": lambda raw, one: one.network.disconnect(raw.id),
    "ban": lambda raw, one: one.network.firewall.ban(raw.id),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_everybody_learns_the_same(
    end: Callable[[Raw, Scene], Awaitable[None] | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile row 110: 64 readers, 64 writers without a window, 16 openers, pings, requests; one cause for all."""
    async with scene(ack_backlog=160) as one:
        raw = await stalled(one)
        connection = live(one.network.connections(raw.id)[0])
        streams = [await connection.open_stream(HOLD) for _ in range(128)]
        for stream in streams[:64]:
            one.call(stream.read())
        for stream in streams[64:]:
            one.call(stream.write(bytes(1 << 20)))
        for _ in range(4):
            one.call(one.network.ping(raw.id))
            one.call(one.network.identify(raw.id))
            one.call(one.network.request(raw.id, "x"))
            one.call(connection.open_stream("/x/1", "/x/2"))
        await one.settle()
        for _ in range(40):
            one.call(connection.open_stream(HOLD))
        await one.settle()
        assert len(one.waiting) >= 64 + 64 + 16 + 16

        async def ends() -> None:
            if (waiting := end(raw, one)) is not None:
                await waiting

        monkeypatch.setattr(yamux_muxer, "CLOSE_GRACE", 600.0)
        monkeypatch.setattr(live_module, "CLOSE_GRACE", 600.0)
        ending = asyncio.ensure_future(ends())
        async with asyncio.timeout(30):  # before the grace for the peer is over, however busy the machine is
            await asyncio.wait(one.waiting)
        connection.abort()
        await ending
        outcomes = await one.outcomes()
        assert {type(outcome) for outcome in outcomes} == {ConnectionClosed}
        assert len({str(outcome) for outcome in outcomes}) == 1
        assert one.network.stats()["requests_out"] == one.network.stats()["streams"] == 0


# ---------------------------------------------------------------------- how it is closed


@pytest.mark.parametrize("begin", [nothing, asking, talking], ids=lambda begin: begin.__name__)
async def test_closing_again_and_several_times_at_once(begin: Begin) -> None:
    async with scene() as one:
        await begin(one)
        await asyncio.gather(*(close(one.network) for _ in range(5)))
        nothing_left(one.network)
        again = asyncio.ensure_future(close(one.network))
        await turns(3)
        assert again.done()
        await asyncio.gather(*one.waiting, return_exceptions=True)


def ask(network: Network, end: Callable[[Any], Any]) -> None:
    network.on_request(never)
    network.firewall.on_ask(end)
    network.firewall.set(Rule.ASK)


def when_opened(network: Network, end: Callable[[Any], Any]) -> None:
    network.on_event(lambda event: asyncio.ensure_future(end(event)) if isinstance(event, Opened) else None)


# Whence it is closed, and whether the call goes through there: the hook is cancelled as all are.
INSIDE: dict[str, tuple[Callable[[Network, Callable[[Any], Any]], object], bool]] = {
    "a handler": (lambda network, end: network.on_stream(HOLD)(end), True),
    "a request": (lambda network, end: network.on_request(end), True),
    "the ask hook": (ask, False),
    "an event": (when_opened, True),
}


@pytest.mark.parametrize(("put", "through"), INSIDE.values(), ids=INSIDE)
async def test_closing_from_inside(put: Callable[[Network, Callable[[Any], Any]], object], through: bool) -> None:
    async with scene() as one:
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        carol = Network(listen=[LOOPBACK])
        carol.firewall.set(Rule.ALLOW)

        async def end(_: Any) -> bool:
            try:
                await close(carol)
            except asyncio.CancelledError:
                ended.set_result(False)
                raise
            ended.set_result(True)
            return True

        put(carol, end)
        await carol.__aenter__()

        async def reads() -> None:
            async with one.friend.open_stream(carol.addresses[0], HOLD) as stream:
                await stream.read()

        calls = (reads(), one.friend.request(carol.addresses[0], "x"))
        assert all(isinstance(told, P2PError) for told in await asyncio.gather(*calls, return_exceptions=True))
        assert await asyncio.wait_for(ended, 5) is through
        await close(carol)
        nothing_left(carol)


async def test_closing_before_it_was_opened() -> None:
    network = Network(listen=[LOOPBACK])
    await close(network)
    await close(network)
    nothing_left(network)
    with pytest.raises(UsageError):
        await network.connect(LOOPBACK)


async def test_closing_while_it_is_being_opened() -> None:
    """Whatever comes first: both calls end, and it stays closed."""
    for many in range(6):
        network = Network(listen=[LOOPBACK] * 3)
        entering = asyncio.ensure_future(network.__aenter__())
        for _ in range(many):
            await asyncio.sleep(0)
        await close(network)
        (outcome,) = await asyncio.gather(entering, return_exceptions=True)
        if not isinstance(outcome, UsageError):
            assert outcome is network
            await close(network)
        nothing_left(network)


# ---------------------------------------------------------------------- what is at work goes on


@pytest.mark.speed
@pytest.mark.parametrize("size", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("turn", [True, False])
async def test_b07_a_handler_at_work_answers_although_its_network_closes(size: int, turn: bool) -> None:
    """100 of 100 in ``make field``."""
    for _ in range(20 if size < 1 << 20 else 5):
        assert await asked_while_closing(size, turn=turn)


async def test_b07_what_has_not_begun_is_refused_and_may_be_asked_again() -> None:
    go_on = asyncio.Event()

    async def answer(request: Any) -> Any:
        await go_on.wait()
        return await alice.request(carol.addresses[0], request.message)  # it may still ask others itself

    alice, carol = peers.network(answer), peers.network(peers.mirror)
    async with carol, alice, Network() as bob, Network() as dave:
        at_work = asyncio.ensure_future(bob.request(alice.addresses[0], "x"))
        await until(lambda: alice.stats()["requests_in"])
        address = alice.addresses[0]
        closing = asyncio.ensure_future(close(alice))
        await turns(3)
        with pytest.raises(LimitExceeded, match="closing") as caught:
            await bob.request(alice.peer_id, "too late")
        assert not caught.value.sent
        with pytest.raises(P2PError):
            await dave.connect(address)
        with pytest.raises(UsageError):
            await alice.listen(LOOPBACK)
        assert alice.listeners == ()
        go_on.set()
        assert await at_work == "x"
        await closing
        with pytest.raises(UsageError):
            await alice.ping(carol.addresses[0])
        nothing_left(alice)


async def test_b07_a_stream_at_work_goes_on_too() -> None:
    async with peers.network() as alice, Network() as bob:
        alice.on_stream("/slow/1")(peers.echo)
        async with bob.open_stream(alice.addresses[0], "/slow/1") as stream:
            await stream.write(b"before")
            assert await stream.read() == b"before"
            closing = asyncio.ensure_future(close(alice))
            await turns(3)
            await stream.write(b"after")
            assert await stream.read() == b"after"
            await stream.close_write()
            assert await stream.read() == b""
        await closing
        nothing_left(alice)


async def test_b07_a_handler_has_timeouts_close_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.network")
    cancelled: list[float] = []

    async def stays(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    async with peers.network(stays, timeouts=Timeouts(close=0.3)) as alice, Network() as bob:
        asked = asyncio.ensure_future(bob.request(alice.addresses[0], "x"))
        await until(lambda: alice.stats()["requests_in"])
        began = now()
        await close(alice)
        assert cancelled[0] - began >= 0.25
        with pytest.raises(ConnectionClosed, match="shuts down") as caught:
            await asked
        assert (caught.value.code, caught.value.sent) == (GoAway.SHUTDOWN, True)
    assert "1 handlers were still at work at the end of Timeouts.close, 0.3 s" in caplog.text
    caplog.clear()


async def test_b07_who_is_cancelled_while_it_waits_for_handlers_ends_at_once() -> None:
    async with peers.network(never, timeouts=Timeouts(close=600.0)) as alice, Network() as bob:
        asked = asyncio.ensure_future(bob.request(alice.addresses[0], "x"))
        await until(lambda: alice.stats()["requests_in"])
        closing = asyncio.ensure_future(close(alice))
        await turns(5)
        assert not closing.done()
        closing.cancel()
        async with asyncio.timeout(20):
            await asyncio.wait({closing, asked})
        assert isinstance(asked.exception(), ConnectionClosed)
        assert closing.cancelled()
        assert alice.connections() == ()
        await until(lambda: not alice.stats()["requests_in"])


async def test_b07_a_service_that_fails_keeps_nothing_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with peers.network(peers.mirror) as alice, Network() as bob:
        assert await bob.request(alice.addresses[0], "x") == "x"

        async def fails() -> None:
            raise ZeroDivisionError("ours")

        end, monkey = alice._identify.close, monkeypatch
        monkey.setattr(alice._identify, "close", fails)
        await close(alice)
        await end()
        nothing_left(alice)
    assert "internal error while the network was closed" in caplog.text
    caplog.clear()
