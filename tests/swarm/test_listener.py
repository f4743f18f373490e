"""Accepting: limits before any cryptography, one deadline, a listener that survives everything. Virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest

from stronghold_p2p import errors
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import DialError, LimitExceeded, ListenError, UsageError
from stronghold_p2p.events.events import AcceptFailed, AddressAdded, AddressRemoved, ListenerEnded, Opened
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.limits import gate
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport import tcp
from stronghold_p2p.transport.shared_port import PortListener
from tests.peers import ECHO, ask, connect, echo, swarm, until
from tests.swarm.raw import Events, Raw, bare_to, dial_raw, shake
from tests.transport.ends import identity, upgrade
from tests.transport.wire import Bare
from tests.virtual import VIRTUAL, eventually

LOOPS = VIRTUAL


@asynccontextmanager
async def sockets(target: Swarm, number: int) -> AsyncIterator[list[Bare]]:
    """Connections on which nobody says anything."""
    bares = [await bare_to(target.addresses[0]) for _ in range(number)]
    try:
        yield bares
    finally:
        for bare in bares:
            bare.close()


async def twenty(target: Swarm) -> list[Raw]:
    """Twenty peers by hand, as far as they are let in."""
    raws = []
    for seed in range(10, 30):
        with contextlib.suppress(ConnectionError):
            raws.append(await dial_raw(target, seed))
    return raws


async def still_serves(target: Swarm) -> None:
    """What holds in every row: the listener accepts, and its service answers."""
    target.handle(ECHO, echo)
    async with swarm(200) as friend:
        connection = await connect(friend, target)
        assert await ask(connection) == b"hello"


# ---------------------------------------------------------------------- addresses


async def test_several_listeners() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        events = Events(alice)
        second = await alice.listen(parse("/ip6/::1/tcp/0"))
        third = await alice.listen(parse("/ip4/127.0.0.5/tcp/0"))
        assert [event.address for event in events.of(AddressAdded)] == [*second.addresses, *third.addresses]
        assert len(alice.addresses) == 3
        for address in alice.addresses:
            connection = await bob.dial(None, [address])
            assert connection.peer == alice.peer_id
            await connection.close()
        kept = await bob.dial(None, third.addresses)
        await third.face.close()
        await third.face.close()
        assert [(event.addresses, event.error) for event in events.of(ListenerEnded)] == [(third.addresses, None)]
        assert [event.address for event in events.of(AddressRemoved)] == list(third.addresses)
        assert third not in alice.listeners.all
        assert not kept.closed
        with pytest.raises(DialError):
            await bob.dial(identity(7).peer_id, third.addresses)


async def test_a_listener_that_the_system_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows' other loop does: it closes the listening socket when accepting fails."""
    async with swarm(1) as alice:
        events, (listener,) = Events(alice), alice.listeners.all
        (place,) = listener.addresses
        accepting = listener._accepting
        assert isinstance(accepting, PortListener)
        listening = accepting.port.listening
        assert isinstance(listening, tcp.TcpListener)
        assert listening._server is not None
        listening._server.close()
        (ended,) = events.of(ListenerEnded)
        assert ended.addresses == (place,)
        assert isinstance(ended.error, ListenError)
        assert ended.error.address == str(place)
        assert [event.address for event in events.of(AddressRemoved)] == [place]
        assert alice.listeners.all == []
        await alice.listen(place)  # it is free again
        await still_serves(alice)
        events.all.clear()
        del ended, listener, listening


async def test_d10_an_error_while_accepting_leaves_the_listener_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the listener is taken from the list and goes on: nobody can stop it any more."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    accept, failures = tcp._AcceptSocket.accept, [OSError(errno.EMFILE, "too many"), OSError(errno.EPROTO, "odd")]

    def failing(self: tcp._AcceptSocket) -> tuple[socket.socket, Any]:
        if failures:
            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "accept", Mock(side_effect=failures.pop()))
                return accept(self)
        return accept(self)

    monkeypatch.setattr(tcp._AcceptSocket, "accept", failing)
    async with swarm(1) as alice, swarm(2) as bob:
        events, (listener,) = Events(alice), alice.listeners.all
        connection = await bob.dial(alice.peer_id, alice.addresses)  # it is accepted when the errors are over
        told = events.of(AcceptFailed)
        assert [(event.remote, event.local, type(event.error)) for event in told] == [
            (None, listener.addresses[0], ListenError)
        ] * 2
        assert len(said) == 2  # asyncio's own, once for each
        assert alice.listeners.all == [listener]
        assert not connection.closed
        await listener.face.close()
        assert alice.listeners.all == []
        assert [event.addresses for event in events.of(ListenerEnded)] == [listener.addresses]
        with pytest.raises(DialError):
            await bob.dial(identity(7).peer_id, listener.addresses)
    said.clear()  # the loop keeps it, and it names the socket


# ---------------------------------------------------------------------- before the handshake


