"""Our side of the interoperability tests: a swarm with identify, ping, perf and the protocols of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import P2PError
from stronghold_p2p.events.events import Ended, Event
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.protocols import perf
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.protocols.identify_messages import PeerInfo
from stronghold_p2p.protocols.ping import Ping
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.stream import Stream
from stronghold_p2p.swarm.swarm import Swarm
from tests.interop.names import (
    ECHO,
    HALF_CLOSE,
    HOLD,
    RESET,
    RESET_CODE,
    RR,
    SINK,
    SLOW,
    SLOW_CHUNK,
    SLOW_PAUSE,
    SOURCE,
)
from tests.interop.real_peer import RealPeer, real_peer
from tests.interop.ways import BEHIND, OVER, Over, Role
from tests.peers import until
from tests.support.certificates import certified
from tests.support.driven import Line
from tests.transport.ends import Silent

AGENT = "stronghold-p2p/interop"


@dataclass(frozen=True)
class Served:
    """How a stream that we served has ended: the bytes read, and the error if it was none of the end."""

    protocol: str
    received: int
    error: Exception | None


@dataclass
class OurPeer:
    """A listening swarm and what it saw."""

    swarm: Swarm
    identify: Identify
    ping: Ping
    events: list[Event] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)

    @property
    def peer(self) -> PeerId:
        return self.swarm.peer_id

    @property
    def address(self) -> str:
        """Where we listen, with our peer id."""
        return f"{self.swarm.addresses[0]}/p2p/{self.peer}"

    @property
    def endings(self) -> list[Ended]:
        return [event for event in self.events if isinstance(event, Ended)]

    async def dial(self, address: str) -> LiveConnection:
        bare, peer = split_peer(parse(address))
        return await self.swarm.dial(peer, [bare])

    async def identified(self, peer: PeerId) -> PeerInfo:
        """What the peer has told; waits for it."""
        await until(lambda: self.identify.info(peer) is not None)
        info = self.identify.info(peer)
        assert info is not None
        return info

    def serve(self, protocol: str, handler: Callable[[Stream], Awaitable[int]]) -> None:
        async def serve(stream: LiveStream) -> None:
            received = 0
            try:
                received = await handler(Stream(stream))
            except P2PError as error:
                self.served.append(Served(protocol, received, error))
                raise
            self.served.append(Served(protocol, received, None))

        self.swarm.handle(protocol, serve)

    def serve_no_longer(self, protocol: str) -> None:
        del self.swarm._services[protocol]


async def answer(stream: Stream) -> None:
    await stream.write(await stream.read_to_end(1 << 24))


async def echo(stream: Stream) -> int:
    received = 0
    async for chunk in stream:
        received += len(chunk)
        await stream.write(chunk)
    return received


async def sink(stream: Stream) -> int:
    received = await perf.drain(stream)
    await stream.write(received.to_bytes(8, "big"))
    return received


async def slow(stream: Stream) -> int:
    received = 0
    while chunk := await stream.read(SLOW_CHUNK):
        received += len(chunk)
        await asyncio.sleep(SLOW_PAUSE)
    await stream.write(received.to_bytes(8, "big"))
    return received


async def source(stream: Stream) -> int:
    await perf.send_zeros(stream, int.from_bytes(await stream.readexactly(8), "big"))
    return 8


async def reset(stream: Stream) -> int:
    await stream.readexactly(1)
    stream.reset(RESET_CODE)
    return 1


async def half_close(stream: Stream) -> int:
    await stream.close_write()
    return await perf.drain(stream)


TESTED: dict[str, Callable[[Stream], Awaitable[int]]] = {
    SINK: sink,
    SOURCE: source,
    RESET: reset,
    HALF_CLOSE: half_close,
    HOLD: perf.drain,
    SLOW: slow,
}


@asynccontextmanager
async def our_peer(
    *, limits: Limits | None = None, timeouts: Timeouts | None = None, early_muxer: bool = True, over: Over = OVER
) -> AsyncIterator[OurPeer]:
    """Listens on loopback, and lets everybody in."""
    firewall = Firewall()
    firewall.set(Rule.ALLOW)
    tls = certified() if over == "wss" else None
    swarm = Swarm(Identity(), firewall=firewall, limits=limits, timeouts=timeouts, tls=tls)
    if not early_muxer:
        settings = swarm.upgrader.settings
        swarm.upgrader.settings = replace(settings, securities=tuple(map(Silent, settings.securities)))
    ours = OurPeer(swarm, Identify(swarm, AGENT), Ping(swarm))
    swarm.hub.on_event(ours.events.append)
    swarm.start()
    swarm.handle(perf.PERF, lambda live: perf.serve(Stream(live)))
    swarm.handle(RR, lambda live: answer(Stream(live)))
    ours.serve(ECHO, echo)
    for protocol, handler in TESTED.items():
        ours.serve(protocol, handler)
    try:
        await swarm.listen(parse("/ip4/127.0.0.1/tcp/0" + BEHIND[over]))
        yield ours
    finally:
        await ours.identify.close()
        await swarm.close()
        ours.events.clear()  # or they would keep connections alive


@dataclass
class Pair:
    """Ours and a real one, connected, each with the other's identify message read."""

    role: Role
    ours: OurPeer
    real: RealPeer
    connection: LiveConnection

    async def ask(self, command: str, **arguments: object) -> Line:
        """A command that is about us."""
        return await self.real.call(command, peer=str(self.ours.peer), **arguments)  # type: ignore[arg-type]

    async def open(self, *protocols: str) -> LiveStream:
        return await self.connection.open_stream(*protocols)

    @property
    def streams(self) -> int:
        """How many there are but the one of a peer that pings."""
        return self.connection.streams - self.real.pings

    async def quiet(self) -> None:
        """Wait until no stream is left."""
        await until(lambda: self.streams == 0)


@asynccontextmanager
async def connected(
    program: Path,
    role: Role,
    *options: str,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    early_muxer: bool = True,
    may_say: tuple[str, ...] = (),
    over: Over = OVER,
) -> AsyncIterator[Pair]:
    """One connection between the two, dialed by the one that ``role`` names; theirs leaves first."""
    async with (
        our_peer(limits=limits, timeouts=timeouts, early_muxer=early_muxer, over=over) as ours,
        real_peer(program, *options, may_say=may_say, over=over) as real,
    ):
        if role == "ours dials":
            await ours.dial(real.address)
        else:
            await real.call("connect", addr=ours.address)
        await real.call("identify", peer=str(ours.peer), timeout=10.0)
        await ours.identified(real.peer)
        if real.pings:
            await real.call("ping", peer=str(ours.peer), timeout=10.0)
        (connection,) = ours.swarm.connections(real.peer)
        yield Pair(role, ours, real, connection)
