"""A connection that is over goes as soon as nobody holds it: by reference counts alone, without the collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from inspect import isawaitable

import pytest

from stronghold_p2p.config import Timeouts
from stronghold_p2p.connection.deadlines import Deadlines
from stronghold_p2p.connection.handlers import Handlers
from stronghold_p2p.connection.live import Connection, LiveConnection
from stronghold_p2p.errors import P2PError
from stronghold_p2p.firewall.limits.gate import Token
from stronghold_p2p.muxing.yamux_muxer import YamuxMuxer
from stronghold_p2p.noise.security import NoiseChannel
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.upgrading import UpgradeRunner
from stronghold_p2p.yamux import Receiver, Session, YamuxStream
from stronghold_p2p.yamux.header import PING, SYN, frame
from tests.peers import ECHO, ask, connect, echo, never, swarm, swarms, until
from tests.swarm.raw import Raw, raw_in, raw_out

# asyncio's transport holds a method of its own: not that.
FREED = (
    *(LiveConnection, Connection, Handlers, Deadlines, LiveStream, Token, UpgradeRunner),
    *(SocketWire, NoiseChannel, YamuxMuxer, YamuxStream, Session, Receiver),
)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def living() -> Counter[str]:
    """How many there are of what a connection has."""
    return Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in FREED)


ENDS: dict[str, Callable[[Swarm, LiveConnection], object]] = {
    "disconnects": lambda _, connection: connection.close(),
    "aborts": lambda _, connection: connection.abort(),
    "fails": lambda _, connection: connection.failed(ZeroDivisionError("a fault of ours")),
    "closes": lambda one, _: one.close(),
    "bans": lambda one, connection: one.firewall.ban(connection.peer),
}


@pytest.mark.parametrize("end", ENDS)
async def test_both_ends_go(end: str, no_collector: None, caplog: pytest.LogCaptureFixture) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(ECHO, echo)
        alice.handle("/never", never)
        before = living()
        connection = await connect(bob, alice)
        ends = [weakref.ref(connection), weakref.ref(alice.connections()[0])]
        assert await ask(connection) == b"hello"
        await connection.open_stream("/never")  # its handler runs until the end
        await until(lambda: alice.connections()[0].handlers.tasks)
        assert living() - before
        ending = ENDS[end](bob, connection)
        if isawaitable(ending):
            await ending
        del connection, ending
        await until(lambda: not any(end() for end in ends))
        await until(lambda: living() == before)
    caplog.clear()


# What the peer says before it leaves; None: nothing, and it stays until the connection was idle for too long.
LAST_WORDS: dict[str, Callable[[Raw], bytes] | None] = {
    "nothing": lambda _: b"",
    "a record that does not open": lambda _: b"\x00\x20" + bytes(32),
    "a frame that may not be": lambda raw: raw.seal(frame(PING, SYN, 3, 0)),
    "half a record": lambda _: b"\x00\x20" + bytes(8),
    "idle": None,
}


@pytest.mark.parametrize("last", LAST_WORDS)
@pytest.mark.parametrize("dialed", [False, True])
async def test_whatever_the_peer_does(last: str, dialed: bool, no_collector: None) -> None:
    says = LAST_WORDS[last]
    async with swarm(1, timeouts=Timeouts(idle=0.1 if says is None else None)) as alice:
        before = living()
        async with (raw_out if dialed else raw_in)(alice) as (raw, connection):
            held = weakref.ref(connection)
            del connection
            if says is not None:
                await raw.bare.send(says(raw))
                raw.bare.finish()
            await until(lambda: not alice.connections())
        del raw
        await until(lambda: held() is None)
        await until(lambda: living() == before)


async def test_it_stays_as_long_as_what_a_call_has_raised(no_collector: None) -> None:
    """The frames of an error that the application keeps are its own; without them nothing stays."""
    async with swarms(never) as (_, alice, connection):
        held = weakref.ref(connection)
        asking = asyncio.ensure_future(ask(connection))
        await until(lambda: alice.connections() and alice.connections()[0].handlers.tasks)
        await connection.close()
        del connection
        await asyncio.wait({asking})
        error = asking.exception()
        assert isinstance(error, P2PError)
        error.__traceback__ = None
        del asking
        await until(lambda: held() is None)


async def test_refused_dials_leave_nothing(no_collector: None) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        alice.firewall.ban(bob.peer_id)
        before = living()
        for _ in range(3):
            with pytest.raises(P2PError):
                await ask(await bob.dial(alice.peer_id, alice.addresses))
        await until(lambda: living() == before)
