"""One request from one swarm to another, with every key fixed: what both sides wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.noise.handshake import DHLEN, KeyPair
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD
from stronghold_p2p.request_response.messages import Request
from stronghold_p2p.request_response.server import Server
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.upgrade import Upgrade, Upgraded
from stronghold_p2p.transport.upgrading import Upgrading
from tools.journey.wire import Segment, Side, Wire

REQUEST: Final = "Ping"
PROTOCOL: Final = STRONGHOLD
ADDRESSES: Final = {Side.DIALER: ("192.0.2.1", 50_000), Side.LISTENER: ("192.0.2.2", 4_001)}  # RFC 5737


@dataclass(frozen=True, slots=True)
class Keys:
    """Everything that is random in the life of a peer, as one byte repeated: fixed here, secret everywhere else."""

    seed: bytes
    static: bytes
    ephemeral: bytes

    @classmethod
    def of(cls, seed: int, static: int, ephemeral: int) -> Keys:
        """Each key is its byte, 32 times."""
        return cls(*(bytes([byte]) * DHLEN for byte in (seed, static, ephemeral)))

    @property
    def peer(self) -> PeerId:
        return Identity.from_seed(self.seed).peer_id

    @property
    def pairs(self) -> dict[str, KeyPair]:
        """The Noise key pairs, by their letters in the pattern."""
        return {"s": KeyPair.create(self.static), "e": KeyPair.create(self.ephemeral)}


KEYS: Final[Mapping[Side, Keys]] = {
    Side.DIALER: Keys.of(0x11, 0x12, 0x13),
    Side.LISTENER: Keys.of(0x21, 0x22, 0x23),
}


@dataclass(frozen=True, slots=True)
class Recording:
    """All segments in the order in which they were written, and the answers that the dialer's application got."""

    segments: tuple[Segment, ...]
    keys: Mapping[Side, Keys]
    answers: tuple[Any, ...]


def record(*requests: Any) -> Recording:
    """Let the dialer ask ``requests`` (none: ``REQUEST``), one after the other, where no event loop is running."""
    return asyncio.run(_record(requests or (REQUEST,)))


def pong(request: Request[Any]) -> dict[str, str]:
    """The listener's application: it tells the dialer whom it takes it for."""
    return {"Pong": str(request.peer)}


async def _record(requests: tuple[Any, ...]) -> Recording:
    wire = Wire()
    swarms = {side: _swarm(keys) for side, keys in KEYS.items()}
    dialer, listener = swarms[Side.DIALER], swarms[Side.LISTENER]
    listener.firewall.set(Rule.ALLOW, peer=dialer.peer_id, protocol=PROTOCOL.ids[0])
    Server(listener).serve(PROTOCOL, pong)

    async def talk() -> tuple[Any, ...]:
        connected = [_upgrade(wire, side, swarm) for side, swarm in swarms.items()]
        connection = await connected[0]
        client, limit = Client(dialer), dialer.timeouts.request
        answers = [await client.request(listener.peer_id, (), ask, PROTOCOL, timeout=limit) for ask in requests]
        await connection.close()
        return tuple(answers)

    try:
        answers = await wire.carry(talk())
    finally:
        await asyncio.gather(*(swarm.close() for swarm in swarms.values()))
    return Recording(tuple(wire.segments), KEYS, answers)


def _swarm(keys: Keys) -> Swarm:
    swarm = Swarm(Identity.from_seed(keys.seed))
    swarm.upgrade = Upgrade(StaticKeys.create(swarm.identity, keys.static), lambda size: keys.ephemeral[:size])
    swarm.start()
    return swarm


def _upgrade(wire: Wire, side: Side, swarm: Swarm) -> asyncio.Future[LiveConnection]:
    """Do what the dialer's and the listener's code does with a new socket, with this side's end of the wire."""
    dials = side is Side.DIALER
    here, there = ADDRESSES[side], ADDRESSES[side.other]
    link = wire.link(side, here, there)
    token = swarm.gate.dial() if dials else swarm.gate.admit(there[0], swarm.loop.time()).token
    exchange = swarm.upgrade.outbound(KEYS[side.other].peer) if dials else swarm.upgrade.inbound()
    outcome: asyncio.Future[LiveConnection] = swarm.loop.create_future()

    def done(upgraded: Upgraded) -> None:
        ends = from_socket(here), from_socket(there)
        outcome.set_result(swarm.established(link, upgraded, token, "out" if dials else "in", ends))

    limit = swarm.timeouts.upgrade
    Upgrading(link, exchange, timeout=limit, done=done, failed=outcome.set_exception, loop=swarm.loop).start()
    return outcome
