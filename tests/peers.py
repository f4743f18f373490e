"""Swarms and networks on the loopback interface, what they serve, and how a test waits for them.

Where a test has two of them, they are alice and bob.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stronghold_p2p import Network, Stream
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
ECHO = "/echo/1.0.0"


def now() -> float:
    """The loop's seconds, virtual where its time is."""
    return asyncio.get_running_loop().time()


async def turns(number: int = 5) -> None:
    """Let the loop go round so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], patience: float = 5.0) -> None:
    """Wait for something that no event tells."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.002)


def levels(caplog: pytest.LogCaptureFixture) -> list[int]:
    """The levels of what the library has logged above DEBUG.

    asyncio's own warnings, about slow callbacks, come and go with the machine. The records are dropped, as their
    tracebacks keep everything alive.
    """
    records = [record for record in caplog.records if record.name.startswith("stronghold_p2p")]
    found = [record.levelno for record in records if record.levelno > logging.DEBUG]
    caplog.clear()
    return found


# ---------------------------------------------------------------------- swarms


@asynccontextmanager
async def swarm(
    seed: int, rule: Rule | None = Rule.ALLOW, *, listen: bool = True, **options: Any
) -> AsyncIterator[Swarm]:
    """A swarm that listens, with a key made of ``seed``; ``rule`` is its default."""
    firewall = Firewall()
    if rule is not None:
        firewall.set(rule)
    one = Swarm(Identity.from_seed(bytes([seed]) * 32), firewall=firewall, **options)
    one.start()
    try:
        if listen:
            await one.listen(parse(LOOPBACK))
        yield one
    finally:
        await one.close()


async def connect(one: Swarm, other: Swarm) -> LiveConnection:
    """A new connection from ``one`` to ``other``, which ``other`` has, too."""
    connection = await one.dial(other.peer_id, other.addresses)
    await until(lambda: other.connections(one.peer_id))
    return connection


@asynccontextmanager
async def swarms(
    handler: Handler | None = None, protocol: str = ECHO, rule: Rule | None = Rule.ALLOW, **options: Any
) -> AsyncIterator[tuple[Swarm, Swarm, LiveConnection]]:
    """Alice, Bob, who serves ``protocol``, and the connection that she has to him; ``options`` are his."""
    async with swarm(1) as alice, swarm(2, rule, **options) as bob:
        if handler is not None:
            bob.handle(protocol, handler)
        yield alice, bob, await connect(alice, bob)


async def ask(connection: LiveConnection, data: bytes = b"hello", protocol: str = ECHO) -> bytes:
    """One echoed message on a stream of its own."""
    async with await connection.open_stream(protocol) as stream:
        await stream.write(data)
        stream.finish()
        return await stream.read_to_end(1 << 24)


# ---------------------------------------------------------------------- handlers


async def echo(stream: LiveStream | Stream) -> None:
    """Everything back, until the peer's FIN."""
    while piece := await stream.read():
        await stream.write(piece)


async def swallow(stream: LiveStream) -> None:
    """Read until the peer's FIN."""
    while await stream.read():
        pass


async def never(_given: Any) -> Any:
    """Wait for ever: a handler of streams or requests, or a hook."""
    await asyncio.Event().wait()


async def stubborn(_stream: LiveStream) -> None:
    """Wait, and go on waiting when cancelled, for a while."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(1.5)


def saying(*pieces: bytes, close: bool = True) -> Handler:
    """A handler that writes ``pieces`` and closes, or writes them and stays."""

    async def handler(stream: LiveStream) -> None:
        for piece in pieces:
            await stream.write(piece)
        if not close:
            await stream.read_to_end()
            await asyncio.Event().wait()

    return handler


# ---------------------------------------------------------------------- networks


def network(answer: Callable[[Any], Any] | None = None, rule: Rule | None = Rule.ALLOW, **options: Any) -> Network:
    """A network that listens, lets in by ``rule``, and answers requests with what ``answer`` makes of them."""
    one = Network(listen=[LOOPBACK], **options)
    if rule is not None:
        one.firewall.set(rule)
    if answer is not None:
        one.on_request(answer)
    return one


@asynccontextmanager
async def connected(bob: Network, alice: Network | None = None) -> AsyncIterator[Network]:
    """Open ``bob`` and Alice, who is connected to him."""
    async with bob, alice or Network() as alice:
        await alice.connect(bob.addresses[0])
        yield alice


def mirror(request: Any) -> Any:
    """Answer a request with its own message."""
    return request.message
