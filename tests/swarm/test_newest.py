"""Several connections of one peer: the newest is preferred, the older ones are asked for a sign. Time is virtual."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.events.events import Ended
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.yamux.header import ACK, GO_AWAY, PING, SYN, frame
from tests.peers import ECHO, ask, echo, now, swarm, until
from tests.swarm.raw import Events, Raw, Server, raw_in
from tests.virtual import VIRTUAL, eventually

LOOPS = VIRTUAL


async def lives(raw: Raw) -> None:
    """Answer every ping."""
    while (got := await raw.read()) is not None:
        if got.kind == PING and got.flags & SYN:
            await raw.send(frame(PING, ACK, 0, got.length))


def newest(alice: Swarm, raw: Raw) -> LiveConnection | None:
    return alice.connected(raw.id)


async def test_b02_the_newest_is_preferred_and_a_dead_one_goes_after_keepalive_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.network")
    async with swarm(1) as alice, raw_in(alice) as (_, vanished):
        events, began = Events(alice), now()
        async with raw_in(alice) as (raw, fresh):
            living = asyncio.ensure_future(lives(raw))
            assert newest(alice, raw) is fresh
            assert await alice.dial(raw.id) is fresh
            assert vanished in alice.connections(raw.id)
            await eventually(lambda: vanished.closed)
            assert now() - began == pytest.approx(10, abs=0.5)
            assert "ping" in str(events.of(Ended)[0].error)
            assert alice.connections(raw.id) == (fresh,)
            await asyncio.sleep(100)
            assert not fresh.closed
            await fresh.close()
            await living
    (told,) = [record.getMessage() for record in caplog.records if "further connection" in record.getMessage()]
    assert str(raw.id) in told
    assert str(fresh.remote_address) in told
    caplog.clear()


async def test_b02_an_older_one_that_answers_stays() -> None:
    """As with two replicas that have one key."""
    async with swarm(1) as alice, raw_in(alice) as (one, older), raw_in(alice) as (other, newer):
        living = [asyncio.ensure_future(lives(raw)) for raw in (one, other)]
        await asyncio.sleep(60)
        assert alice.connections(one.id) == (newer, older)
        await newer.close()
        assert newest(alice, one) is older
        await older.close()
        await asyncio.gather(*living)


async def test_b02_by_address_too() -> None:
    with contextlib.closing(Server()) as server:
        async with swarm(1) as alice:
            found: list[Any] = []
            for _ in range(3):
                dialing = asyncio.ensure_future(alice.dialer.dial(None, [server.address]))
                raw = await server.upgrade()
                found.append(await dialing)
            assert await alice.dial(None, [server.address]) is found[-1]
            await found[-1].close()
            assert await alice.dial(None, [server.address]) is found[-2]
            assert await raw.gone() == 0


async def test_b02_dials_that_meet_keep_both_connections() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(ECHO, echo)
        bob.handle(ECHO, echo)
        await asyncio.gather(alice.dial(bob.peer_id, bob.addresses), bob.dial(alice.peer_id, alice.addresses))
        await asyncio.sleep(60)
        for one, other in ((alice, bob), (bob, alice)):
            connection = one.connected(other.peer_id)
            assert connection is not None
            assert await ask(connection) == b"hello"
        assert len(alice.connections()) == len(bob.connections())


async def test_b02_a_replacement_is_no_reason_to_ask_the_worn_one() -> None:
    """It is drained, and says so with its goodbye."""
    async with swarm(1) as alice, raw_in(alice) as (raw, worn):
        worn.worn_out = True
        async with raw_in(alice) as (_, fresh):
            kinds = []
            while (got := await raw.read()) is not None:
                kinds.append(got.kind)
            assert PING not in kinds[:-1]
            assert kinds[-1] == GO_AWAY
            await until(lambda: alice.connections(raw.id) == (fresh,))