async def test_a_socket_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 5: getpeername fails."""
    async with swarm(1) as alice:
        events = Events(alice)
        monkeypatch.setattr(tcp, "_ends", lambda _transport: None)
        async with sockets(alice, 3) as bares:
            assert [await bare.rest() for bare in bares] == [b"", b"", b""]
        monkeypatch.undo()
        assert events.all == []
        assert alice.gate.snapshot()["pending_in"] == 0
        await still_serves(alice)


async def test_the_oldest_gives_way() -> None:
    async with swarm(1, limits=Limits(pending_in=3)) as alice, sockets(alice, 3) as (first, second, third):
        await until(lambda: len(alice.listeners.pending) == 3)
        async with swarm(2) as bob:
            await connect(bob, alice)
            assert await first.rest() == b""
            assert len(alice.listeners.pending) == 2
        async with sockets(alice, 2):
            assert await second.rest() == b""
            await third.send(b"\x13/multistream/1.0.0\n")
            assert len(alice.listeners.pending) == 3
        await until(lambda: len(alice.listeners.pending) == 1)


async def test_the_one_that_gave_way_has_finished_its_handshake_meanwhile() -> None:
    """Its connection stays; only who still waits gives way."""
    async with swarm(1, limits=Limits(pending_in=1)) as alice:
        raw = await dial_raw(alice)
        await until(lambda: alice.connections())
        async with sockets(alice, 2) as (first, _):
            assert await first.rest() == b""
        assert len(alice.connections()) == 1
        raw.close()


@pytest.mark.parametrize(
    ("limit", "limits", "number", "refused"),
    [
        ("pending_per_ip", Limits(pending_in=32, accept_rate=None), 6, 2),
        ("accept_rate", Limits(pending_in=None), 100, 84),
    ],
)
async def test_the_limits_of_one_address(
    limit: str, limits: Limits, number: int, refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile row 2: beyond them they are closed at once, without any cryptography."""
    monkeypatch.setattr(gate, "PENDING_PER_IP", 4)
    async with swarm(1, limits=limits) as alice:
        alice.gate._exempt_loopback = False
        events = Events(alice)
        async with sockets(alice, number) as bares:
            await until(lambda: len(events.all) == refused)
            assert {event.error.limit for event in events.all} == {limit}
            assert len(alice.listeners.pending) == number - refused
            assert await bares[-1].rest() == b""
        await asyncio.sleep(1.1)  # five more, where the rate is the limit
        async with sockets(alice, 6):
            await until(lambda: len(events.of(AcceptFailed)) > number)
            assert events.all[-1].error.limit == limit
        await until(lambda: alice.listeners.pending == {})


@pytest.mark.parametrize("subnet", ["127.0.0.0/8", "127.0.0.1"])
async def test_a_banned_address_is_closed_at_once(subnet: str) -> None:
    """It gets neither a place nor a handshake; whoever is there already goes on as the rules say."""
    async with swarm(1) as alice:
        events = Events(alice)
        async with sockets(alice, 1) as (early,):
            await until(lambda: alice.listeners.pending)
            alice.firewall.ban(subnet)
            async with sockets(alice, 20) as bares:
                assert [await bare.rest() for bare in bares] == [b""] * 20
                assert len(alice.listeners.pending) == 1
            told = events.of(AcceptFailed)
            assert len(told) == len(events.all) == 20
            assert {type(event.error) for event in told} == {errors.ConnectionClosed}
            assert {(event.error.code, event.error.peer, event.remote) for event in told} == {
                (GoAway.GATED, None, "127.0.0.1")
            }
            assert "keeps 127.0.0.1 out" in str(told[0].error)
            alice.firewall.unban(subnet)
            alice.firewall.ban("10.0.0.0/8")
            await still_serves(alice)
            early.close()
        await until(lambda: alice.listeners.pending == {})
        events.all.clear()


# ---------------------------------------------------------------------- after the handshake


@pytest.mark.parametrize("early", [True, False])
async def test_the_limit_of_one_peer(early: bool) -> None:
    """Hostile row 3: who is too many learns it inside the secure channel, whatever he is saying."""
    async with swarm(1, limits=Limits(per_peer=2)) as alice:
        events = Events(alice)
        raws = [await dial_raw(alice, early=early) for _ in range(2)]
        await until(lambda: len(alice.connections()) == 2)
        third = await dial_raw(alice, early=early)
        with contextlib.suppress(ConnectionError):
            for number in range(1, 9, 2):
                await third.open(number, ECHO, bytes(1_000))
        assert await third.gone() == GoAway.RESOURCE_LIMIT
        third.close()
        await until(lambda: events.of(AcceptFailed))
        (failed,) = events.of(AcceptFailed)
        assert isinstance(failed.error, LimitExceeded)
        assert failed.error.limit == "per_peer"
        assert len(alice.connections()) == len(events.of(Opened)) == 2
        raws[0].close()
        await until(lambda: len(alice.connections()) == 1)
        raws.append(await dial_raw(alice, early=early))
        await until(lambda: len(alice.connections()) == 2)
        for raw in raws:
            raw.close()


