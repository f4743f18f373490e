"""The peer contract below ``Network``: a swarm and live streams, which shows what the facade costs.

Every stream is allowed, and a request is written and read by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter

from harness.contract import ECHO, LIFTED, RR, WRONG, answer, answer_echo, timeouts
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.protocols import perf
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.protocols.ping import Ping
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.stream import Stream
from stronghold_p2p.swarm.swarm import Swarm


def of_face(handler: Callable[[Stream], Awaitable[None]]) -> Callable[[LiveStream], Awaitable[None]]:
    """A handler for users' streams as the swarm calls it."""
    return lambda live: handler(Stream(live))


@asynccontextmanager
async def running(limits: Limits, timeouts: Timeouts) -> AsyncIterator[Swarm]:
    """A swarm that serves the contract's protocols, and listens nowhere yet."""
    firewall = Firewall()
    firewall.set(Rule.ALLOW)
    swarm = Swarm(Identity(), firewall=firewall, limits=limits, timeouts=timeouts)
    Identify(swarm, "stronghold-p2p/bench")
    Ping(swarm)
    swarm.start()
    for protocol, handler in ((perf.PERF, perf.serve), (RR, answer), (ECHO, answer_echo)):
        swarm.handle(protocol, of_face(handler))
    try:
        yield swarm
    finally:
        await swarm.close()


@asynccontextmanager
async def serving(options: argparse.Namespace, address: str) -> AsyncIterator[str]:
    """A server of the contract; its address."""
    async with running(LIFTED, timeouts(options)) as swarm:
        listener = await swarm.listen(parse(address))
        yield f"{listener.addresses[0]}/p2p/{swarm.peer_id}"


class SwarmClient:
    """A fresh swarm and, once it is connected, the connection to the server."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm

    async def connect(self, addr: str) -> None:
        address, peer = split_peer(parse(addr))
        self._connection: LiveConnection = await self._swarm.dial(peer, [address])

    async def open(self, protocol: str) -> LiveStream:
        return await self._connection.open_stream(protocol)

    async def ask(self, body: bytes) -> float:
        start = perf_counter()
        async with await self._connection.open_stream(RR) as stream:
            await stream.write(body)
            stream.finish()
            if await stream.read_to_end() != body:
                raise SystemExit(WRONG)
        return (perf_counter() - start) * 1e3


@asynccontextmanager
async def calling(options: argparse.Namespace) -> AsyncIterator[SwarmClient]:
    async with running(LIFTED, timeouts(options)) as swarm:
        yield SwarmClient(swarm)
