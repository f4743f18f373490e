"""One request from one swarm to another, with every key fixed: what both sides wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.noise import Noise, StaticKeys
from stronghold_p2p.noise.handshake import DHLEN, KeyPair
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD
from stronghold_p2p.request_response.server import Request, Server
from stronghold_p2p.swarm.listeners import LiveListener
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.upgrading import Dialed
from tools.journey.wire import End, Segment, Side, Wire

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
        listener.upgrader.accept(_end(wire, Side.LISTENER), LiveListener(listener.listeners))
        dialed = Dialed()
        dialer.upgrader.dial(_end(wire, Side.DIALER), listener.peer_id, dialed)
        connection = dialer.establish(await dialed.upgraded(), dialer.gate.dial(), "out")
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
    noise = Noise(StaticKeys.create(swarm.identity, keys.static), lambda size: keys.ephemeral[:size])
    swarm.upgrader.settings = replace(swarm.upgrader.settings, securities=(noise,))
    swarm.start()
    return swarm


def _end(wire: Wire, side: Side) -> End:
    here, there = ADDRESSES[side], ADDRESSES[side.other]
    return wire.end(side, from_socket(here), from_socket(there), there[0])
