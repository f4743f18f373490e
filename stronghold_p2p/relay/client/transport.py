"""Circuits as a transport: ``<relay>/p2p-circuit`` is dialed through the relay, and listened on by a place there.

What comes out is a connection like any other: the circuit is a wire, upgraded by the same upgrader, with the identity
that the handshake inside proves. What the relay says of who comes is only a claim.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import CIRCUIT
from stronghold_p2p.addressing.kinds import relays_of, through_relay
from stronghold_p2p.addressing.parse import split_peer
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import (
    ConfigError,
    ConnectionClosed,
    DecodeError,
    DialError,
    ListenError,
    Malformed,
    P2PError,
)
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import OneLine
from stronghold_p2p.relay import messages
from stronghold_p2p.relay.allowance import Allowance, told
from stronghold_p2p.relay.client.asking import connect
from stronghold_p2p.relay.client.place import KeptPlace
from stronghold_p2p.relay.client.wire import CircuitWire
from stronghold_p2p.relay.messages import STOP, Status, StopType
from stronghold_p2p.seams import Arrivals, Upgraded
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.host import Host, Service
from stronghold_p2p.transport.upgrading import Dialed

MESSAGE: Final = 10.0  # seconds for the relay's message
_CIRCUIT: Final = varint.encode(CIRCUIT.code)

log = logging.getLogger("stronghold_p2p.relay")


def _relay_at(address: Multiaddr) -> tuple[PeerId, list[Multiaddr]]:
    """The relay of ``[<address>]/p2p/<relay>/p2p-circuit``, and where it is if the address says so.

    ``DecodeError``: it leads through none, through more than one, or through one without a name. A circuit inside a
    circuit is refused everywhere (docs/peers.md).
    """
    relays = relays_of(address)
    if len(relays) != 1 or relays[0] is None:
        raise DecodeError(f"{address} leads through {len(relays)} relays: name one, as /p2p/<relay>/p2p-circuit")
    data = bytes(address)
    place, _ = split_peer(Multiaddr(data[: data.rindex(_CIRCUIT)]))
    return relays[0], [place] if bytes(place) else []


class RelayClient(Service):
    """What one swarm does at relays: it dials through them, and keeps places at those where it listens."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.places: dict[PeerId, tuple[KeptPlace, Arrivals]] = {}
        host.transports.append(CircuitTransport(self))
        host.handle(STOP, self._stop, judges=True)
        host.add(self)

    def wire(self, stream: LiveStream, allowance: Allowance) -> CircuitWire:
        """``stream`` leads through the relay at the other end of its connection."""
        outer = stream.connection
        far = through_relay(outer.remote_address, outer.peer)
        return CircuitWire(stream, outer.local_address, far, self.host.loop.time, allowance)

    def leave(self, kept: KeptPlace) -> None:
        """Keep it no longer."""
        if self.places.get(kept.relay, (None,))[0] is kept:
            del self.places[kept.relay]
            kept.stop()

    def snapshot(self) -> Mapping[str, int]:
        held = sum(kept.granted is not None for kept, _ in self.places.values())
        return {"relays_used": len(self.places), "relays_reserved": held}

    def disconnected(self, connection: LiveConnection) -> None:
        for kept, _ in list(self.places.values()):
            kept.disconnected(connection)

    async def close(self) -> None:
        tasks = [kept.stop() for kept, _ in self.places.values()]
        self.places.clear()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)

    async def _stop(self, stream: LiveStream) -> None:
        """Somebody wants a circuit to us, says a relay."""
        relay = stream.connection
        try:
            async with Deadline(MESSAGE, "relay", peer=relay.peer):
                message = messages.read_stop(await stream.read_message(messages.MAX_MESSAGE) or b"")
            if message.type != StopType.CONNECT:
                await self._answer(stream, Status.UNEXPECTED_MESSAGE)
                return
            messages.peer_of(message)
        except DecodeError as error:
            log.debug("a relay's offer: %s", OneLine(error))
            await self._answer(stream, Status.MALFORMED_MESSAGE)
            return
        # On whichever of its connections, as go takes any; an offer may be here before the answer that grants a place.
        if relay.peer not in self.places or relay.relayed:
            await self._answer(stream, Status.NO_RESERVATION)
            return
        await self._answer(stream, Status.OK)  # before the first byte of the circuit
        wire = self.wire(stream, told(message.limit))
        if relay.peer in self.places:
            self.host.upgrader.accept(wire, self.places[relay.peer][1])
        else:  # we have left meanwhile
            wire.abort()

    async def _answer(self, stream: LiveStream, status: Status) -> None:
        async with Deadline(MESSAGE, "relay", peer=stream.peer):
            await stream.write_message(messages.stop_status(status))


class CircuitTransport:
    """``<relay>/p2p-circuit``, for one ``RelayClient``."""

    def __init__(self, client: RelayClient) -> None:
        self._client = client

    def handles(self, address: Multiaddr) -> bool:
        return bool(relays_of(address))

    async def dial(self, address: Multiaddr, expected: PeerId | None, *, name: str = "") -> Upgraded:
        host = self._client.host
        try:
            relay, place = _relay_at(address)
        except DecodeError as error:
            raise DialError(str(error)) from None
        if expected is None:
            raise DialError(f"{address} does not say who is behind the relay: end it in /p2p/<peer id>")
        if expected in (relay, host.peer_id):
            raise DialError(f"{address} leads from the relay to {'itself' if expected == relay else 'us'}")
        try:
            stream, allowance = await connect(await host.dial_directly(relay, place), expected)
        except (ConnectionClosed, Malformed) as error:  # of the relay, and not of whom we dial
            raise DialError(f"the relay {relay}: {error}", peer=expected) from error
        dialed = Dialed()
        host.upgrader.dial(self._client.wire(stream, allowance), expected, dialed)
        return await dialed.upgraded()

    async def listen(self, address: Multiaddr, arrivals: Arrivals) -> "RelayListener":
        client = self._client
        try:
            relay, place = _relay_at(address)
        except DecodeError as error:
            raise ConfigError(str(error), where="listen") from None
        if relay == client.host.peer_id:
            raise ConfigError("that relay is ourselves", where="listen")
        if relay in client.places:
            raise ListenError(f"a place at {relay} is kept already", address=str(address))
        kept = KeptPlace(client.host, relay, place)
        client.places[relay] = kept, arrivals
        try:
            await kept.begin()
        except BaseException as error:
            client.leave(kept)
            if isinstance(error, P2PError):
                raise ListenError(f"no place at the relay: {error}", address=str(address)) from error
            raise
        kept.changed = arrivals.look
        return RelayListener(client, kept)

    def close(self) -> None:
        """The upgrades that are under way are the upgrader's."""


class RelayListener:
    """Listens at one relay, as ``TransportListener``."""

    def __init__(self, client: RelayClient, place: KeptPlace) -> None:
        self._client = client
        self._place = place

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where we are reached through the relay; none while there is no place."""
        granted = self._place.granted
        return () if granted is None else granted.addresses

    def stop(self) -> None:
        self._client.leave(self._place)
