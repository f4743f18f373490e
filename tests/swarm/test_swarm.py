"""A whole swarm: its end at any moment, bans, events, several side by side. Virtual time where time matters."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Any
from unittest.mock import MagicMock

import pytest

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConnectionClosed, DialError, StreamReset, UnsupportedProtocol
from stronghold_p2p.events.events import Ended, Opened
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD
from stronghold_p2p.request_response.server import Server as Responder
from stronghold_p2p.streams.live import LiveStream
from tests.peers import ECHO, ask, connect, echo, never, now, stubborn, swarm, swarms, until
from tests.swarm.raw import Events, dial_raw, raw_in
from tests.transport.ends import identity
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

# ---------------------------------------------------------------------- the end


@pytest.mark.tcp
async def test_a_handler_that_does_not_end_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async with swarm(1, timeouts=Timeouts(close=0.5)) as alice, raw_in(alice) as (raw, _):
        alice.handle(ECHO, stubborn)
        await raw.open(1, ECHO)
        await raw.body(1, 33)
        began = now()
        await alice.close()
        assert now() - began == pytest.approx(0.5, abs=0.1)
        assert "closing took longer" in caplog.text
        await asyncio.sleep(2)
    caplog.clear()


async def test_peers_that_end_in_every_way(wiring: str) -> None:
    """Hostile row 105 in small: all counts are back where they were."""
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(ECHO, echo)
        events = Events(alice)
        for round_ in range(30):
            end = ("close", "abort", "rst", "ban", "cancel", "other side")[round_ % 6]
            if end == "rst" and wiring == "tcp":
                raw = await dial_raw(alice)
                await until(lambda: alice.connections())
                raw.bare.reset()
            else:
                connection = await connect(bob, alice)
                assert await ask(connection) == b"hello"
                await until(lambda: alice.connections())
                if end == "close":
                    await connection.close()
                elif end == "abort":
                    connection.abort()
                elif end == "ban":
                    alice.firewall.ban(bob.peer_id)
                    alice.firewall.unban(bob.peer_id)
                elif end == "cancel":
                    task = asyncio.ensure_future(ask(connection))
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    await connection.close()
                else:
                    await alice.connections()[0].close()
            await until(lambda: not alice.connections() and not bob.connections())
        assert len(events.of(Opened)) == len(events.of(Ended)) == 30
        assert [event.connection for event in events.of(Opened)] == [event.connection for event in events.of(Ended)]
        assert not any(alice.gate.snapshot().values())
        assert not any(bob.gate.snapshot().values())
        assert alice.gatekeeper.remembered == {"in": {}, "out": {}}
        events.all.clear()


# ---------------------------------------------------------------------- the firewall and connections


@pytest.mark.parametrize("whom", ["peer", "subnet", "rule"])
async def test_a_ban_ends_connections(whom: str) -> None:
    """Hostile row 77."""
    async with swarm(1) as alice, swarm(2) as bob, swarm(3) as carol:
        alice.handle(ECHO, never)
        connection, other = await connect(bob, alice), await connect(carol, alice)
        waiting = asyncio.ensure_future(ask(connection))
        await until(lambda: alice.connections(bob.peer_id) and alice.connections(bob.peer_id)[0].handlers.tasks)
        events = Events(alice)
        if whom == "peer":
            alice.firewall.ban(bob.peer_id)
        elif whom == "subnet":
            alice.firewall.ban("127.0.0.1")
        else:
            alice.firewall.set(Rule.REJECT, peer=bob.peer_id, protocol="connection")
        with pytest.raises(ConnectionClosed) as caught:
            await waiting
        assert (caught.value.code, caught.value.remote) == (GoAway.GATED, True)
        assert alice.connections(bob.peer_id) == ()
        assert "firewall" in str(events.of(Ended)[0].error)
        if whom == "subnet":
            await until(lambda: other.closed)
            assert isinstance(other.error, ConnectionClosed)
            assert other.error.code == GoAway.GATED
        assert other.closed == (whom == "subnet")


@pytest.mark.parametrize("where", ["asked", "without a rule", "answered", "reading"])
@pytest.mark.parametrize("who", ["responder", "requester"])
async def test_what_waits_fails_at_once_when_a_peer_is_banned(where: str, who: str) -> None:
    """Hostile row 77: all within 100 ms, wherever the request is, and no handler or hook of it is left."""
    rule = {"asked": Rule.ASK, "without a rule": None}.get(where, Rule.ALLOW)
    ended: list[str] = []
    async with swarm(1, rule) as alice, swarm(2) as bob:

        async def hang(given: Any) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(where)

        alice.firewall.on_ask(hang)
        if rule is None:
            alice.firewall.on_no_rule(hang)
        server, client = Responder(alice), Client(bob)
        server.serve(STRONGHOLD, hang)
        connection = await connect(bob, alice)
        if where == "reading":
            stream = await connection.open_stream(STRONGHOLD.ids[0])
            await stream.write(b"\x05ab")
            waiting = asyncio.ensure_future(stream.read())
        else:
            request = client.request(alice.peer_id, (), "Ping", STRONGHOLD, timeout=None)
            waiting = asyncio.ensure_future(request)
        await until(lambda: server.places.total)
        await asyncio.sleep(0.1)
        began = now()
        if who == "responder":
            alice.firewall.ban(bob.peer_id)
        else:
            bob.firewall.ban(alice.peer_id)
        with pytest.raises(ConnectionClosed) as caught:
            await waiting
        assert caught.value.code == GoAway.GATED
        assert now() - began < 0.1
        await until(lambda: not server.places.total and not alice.approval.hooks)
        assert ended == ([] if where == "reading" else [where])
        assert (alice.connections(), bob.connections()) == ((), ())
        with pytest.raises((ConnectionClosed, DialError)):
            await client.request(alice.peer_id, alice.addresses, "Ping", STRONGHOLD, timeout=5)


async def test_other_rules_leave_connections_alone_and_end_streams() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        for name in (ECHO, "/other/1"):
            alice.handle(name, echo)
            bob.handle(name, echo)
        connection = await connect(bob, alice)
        streams = [await connection.open_stream(name) for name in (ECHO, "/other/1")]
        (hers,) = alice.connections()
        streams.append(await hers.open_stream(ECHO))
        for stream in streams:
            await stream.write(b"x")
            assert await stream.readexactly(1) == b"x"
        rejected, other, opened_by_alice = streams
        alice.firewall.set(Rule.ASK, peer=bob.peer_id)  # they were let in before
        alice.firewall.set(Rule.REJECT, direction="out")
        alice.firewall.set(Rule.REJECT, peer=bob.peer_id, protocol=ECHO)
        with pytest.raises(StreamReset) as caught:
            await rejected.read()
        assert caught.value.code == Reset.GATED
        assert not connection.closed
        for stream in (other, opened_by_alice):
            await stream.write(b"y")
            assert await stream.readexactly(1) == b"y"
        with pytest.raises(UnsupportedProtocol):
            await ask(connection)
        alice.firewall.remove(peer=bob.peer_id)
        alice.firewall.remove()  # no rule is left for the other one
        with pytest.raises(StreamReset):
            await other.read()
        opened_by_alice.close()


async def test_a_rule_that_looks_is_asked_about_open_streams() -> None:
    welcome = True
    async with swarms(echo, rule=Rule.when(lambda attempt: welcome)) as (_, alice, connection):
        stream = await connection.open_stream(ECHO)
        for _ in range(2):
            await stream.write(b"x")
            assert await stream.readexactly(1) == b"x"
            alice.firewall.set(Rule.REJECT, protocol="/other/1")
        welcome = False
        alice.firewall.set(Rule.ALLOW, peer=identity(9).peer_id)  # that is no matter of this one
        await stream.write(b"x")
        assert await stream.readexactly(1) == b"x"
        alice.firewall.set(Rule.ALLOW, protocol="/other/1")
        with pytest.raises(StreamReset):
            await stream.read()


async def test_a_handler_that_is_due_when_rules_change_does_not_start() -> None:
    """A handler of the same turn may have changed them (from Python 3.12 on, when tasks begin at once)."""
    started: list[str] = []
    async with swarms() as (_, alice, dialed):
        (connection,) = alice.connections()

        async def handler(stream: LiveStream) -> None:
            started.append(stream.protocol)
            await stream.read_to_end()

        alice.handle(ECHO, handler)
        stream = MagicMock(protocol=ECHO, connection=connection, intake=None)
        connection.handlers.start(stream)
        alice.firewall.set(Rule.REJECT, protocol=ECHO)
        await asyncio.sleep(0)
        stream.reset.assert_called_once_with(Reset.GATED)
        assert (connection.handlers.tasks, connection.handlers._due) == ({}, set())
        alice.firewall.set(Rule.ALLOW, protocol=ECHO)
        await dialed.open_stream(ECHO)
        await until(lambda: started == [ECHO])
        stream.reset_mock()


async def test_streams_that_are_negotiated_or_asked_about_are_not_touched() -> None:
    async with swarms(echo, rule=Rule.ASK) as (_, alice, connection):
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        @alice.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            return await asked

        waiting = await connection.open_stream(ECHO)
        await waiting.write(b"x")
        await until(lambda: alice.approval.hooks)
        alice.firewall.set(Rule.REJECT)
        with pytest.raises(UnsupportedProtocol):  # told as it is always told
            await waiting.read()
        waiting.reset()


# ---------------------------------------------------------------------- events, several swarms


async def test_several_swarms_share_a_loop_and_nothing_else() -> None:
    async with swarm(1) as alice, swarm(2) as bob, swarm(3) as carol, swarm(4) as dave:
        pairs = list(permutations([alice, bob, carol, dave], 2))
        for one, _ in pairs:
            one.handle(ECHO, echo)
        connections = await asyncio.gather(*(connect(one, other) for one, other in pairs))
        data = [bytes([n]) * 50_000 for n in range(len(pairs))]
        answers = await asyncio.gather(*(ask(each, sent) for each, sent in zip(connections, data, strict=True)))
        assert answers == data
        await alice.close()
        assert await ask(await connect(bob, carol)) == b"hello"
