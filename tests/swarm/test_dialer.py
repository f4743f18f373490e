"""Dialing: addresses in parallel, one dial for all, nothing left of what lost. Time is virtual."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Self

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import errors
from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.addressing.parse import parse, with_peer
from stronghold_p2p.announcing.announcer import Announcer
from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import ConnectionClosed, DialError, LimitExceeded, PeerIdMismatch
from stronghold_p2p.events.events import DialFailed, Ended, Opened
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.swarm import dial, dialer
from stronghold_p2p.swarm.dialer import STAGGER
from tests.peers import ECHO, ask, echo, now, swarm, turns, until
from tests.swarm.raw import SEED, Events, Server, shake
from tests.transport.ends import identity, upgrade
from tests.virtual import VIRTUAL, eventually

LOOPS = VIRTUAL

STRANGER = identity(7).peer_id
alone = partial(swarm, 77, None, listen=False)  # a swarm that only dials


def closed_port(host: str = "127.0.0.1") -> Multiaddr:
    """An address at which nobody listens."""
    with socket.create_server((host, 0)) as server:
        return from_socket(server.getsockname())


@asynccontextmanager
async def black_holes(number: int) -> AsyncIterator[list[Multiaddr]]:
    """Addresses that accept a connection and never say a word."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Server(f"127.0.0.{2 + n}"))).address for n in range(number)]


