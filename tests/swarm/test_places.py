"""Which connection gives its place to another one: a stranger's that is idle, one whose stream ids run out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Limits
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import DialError, LimitExceeded
from stronghold_p2p.events.events import Ended
from stronghold_p2p.swarm.swarm import GIVES_WAY_AFTER, Swarm
from stronghold_p2p.yamux.session import LAST_STREAM_ID, WORN
from tests.inside import session
from tests.peers import ECHO, ask, connect, echo, swarm, until
from tests.swarm.raw import Events
from tests.virtual import VIRTUAL, eventually

LOOPS = VIRTUAL


@asynccontextmanager
async def crowd(alice: Swarm, number: int) -> AsyncIterator[list[Swarm]]:
    """So many strangers, connected to Alice one after the other."""
    async with AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(swarm(10 + n, None, listen=False)) for n in range(number)]
        for one in strangers:
            await connect(one, alice)
        yield strangers


async def test_strangers_have_three_quarters() -> None:
    """Hostile row 142: Alice still dials, and whom she protects gets in."""
    async with swarm(1, limits=Limits(connections=8)) as alice, crowd(alice, 6), swarm(2) as bob, swarm(3) as carol:
        late = Events(bob)
        await bob.dial(alice.peer_id, alice.addresses)
        await until(lambda: late.of(Ended))
        assert late.of(Ended)[0].error.code == GoAway.RESOURCE_LIMIT
        alice.protected.add(bob.peer_id)
        await connect(bob, alice)
        await connect(alice, carol)
        assert len(alice.connections()) == 8


@pytest.mark.parametrize("who", ["a stranger", "we"])
async def test_an_idle_stranger_gives_way(who: str) -> None:
    async with swarm(1, limits=Limits(connections=4)) as alice, crowd(alice, 3) as strangers, swarm(2) as bob:
        alice.handle(ECHO, echo)
        told = Events(strangers[1])
        await strangers[0].connections()[0].open_stream(ECHO)
        alice.protected.add(strangers[2].peer_id)
        async with swarm(3) as carol:
            await connect(alice, carol)
            await asyncio.sleep(GIVES_WAY_AFTER)
            await (connect(bob, alice) if who == "a stranger" else connect(alice, bob))
            await until(lambda: told.of(Ended))
            assert told.of(Ended)[0].error.code == GoAway.GARBAGE_COLLECTED
            assert len(alice.connections()) == 4
            with pytest.raises(LimitExceeded) as caught:  # the others are protected, at work, ours
                alice.gate.dial()
            assert caught.value.limit == "connections"


def wear(connection: LiveConnection, left: int) -> None:
    """So many more streams can be opened."""
    last = LAST_STREAM_ID if connection.direction == "out" else LAST_STREAM_ID - 1
    session(connection)._next_id = last - 2 * (left - 1)


async def test_a_connection_whose_ids_run_out_is_replaced_and_drained() -> None:
    """Hostile row 36."""
    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ECHO, echo)
        worn, events = await connect(alice, bob), Events(bob)
        stream = await worn.open_stream(ECHO)
        await stream.write(b"x")
        assert await stream.readexactly(1) == b"x"
        wear(worn, WORN // 2)
        assert await ask(worn) == b"hello"
        await until(lambda: len(alice.connections()) == 2)
        fresh = await alice.dial(bob.peer_id)
        assert fresh is not worn
        assert fresh is alice.connected(bob.peer_id)
        await asyncio.sleep(5)
        assert not worn.closed
        await stream.write(b"x")
        assert await stream.readexactly(1) == b"x"
        stream.close()
        await eventually(lambda: worn.closed)
        assert await ask(fresh) == b"hello"
        await until(lambda: events.of(Ended))
        assert events.of(Ended)[0].error.code == GoAway.SUPPLANTED
        assert alice.connections() == (fresh,)


async def test_ids_that_run_out_where_there_is_no_fresh_connection() -> None:
    """Bob does not know where Alice listens: he uses it up, and what the peer opens goes on."""
    async with swarm(1) as alice, swarm(2) as bob:
        for one in (alice, bob):
            one.handle(ECHO, echo)
        theirs = await connect(alice, bob)
        (worn,) = bob.connections()
        wear(worn, 2)
        assert [await ask(worn) for _ in range(2)] == [b"hello"] * 2
        with pytest.raises(LimitExceeded, match="connect again"):
            await worn.open_stream(ECHO)
        with pytest.raises(DialError, match="no address"):
            await bob.dial(alice.peer_id)
        assert await ask(theirs) == b"hello"
        bob.book.add(alice.peer_id, alice.addresses[0])
        await eventually(lambda: worn.closed)
        assert [one.direction for one in bob.connections()] == ["out"]
        assert await ask(await bob.dial(alice.peer_id)) == b"hello"


async def test_nobody_looks_for_a_fresh_connection_once_the_worn_one_is_over() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(ECHO, echo)
        await connect(alice, bob)
        (worn,) = bob.connections()
        wear(worn, 2)
        await ask(worn)
        assert worn.replacement is not None
        worn.abort()
        await until(worn.replacement.done)
