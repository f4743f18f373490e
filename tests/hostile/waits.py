"""How long each of ``Timeouts`` takes to come, measured in virtual time: one scene for each field, found by its name.

A scene is played by alice, who has the timeouts in question, with bob, who has none. What is measured is seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p import AcceptFailed, Connection, Dns, Ended, Event, Network, P2PError, Rule, Timeouts
from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.transport.busy_poll import PollingWire
from tests import inside
from tests.peers import LOOPBACK, mirror, network, never, now
from tests.virtual import VirtualLoop

BASE: dict[str, float] = {
    "request": 97.0,
    "ask": 53.0,
    "dial": 47.0,
    "resolve": 31.0,
    "connect": 37.0,
    "upgrade": 71.0,
    "negotiate": 61.0,
    "identify": 29.0,
    "idle": 509.0,
    "keepalive": 211.0,
    "keepalive_answer": 43.0,
    "write_stall": 23.0,
    "close": 17.0,
    "busy_poll": 50e-6,
}
"""Each is another one, and none comes before the one that a scene is about."""

NEVER = Timeouts(**dict.fromkeys(BASE))
Scene = Callable[[Timeouts], Coroutine[Any, Any, float]]
SCENES: dict[str, Scene] = {}
LONGER = 1.25
TOLERANCE = 0.05  # a timer looks when something may be due, and rounds


def longer(*names: str) -> Timeouts:
    """These are a quarter longer."""
    return Timeouts(**{name: value * (LONGER if name in names else 1.0) for name, value in BASE.items()})


def measured(name: str, timeouts: Timeouts) -> str:
    """``"base"`` or ``"longer"``, or what it took instead of these."""

    async def limited() -> float:
        async with asyncio.timeout(10 * BASE[name] + 100):
            return await SCENES[name](timeouts)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        try:
            took = runner.run(limited())
        except TimeoutError:
            return "never"
    for word, factor in (("base", 1.0), ("longer", LONGER)):
        if abs(took / BASE[name] - factor) <= TOLERANCE:
            return word
    return f"{took:.1f} s"


def scene(measure: Scene) -> Scene:
    SCENES[measure.__name__] = measure
    return measure


async def seconds(calling: Awaitable[object]) -> float:
    """Until it fails."""
    begin = now()
    with contextlib.suppress(P2PError):
        await calling
        return -1.0
    return now() - begin


@asynccontextmanager
async def pair(timeouts: Timeouts) -> AsyncIterator[tuple[Network, Network, Connection]]:
    """Alice has dialed bob, and they have told each other who they are."""
    async with network(never, timeouts=NEVER) as bob, Network(listen=[LOOPBACK], timeouts=timeouts) as alice:
        connection = await alice.connect(bob.addresses[0])
        await asyncio.sleep(0.5)
        try:
            yield alice, bob, connection
        finally:
            for one in (*alice.connections(), *bob.connections()):
                inside.live(one).abort()


def deaf(bob: Network) -> None:
    """Bob reads no more."""
    (connection,) = bob.connections()
    inside.wire(connection).transport.pause_reading()


def pinged(bob: Network, *, answers: bool) -> asyncio.Future[float]:
    """When bob is pinged for the first time."""
    (connection,) = bob.connections()
    first, session = asyncio.get_running_loop().create_future(), inside.session(connection)
    answer = session.pinged

    def noted(value: int) -> None:
        if not first.done():
            first.set_result(now())
        if answers:
            answer(value)

    session.pinged = noted  # type: ignore[method-assign]
    return first


@contextmanager
def silent() -> Iterator[Multiaddr]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield from_socket(server.getsockname())


async def happens(one: Network, kind: type[Event] = Ended) -> float:
    """When this event comes."""
    end: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    one.on_event(lambda event: end.set_result(now()) if isinstance(event, kind) and not end.done() else None)
    return await end


@scene
async def request(timeouts: Timeouts) -> float:
    async with pair(timeouts) as (alice, bob, _):
        return await seconds(alice.request(bob.peer_id, "hang"))


@scene
async def ask(timeouts: Timeouts) -> float:
    async with pair(timeouts) as (alice, bob, _):
        alice.on_request(mirror)
        alice.firewall.set(Rule.ASK)
        alice.firewall.on_ask(never)
        return await seconds(bob.request(alice.peer_id, "hi"))


@scene
async def dial(timeouts: Timeouts) -> float:
    async with Network(timeouts=timeouts) as alice:
        with silent() as address:
            return await seconds(alice.connect(address, timeout=None))


@scene
async def resolve(timeouts: Timeouts) -> float:
    """Its nameserver says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        dns = Dns(nameservers=[f"127.0.0.1:{sock.getsockname()[1]}"])
        async with Network(timeouts=timeouts, dns=dns) as alice:
            return await seconds(alice._swarm.resolver.resolve(parse("/dns/a.example/tcp/1"), peer=None))