@pytest.mark.parametrize(
    ("hosts", "kept", "places"),
    [
        (["192.0.2.1"], 8, 1),
        (["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"], 8, 1),
        ([f"2001:db8:7:{number:02x}::1" for number in range(20)], 8, 2),
        ([f"2001:db8:7:{number}00::1" for number in range(3)], 20, 4),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.2"], 16, 2),
    ],
)
async def test_where_connections_come_from(
    hosts: list[str], kept: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile row 3 with addresses that are made up: IPv4 written as IPv6 counts with IPv4; 8 for a /56."""
    sources = itertools.cycle(hosts)
    ends = tcp._ends
    monkeypatch.setattr(tcp, "_ends", lambda transport: (found := ends(transport)) and (*found[:2], next(sources)))
    async with swarm(1, limits=Limits(accept_rate=None, pending_in=None)) as alice:
        events = Events(alice)
        raws = await twenty(alice)
        await eventually(lambda: len(alice.connections()) + len(events.of(AcceptFailed)) == 20)
        assert len(alice.connections()) == kept
        assert [event.error.limit for event in events.of(AcceptFailed)] == ["per_subnet"] * (20 - kept)
        await until(lambda: not alice.listeners.pending)
        assert (alice.gate.snapshot()["inbound"], alice.gate.snapshot()["places"]) == (kept, places)
        for raw in raws:
            raw.close()
        await until(lambda: not any(alice.gate.snapshot().values()))


async def test_a_socket_that_was_accepted_in_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener ends between the acceptance of a socket and its transport: asyncio would lose both."""
    loop = asyncio.get_running_loop()
    transport_for = loop._accept_connection2  # type: ignore[attr-defined]
    async with swarm(1) as alice:
        listener = alice.listeners.all[0]

        def accepted(*arguments: Any, **options: Any) -> Any:
            loop.call_soon(listener.stop)
            return transport_for(*arguments, **options)

        monkeypatch.setattr(loop, "_accept_connection2", accepted)
        connection = await shake(await bare_to(listener.addresses[0]), upgrade(20).outbound(None))
        await until(lambda: alice.connections())  # it had been accepted
        with pytest.raises(errors.DialError):
            await alice.dial(identity(7).peer_id, listener.addresses)
        connection.close()


async def test_turned_away_and_it_stays() -> None:
    async with swarm(1, limits=Limits(per_peer=1)) as alice:
        first, second = await dial_raw(alice), await dial_raw(alice)
        await until(lambda: alice.connections())
        await asyncio.sleep(0.5)
        assert alice.gate.snapshot()["pending_in"] == 1
        assert len(alice.listeners.pending) == 1
        await asyncio.sleep(1)
        assert alice.gate.snapshot()["pending_in"] == 0
        third = await dial_raw(alice)
        await until(lambda: alice.listeners.pending)
        await alice.close()
        for raw in (first, second, third):
            raw.close()


async def test_only_an_allowing_rule_for_connections_lets_in() -> None:
    async with swarm(1) as alice:
        events = Events(alice)
        alice.firewall.ban(identity(9).peer_id)
        for rule in (Rule.ALLOW, Rule.REJECT, Rule.ASK):
            alice.firewall.set(rule, protocol="connection")
            raw = await dial_raw(alice)
            assert await raw.gone() == GoAway.GATED
            raw.close()
            alice.firewall.unban(identity(9).peer_id)
        await until(lambda: len(events.of(AcceptFailed)) == 3)
        assert {type(event.error) for event in events.all} == {errors.ConnectionClosed}
        alice.firewall.set(Rule.ALLOW, protocol="connection", peer=identity(9).peer_id)
        raw = await dial_raw(alice)
        await until(lambda: alice.connections())
        raw.close()


async def test_timeouts_off() -> None:
    """None switches a deadline off, not on."""
    off = Timeouts(upgrade=None, idle=None, keepalive=None, negotiate=None, write_stall=None, dial=None, connect=None)
    async with swarm(1, timeouts=off) as alice, swarm(2, timeouts=off) as bob:
        await still_serves(alice)
        connection = await connect(bob, alice)
        async with sockets(alice, 1):
            await asyncio.sleep(3_600)
            assert len(alice.listeners.pending) == 1
        assert await ask(connection) == b"hello"


def test_a_swarm_that_was_never_started() -> None:
    one = Swarm(Identity(), firewall=Firewall())
    with pytest.raises(UsageError):
        asyncio.run(one.listen(parse("/ip4/127.0.0.1/tcp/0")))
    asyncio.run(one.close())
    with pytest.raises(UsageError):
        asyncio.run(one.dial(None, []))


def test_the_first_transport_that_handles_an_address_gets_it() -> None:
    one, kinds = Swarm(Identity()), ("/quic-v1", "/ws", "/tcp")
    one.transports[:] = [Mock(handles=lambda address, kind=kind: kind in str(address)) for kind in kinds]
    for text, place in {"/ip4/1.2.3.4/udp/1/quic-v1": 0, "/ip4/1.2.3.4/tcp/1/ws": 1, "/ip4/1.2.3.4/tcp/1": 2}.items():
        assert one.transport_for(parse(text)) is one.transports[place]
    assert one.transport_for(parse("/ip4/1.2.3.4/udp/1")) is None