@asynccontextmanager
async def deaf() -> AsyncIterator[list[Multiaddr]]:
    """One address whose SYNs are not answered: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        yield [from_socket(server.getsockname())]


# ---------------------------------------------------------------------- one and several addresses


@pytest.mark.parametrize("expected", [True, False])
async def test_dial(expected: bool) -> None:
    async with alone() as alice, swarm(2) as bob:
        events, others = Events(alice), Events(bob)
        connection = await alice.dial(bob.peer_id if expected else None, bob.addresses)
        assert (connection.peer, connection.direction) == (bob.peer_id, "out")
        assert connection.remote_address == bob.addresses[0]
        await until(lambda: others.all)
        assert [type(event) for event in events.all + others.all] == [Opened, Opened]
        assert alice.gate.snapshot()["outbound"] == 1
        assert bob.connections()[0].remote_address == connection.local_address


async def test_an_open_connection_is_used_again() -> None:
    """D1: there, it panicked, and every later call with it."""
    async with alone() as alice, swarm(2) as bob:
        first = await alice.dial(bob.peer_id, bob.addresses)
        assert await alice.dial(bob.peer_id) is first
        assert await alice.dial(bob.peer_id, [closed_port()]) is first
        await first.close()
        await until(lambda: not bob.connections())
        second = await alice.dial(bob.peer_id)  # from the address book: it worked before
        assert second is not first
        await until(lambda: bob.connections())
        assert (await bob.dial(alice.peer_id)).direction == "in"  # the same one, from its other end


async def test_the_address_that_names_its_peer_is_held_to_it() -> None:
    """Whatever the caller says, ``/p2p/`` is checked inside the handshake."""
    async with alone() as alice, swarm(2) as bob:
        (address,) = bob.addresses
        with pytest.raises(PeerIdMismatch):
            await alice.dial(None, [with_peer(address, STRANGER)])
        connection = await alice.dial(None, [with_peer(address, bob.peer_id)])
        assert connection.peer == bob.peer_id
        assert connection.remote_address == address


async def test_black_holes_before_the_good_address() -> None:
    """Hostile row 9: the good one is the 16th; nobody before it ever answers."""
    async with alone() as alice, swarm(2) as bob, black_holes(15) as holes:
        began = now()
        connection = await alice.dial(bob.peer_id, [*holes, *bob.addresses])
        assert now() - began == pytest.approx(15 * STAGGER, abs=0.1)
        assert connection.remote_address == bob.addresses[0]
        await until(lambda: alice.gate.snapshot()["pending_out"] == 0)
        assert alice.book.addresses(bob.peer_id) == bob.addresses


async def test_refusals_do_not_wait_for_each_other() -> None:
    async with alone() as alice, swarm(2) as bob:
        began = now()
        await alice.dial(bob.peer_id, [closed_port() for _ in range(10)] + [*bob.addresses])
        assert now() - began < STAGGER


async def test_a_good_address_that_comes_with_the_next_caller() -> None:
    async with alone() as alice, swarm(2) as bob, black_holes(1) as holes:
        first = asyncio.ensure_future(alice.dial(bob.peer_id, holes))
        await asyncio.sleep(1)
        second = await alice.dial(bob.peer_id, bob.addresses)
        assert await first is second


async def test_a_wrong_peer_beside_the_right_one() -> None:
    """Hostile row 54: the right one wins, and the other address comes last from now on."""
    async with alone() as alice, swarm(2) as bob, swarm(3) as carol:
        for address in (*carol.addresses, *bob.addresses):
            alice.book.add(bob.peer_id, address)
        events, others = Events(alice), Events(carol)
        connection = await alice.dial(bob.peer_id)
        assert connection.peer == bob.peer_id
        assert alice.book.addresses(bob.peer_id) == (*bob.addresses, *carol.addresses)
        await asyncio.sleep(1)
        assert [type(event) for event in events.all] == [Opened]
        assert others.of(Opened) == []


async def test_each_address_and_its_reason() -> None:
    async with alone() as alice, swarm(3) as carol:
        dead, wrong = closed_port(), carol.addresses[0]
        nonsense = parse("/ip4/127.0.0.1/udp/4001")
        with pytest.raises(DialError, match="refused") as caught:
            await alice.dial(STRANGER, [dead, wrong, nonsense])
        assert {address: type(error) for address, error in caught.value.attempts.items()} == {
            dead: DialError,
            wrong: PeerIdMismatch,
            nonsense: DialError,
        }
        assert caught.value.peer == STRANGER


async def test_no_address() -> None:
    async with alone() as alice:
        with pytest.raises(DialError, match="no address"):
            await alice.dial(STRANGER)
        with pytest.raises(DialError):
            await alice.dial(None, [])


async def test_ourselves() -> None:
    async with swarm(1) as alice:
        with pytest.raises(DialError, match="our own peer id"):
            await alice.dial(alice.peer_id, alice.addresses)
        with pytest.raises(DialError, match="our own address"):
            await alice.dial(None, alice.addresses)
        with pytest.raises(DialError, match="our own address"):
            await alice.dial(STRANGER, alice.addresses)


async def test_ourselves_where_we_say_that_we_are() -> None:
    """An address in front of ours leads to us, and so does a name."""
    announced = [parse("/ip4/203.0.113.7/tcp/4001"), parse("/dns4/us.example/tcp/4001")]
    async with swarm(1, announcer=Announcer(announced)) as alice:
        for address in announced:
            with pytest.raises(DialError, match="our own address"):
                await alice.dial(STRANGER, [address])


async def test_ourselves_by_an_address_that_we_do_not_know() -> None:
    async with swarm(1) as alice:
        await alice.listen(parse("/ip4/127.0.0.9/tcp/0"))
        address = alice.listeners.all[1].addresses[0]
        alice.listeners.all[1].addresses = ()
        with pytest.raises(errors.P2PError):
            await alice.dial(None, [address])
        await until(lambda: not alice.listeners.pending)
        assert alice.connections() == ()


async def test_more_addresses_than_we_try_and_one_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "CANDIDATES", 3)
    async with alone() as alice, swarm(2) as bob:
        dead = [closed_port(f"127.0.0.{n}") for n in range(1, 4)]
        with pytest.raises(DialError) as caught:
            await alice.dial(bob.peer_id, [dead[0], parse(str(dead[0])), *dead, *bob.addresses])
        assert list(caught.value.attempts) == dead


# ---------------------------------------------------------------------- deadlines


@pytest.mark.parametrize(
    ("places", "timeouts", "limit", "phase"),
    [
        (deaf, Timeouts(), 5.0, "connecting"),  # TCP has 5 seconds for each address
        (lambda: black_holes(1), Timeouts(), 10.0, "upgrade"),
        (lambda: black_holes(4), Timeouts(dial=3.0), 3.0, "dial"),
    ],
    ids=["nobody accepts", "nobody speaks", "the whole dial"],
)
async def test_deadlines(  # D12: there, TCP, Noise and the muxer had none
    places: Callable[[], AbstractAsyncContextManager[list[Multiaddr]]], timeouts: Timeouts, limit: float, phase: str
) -> None:
    async with alone(timeouts=timeouts) as alice, places() as addresses:
        began = now()
        with pytest.raises(errors.DeadlineExceeded) as caught:
            await alice.dial(STRANGER, addresses)
        assert (caught.value.timeout, caught.value.peer) == (limit, STRANGER)
        assert phase in caught.value.phase
        assert now() - began == pytest.approx(limit, abs=0.1)


# ---------------------------------------------------------------------- shared, cancelled


@pytest.mark.parametrize("named", [True, False])
async def test_fifty_callers_one_connection(named: bool) -> None:
    """Also of an address that names nobody. D2: there, a call took the answer of another, whose caller panicked."""
    async with alone() as alice, swarm(2) as bob:
        others, peer = Events(bob), bob.peer_id if named else None
        connections = await asyncio.gather(*(alice.dial(peer, bob.addresses) for _ in range(50)))
        assert len(set(connections)) == 1
        await until(lambda: bob.connections())
        assert len(others.of(Opened)) == 1
        assert await alice.dial(peer, bob.addresses) is connections[0]
        await connections[0].close()
        assert await alice.dial(peer, bob.addresses) is not connections[0]


async def test_whom_we_dial_comes_by_itself() -> None:
    """Who is parked goes on with the first connection to the peer, whoever dialed."""
    async with swarm(1) as alice, swarm(2) as bob, black_holes(1) as holes:
        events = Events(alice)
        parked = [asyncio.ensure_future(alice.dial(bob.peer_id, holes)) for _ in range(3)]
        await asyncio.sleep(1)
        await bob.dial(alice.peer_id, alice.addresses)
        began = now()
        connections = {await one for one in parked}
        assert connections == set(alice.connections(bob.peer_id))
        assert now() - began < 0.1
        await alice.connections()[0].close()
        others = asyncio.ensure_future(alice.dial(bob.peer_id, bob.addresses))  # not what has ended
        assert (await others).direction == "out"
        await eventually(lambda: events.of(DialFailed))  # the dial that nobody waits for any more has its end
        assert alice.gate.snapshot()["pending_out"] == 0


async def test_fifty_callers_one_failure() -> None:
    async with alone() as alice:
        events = Events(alice)
        dead = closed_port()
        results = await asyncio.gather(*(alice.dial(STRANGER, [dead]) for _ in range(50)), return_exceptions=True)
        assert {type(result) for result in results} == {DialError}
        assert len(events.of(DialFailed)) == 1


@pytest.mark.parametrize("steps", range(0, 24, 3))
async def test_some_leave_the_rest_stay(steps: int) -> None:
    async with alone() as alice, swarm(2) as bob:
        tasks = [asyncio.ensure_future(alice.dial(bob.peer_id, bob.addresses)) for _ in range(10)]
        await turns(steps)
        for task in tasks[:9]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[9].peer == bob.peer_id  # type: ignore[union-attr]
        assert len(alice.connections()) == 1


async def test_all_leave() -> None:
    async with alone() as alice, black_holes(3) as holes:
        events = Events(alice)
        tasks = [asyncio.ensure_future(alice.dial(STRANGER, holes)) for _ in range(10)]
        await asyncio.sleep(1)
        assert alice.gate.snapshot()["pending_out"] == 3
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}
        await until(lambda: alice.gate.snapshot()["pending_out"] == 0 and events.all)
        (given_up,) = events.of(DialFailed)
        assert (given_up.peer, str(given_up.error)) == (STRANGER, "nobody waited for it any more")
        assert len(events.all) == 1
        events.all.clear()


async def test_the_next_one_after_all_left() -> None:
    async with alone() as alice, swarm(2) as bob, black_holes(1) as holes:
        task = asyncio.ensure_future(alice.dial(bob.peer_id, holes))
        await asyncio.sleep(1)
        task.cancel()
        again = asyncio.ensure_future(alice.dial(bob.peer_id, bob.addresses))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await again).peer == bob.peer_id


async def test_two_that_answer_at_once_end_in_one_connection() -> None:
    """Both upgrades finish in the same turn of the loop: the one that is too many says goodbye."""
    async with alone() as alice:
        with contextlib.closing(Server()) as one, contextlib.closing(Server("127.0.0.2")) as other:
            dialing = asyncio.ensure_future(alice.dial(identity(SEED).peer_id, [one.address, other.address]))
            first, second = await one.accept(), await other.accept()
            events = Events(alice)
            raws = await asyncio.gather(*(shake(bare, upgrade(SEED).inbound()) for bare in (first, second)))
            connection = await dialing
            await until(lambda: len(events.of(Opened)) == 1 + len(events.of(Ended)))
            assert alice.connections() == (connection,)
            assert len(raws) == 2
            await asyncio.sleep(2)


# ---------------------------------------------------------------------- time that is over when it succeeds


@pytest.mark.parametrize("after", range(14))
async def test_time_is_over_in_the_turn_of_success(after: int) -> None:
    """Hostile row 107: or so many turns later, until the caller has it. It is returned or closed, and told once."""
    async with alone() as alice, swarm(2) as bob:
        loop, events = asyncio.get_running_loop(), Events(alice)
        over = asyncio.Event()

        def later(left: int) -> None:
            if left:
                loop.call_soon(later, left - 1)
            elif not over.is_set():
                scope.reschedule(now())

        alice.hub.on_event(lambda event: later(after) if isinstance(event, Opened) else None)
        connection = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(100) as scope:
                try:
                    connection = await alice.dial(bob.peer_id, bob.addresses)
                finally:
                    over.set()
        await turns(20)
        if connection is None:
            assert alice.connections() == ()
            assert [type(event) for event in events.all] == [Opened, Ended]
        else:
            assert alice.connections() == (connection,)
            assert [type(event) for event in events.all] == [Opened]
        events.all.clear()


@pytest.mark.parametrize("found", ["dialed", "asked"])
async def test_who_has_found_the_connection_meanwhile_keeps_it(found: str) -> None:
    async with alone() as alice, swarm(2) as bob:
        bob.handle(ECHO, echo)
        others: list[asyncio.Future[object]] = []

        def use(event: object) -> None:
            if isinstance(event, Opened):
                given = alice.connections()[0]
                others.append(
                    asyncio.ensure_future(alice.dial(bob.peer_id) if found == "dialed" else given.open_stream(ECHO))
                )
                others[0].add_done_callback(lambda _: task.cancel())

        alice.hub.on_event(use)
        task = asyncio.ensure_future(alice.dial(bob.peer_id, bob.addresses))
        await asyncio.wait([task])
        assert task.cancelled()
        await turns(20)
        (connection,) = alice.connections()
        assert await ask(connection) == b"hello"


@pytest.mark.parametrize("after", range(5))
async def test_the_time_of_the_dial_itself_is_over_in_the_turn_of_success(
    after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes: list[asyncio.Timeout] = []

    class Kept(Deadline):
        async def __aenter__(self) -> Self:
            scopes.append(self._scope)
            return await super().__aenter__()

    monkeypatch.setattr(dialer, "Deadline", Kept)
    async with alone() as alice, swarm(2) as bob:
        loop, events = asyncio.get_running_loop(), Events(alice)

        def later(left: int) -> None:
            if left:
                loop.call_soon(later, left - 1)
            else:
                with contextlib.suppress(RuntimeError):  # it is over already
                    scopes[0].reschedule(now())

        alice.hub.on_event(lambda event: later(after) if isinstance(event, Opened) else None)
        connection = await alice.dial(bob.peer_id, bob.addresses)
        assert alice.connections() == (connection,)
        assert [type(event) for event in events.all] == [Opened]
        events.all.clear()


# ---------------------------------------------------------------------- limits and rules


async def test_the_limit_of_pending_dials() -> None:
    async with alone(limits=Limits(pending_out=2)) as alice, swarm(2) as bob, black_holes(2) as holes:
        busy = asyncio.ensure_future(alice.dial(STRANGER, holes))
        await asyncio.sleep(1)
        with pytest.raises(LimitExceeded) as caught:
            await alice.dial(bob.peer_id, [*bob.addresses, closed_port()])
        assert (caught.value.limit, caught.value.maximum) == ("pending_out", 2)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        await until(lambda: alice.gate.snapshot()["pending_out"] == 0)
        assert (await alice.dial(bob.peer_id, bob.addresses)).peer == bob.peer_id


@pytest.mark.parametrize("limit", ["connections", "outbound"])
async def test_the_limit_of_connections(limit: str) -> None:
    async with alone(limits=Limits(**{limit: 1})) as alice, swarm(2) as bob, swarm(3) as carol:
        connection = await alice.dial(bob.peer_id, bob.addresses)
        with pytest.raises(LimitExceeded) as caught:
            await alice.dial(carol.peer_id, carol.addresses)
        assert caught.value.limit == limit
        await connection.close()
        await alice.dial(carol.peer_id, carol.addresses)


async def test_the_limit_is_reached_while_we_dial() -> None:
    """Both are let off; the second finds the place taken when its handshake is over, and says why it goes."""
    async with alone(limits=Limits(connections=1)) as alice, swarm(2) as bob, swarm(3) as carol:
        ended = Events(carol), Events(bob)
        results = await asyncio.gather(
            alice.dial(bob.peer_id, bob.addresses), alice.dial(carol.peer_id, carol.addresses), return_exceptions=True
        )
        (error,) = [result for result in results if isinstance(result, Exception)]
        assert isinstance(error, LimitExceeded)
        await until(lambda: any(events.of(Ended) for events in ended))
        (told,) = [event for events in ended for event in events.of(Ended)]
        assert told.error.code == GoAway.RESOURCE_LIMIT
        assert len(alice.connections()) == 1


@pytest.mark.parametrize("after", range(5))
async def test_a_ban_while_a_dial_begins(after: int) -> None:
    """Whatever has begun by then, the cause is told."""
    async with alone() as alice, swarm(2) as bob:
        task = asyncio.ensure_future(alice.dial(bob.peer_id, bob.addresses))
        await turns(after)
        alice.firewall.ban(bob.peer_id)
        with pytest.raises(DialError, match="our own firewall keeps us from"):
            await task


@pytest.mark.parametrize("whom", ["peer", "subnet", "rule"])
async def test_a_ban_ends_dials_at_once(whom: str) -> None:
    """Hostile row 77: what waits for a banned peer fails within 100 ms."""
    async with alone() as alice, black_holes(2) as holes, deaf() as (silent,):
        task = asyncio.ensure_future(alice.dial(STRANGER, [*holes, silent, *holes]))
        other = asyncio.ensure_future(alice.dial(identity(8).peer_id, [silent]))
        await asyncio.sleep(1)
        began = now()
        if whom == "peer":
            alice.firewall.ban(STRANGER)
        elif whom == "subnet":
            for place in ("127.0.0.2", "127.0.0.3"):
                alice.firewall.ban(place)
            assert not task.done()
            alice.firewall.ban("127.0.0.0/8")
        else:
            alice.firewall.set(Rule.REJECT, peer=STRANGER, protocol="connection", direction="out")
        with pytest.raises(DialError) as caught:
            await task
        assert now() - began < 0.1
        assert {str(error).partition(" keeps")[0] for error in caught.value.attempts.values()} == {"our own firewall"}
        if whom == "subnet":
            with pytest.raises(DialError):
                await other
            with pytest.raises(DialError, match="firewall"):
                await alice.dial(None, holes)  # whoever is there
        assert other.done() == (whom == "subnet")
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        assert alice.gate.snapshot()["pending_out"] == 0


async def test_a_peer_whose_name_we_learn_too_late() -> None:
    async with alone() as alice, swarm(2) as bob:
        others = Events(bob)
        alice.firewall.set(Rule.REJECT, peer=bob.peer_id, protocol="connection", direction="out")
        with pytest.raises(ConnectionClosed, match="firewall"):
            await alice.dial(None, bob.addresses)
        await until(lambda: others.of(Ended))
        assert others.of(Ended)[0].error.code == GoAway.GATED


# ---------------------------------------------------------------------- closing


async def test_close_ends_dials_of_every_kind() -> None:
    async with alone() as alice, black_holes(2) as holes, deaf() as (silent,):
        tasks = [
            asyncio.ensure_future(alice.dial(STRANGER, holes)),
            asyncio.ensure_future(alice.dial(STRANGER, holes)),
            asyncio.ensure_future(alice.dial(None, holes)),
            asyncio.ensure_future(alice.dial(identity(8).peer_id, [silent])),
        ]
        await asyncio.sleep(1)
        began = now()
        await alice.close()
        assert now() - began < 0.5
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {ConnectionClosed}
        who = [result.peer for result in results]  # type: ignore[union-attr]
        assert who == [STRANGER, STRANGER, None, identity(8).peer_id]
        with pytest.raises(errors.UsageError):
            await alice.dial(None, holes)