@scene
async def connect(timeouts: Timeouts) -> float:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        for _ in range(4):  # its backlog is full: no SYN is answered
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        async with Network(timeouts=timeouts) as alice:
            return await seconds(alice.connect(from_socket(server.getsockname()), timeout=None))


@scene
async def upgrade(timeouts: Timeouts) -> float:
    async with Network(listen=[LOOPBACK], timeouts=timeouts) as alice:
        begin, port = now(), int(str(alice.addresses[0]).split("/")[4])
        with socket.create_connection(("127.0.0.1", port)):
            return await happens(alice, AcceptFailed) - begin


@scene
async def negotiate(timeouts: Timeouts) -> float:
    async with pair(timeouts) as (alice, bob, _):
        deaf(bob)
        stream = await alice.open_stream(bob.peer_id, "/one/1")
        return await seconds(stream.read())


@scene
async def identify(timeouts: Timeouts) -> float:
    async with pair(timeouts) as (alice, bob, _):
        deaf(bob)
        return await seconds(alice.identify(bob.peer_id, timeout=None))


@scene
async def idle(timeouts: Timeouts) -> float:
    async with pair(timeouts) as (alice, _, _):
        begin = now()
        return await happens(alice) - begin


@scene
async def keepalive(timeouts: Timeouts) -> float:
    async with pair(timeouts) as (_, bob, _):
        begin = now()
        return await pinged(bob, answers=True) - begin


@scene
async def keepalive_answer(timeouts: Timeouts) -> float:
    async with pair(timeouts) as (alice, bob, _):
        begin = await pinged(bob, answers=False)
        return await happens(alice) - begin


@scene
async def write_stall(timeouts: Timeouts) -> float:
    async with pair(timeouts) as (alice, bob, connection):
        wire = inside.wire(connection)
        wire.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        deaf(bob)
        streams = [await alice.open_stream(bob.peer_id, "/much/1") for _ in range(48)]
        writing = [asyncio.ensure_future(stream.write(bytes(250_000))) for stream in streams]
        while not wire.congested:
            await asyncio.sleep(0.01)
        left = -1
        while left != wire.unsent:  # what the kernels still pass on, in time of their own, is no stall
            left = wire.unsent
            time.sleep(0.05)  # noqa: ASYNC251 (not virtual)
        inside.muxer(connection)._stall()
        begin = now()
        took = await happens(alice) - begin
        await asyncio.gather(*writing, return_exceptions=True)
        return took


@scene
async def busy_poll(timeouts: Timeouts) -> float:
    """No wait of virtual time: where it is looked at."""
    async with pair(timeouts) as (_, _, connection):
        wire = inside.wire(connection)
        return wire._patience if isinstance(wire, PollingWire) else 0.0


@scene
async def close(timeouts: Timeouts) -> float:
    release = asyncio.Event()
    async with Network(timeouts=NEVER) as bob:

        async def stubborn(_: Any) -> None:
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()

        async with network(stubborn, timeouts=timeouts) as alice:
            asking = asyncio.ensure_future(bob.request(alice.addresses[0], "hang", timeout=None))
            while not alice.stats()["requests_in"]:
                await asyncio.sleep(0.01)
            begin = now()
        took = now() - begin
        release.set()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(0.1)
    return took
