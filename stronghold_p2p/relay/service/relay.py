"""A relay for others (relay/circuit-v2.md): ``HOP``, spoken with who wants a place, or a circuit to who has one.

Every step is judged by the same firewall: an attempt of the peer for ``HOP`` with the variant ``reserve`` or
``connect``, and one towards the target for ``STOP``, direction out. A circuit is unlimited where a rule names its
source or its target and allows the variant ``unlimited``, too.

A circuit has no task. All of them share one timer, for the one whose time is over first.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import relays_of, tcp_address
from stronghold_p2p.addressing.parse import with_peer
from stronghold_p2p.codes import Reset
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed, DecodeError, P2PError, RelayRefused
from stronghold_p2p.events.events import (
    CircuitClosed,
    CircuitOpened,
    ReservationLost,
    ReservationMade,
    ReservationRefused,
)
from stronghold_p2p.firewall.decisions import watch_changes
from stronghold_p2p.firewall.rules import Attempt, Direction, Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import OneLine, each
from stronghold_p2p.loops import at_home
from stronghold_p2p.per_peer import PerPeer
from stronghold_p2p.relay import messages, voucher
from stronghold_p2p.relay.allowance import UNLIMITED, Allowance
from stronghold_p2p.relay.circuit import Circuit, End, Half
from stronghold_p2p.relay.messages import HOP, STOP, HopMessage, HopType, Status, StopType
from stronghold_p2p.relay.options import RelayLimits, allowance_of
from stronghold_p2p.relay.reservations import Reservations
from stronghold_p2p.seams import NOBODY
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.host import Host, Service
from stronghold_p2p.token_bucket import TokenBucket

MESSAGE: Final = 10.0  # seconds for each message of a peer
OPENING: Final = 30.0  # seconds until the target has answered (go: ``ConnectTimeout``)
ASKS: Final = 0.1  # a second: reservations of one connection, which have to be renewed once in a minute at most
ASKS_AT_ONCE: Final = 10
COUNTED: Final = (
    "circuit_bytes_total",
    "circuits_total",
    "circuits_limited_total",
    "reservations_total",
    "relay_refusals_total",
)
RESERVE, CONNECT, UNLIMITED_CIRCUIT = "reserve", "connect", "unlimited"

log = logging.getLogger("stronghold_p2p.relay")


class Refused(Exception):
    """The answer is this status, and nothing happens."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class RelayService(Service):
    """The relay of one swarm. ``clock`` tells the Unix time, in which clients are told when a reservation ends."""

    def __init__(self, host: Host, limits: RelayLimits | None = None, clock: Callable[[], float] = time.time) -> None:
        self.limits = limits or RelayLimits()
        self._host = host
        self._clock = clock
        self._places = Reservations(self.limits.reservations, self.limits.reservations_per_ip, self.limits.reservation)
        self._holders: dict[PeerId, LiveConnection] = {}  # on which connection each has its place
        self._circuits: dict[Circuit, tuple[LiveConnection, LiveConnection]] = {}
        self._opening = 0
        self._of_peers: PerPeer[tuple[str, PeerId]] = PerPeer(self.limits.circuits_per_peer)
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf
        self._counts = dict.fromkeys(COUNTED, 0)
        self._asked: dict[LiveConnection, TokenBucket] = {}  # how often each has asked for a place
        self._closed = False
        self._unwatch: Callable[[], None] = lambda: None
        host.handle(HOP, self._serve, judges=True)
        host.add(self)

    def snapshot(self) -> Mapping[str, int]:
        carried = sum(sum(circuit.carried) for circuit in list(self._circuits))  # threads ask, too
        now = {"reservations": len(self._places), "circuits": len(self._circuits)}
        return {**now, **self._counts, "circuit_bytes_total": self._counts["circuit_bytes_total"] + carried}

    def start(self) -> None:
        self._unwatch = watch_changes(self._host.firewall, at_home(self._rules_changed))

    def _rules_changed(self, _: PeerId | None) -> None:
        """What the rules do not allow any more ends, as open streams do."""
        kept_out = [peer for peer, held in self._holders.items() if self._rejects(self._attempt(held, RESERVE))]
        for peer in kept_out:
            self._places.release(peer)
        self._forget(tuple(kept_out))
        for circuit, (source, target) in list(self._circuits.items()):
            there = self._attempt(target, CONNECT, STOP, "out", {"source": str(source.peer)})
            if self._rejects(self._attempt(source, CONNECT, view={"target": str(target.peer)})) or self._rejects(there):
                circuit.end(End.REFUSED)

    def _rejects(self, attempt: Attempt) -> bool:
        return self._host.firewall.decide(attempt) not in {Rule.ALLOW, Rule.ASK}

    def disconnected(self, connection: LiveConnection) -> None:
        """A place is gone with its connection (relay/circuit-v2.md, "Reservation")."""
        self._asked.pop(connection, None)
        if self._holders.get(connection.peer) is connection:
            self._places.release(connection.peer)
            self._forget((connection.peer,), connection.error)

    async def close(self) -> None:
        self._closed = True
        self._unwatch()
        each([partial(one.end, End.CLOSED) for one in self._circuits], log, "internal error while circuits were closed")
        if self._timer is not None:
            self._timer.cancel()

    async def _serve(self, stream: LiveStream) -> None:
        try:
            message = await self._read(stream)
            if stream.connection.relayed:
                raise Refused(Status.PERMISSION_DENIED, "a relayed connection leads to no relay")
            if message.type == HopType.RESERVE:
                await self._reserve_or_tell(stream)
            elif message.type == HopType.CONNECT:
                await self._connect(stream, message)
            else:
                raise Refused(Status.UNEXPECTED_MESSAGE, "a status, which nobody asked for")
        except Refused as refused:
            self._counts["relay_refusals_total"] += 1
            log.debug("%s is refused: %s", stream.peer, OneLine(refused))
            await self._answer(stream, messages.hop_status(refused.status))

    async def _read(self, stream: LiveStream) -> HopMessage:
        async with Deadline(MESSAGE, "relay", peer=stream.peer):
            data = await stream.read_message(messages.MAX_MESSAGE)
        try:
            return messages.read_hop(data or b"")
        except DecodeError as error:
            raise Refused(Status.MALFORMED_MESSAGE, str(error)) from None

    async def _answer(self, stream: LiveStream, message: bytes) -> None:
        async with Deadline(MESSAGE, "relay", peer=stream.peer):
            await stream.write_message(message)

    async def _reserve_or_tell(self, stream: LiveStream) -> None:
        try:
            await self._reserve(stream)
        except Refused as refused:
            us, peer = self._host.peer_id, stream.peer
            error = RelayRefused(str(refused), relay=us, status=refused.status, peer=peer)
            self._host.hub.emit(ReservationRefused(us, peer, error))
            raise

    async def _reserve(self, stream: LiveStream) -> None:
        connection, peer = stream.connection, stream.peer
        asked = self._asked.setdefault(connection, TokenBucket(ASKS, ASKS_AT_ONCE))
        if not asked.take(self._host.loop.time()):
            raise Refused(Status.RESERVATION_REFUSED, "it asks too often")
        if not await self._may(connection, RESERVE):
            raise Refused(Status.PERMISSION_DENIED, "the firewall lets it have no place")
        if connection.closed or self._closed:
            raise Refused(Status.RESERVATION_REFUSED, "the connection ends")
        now, preferred = self._host.loop.time(), peer in self._host.protected
        self._forget(self._places.expire(now))
        expires = self._places.reserve(peer, _ip_of(connection.remote_address), now, preferred=preferred)
        if isinstance(expires, Status):
            raise Refused(expires, f"{len(self._places)} have a place already")
        self._hold(peer, connection, expires - now)
        until = int(self._clock() + expires - now)
        sealed = voucher.issue(self._host.identity, peer, until)
        told = messages.granted(until, self._addresses(connection), sealed)
        limit = self._allowance(connection, connection).message()
        await self._answer(stream, messages.hop_status(Status.OK, reservation=told, limit=limit))

    def _hold(self, peer: PeerId, connection: LiveConnection, seconds: float) -> None:
        """``peer`` has its place on ``connection``, which is kept for that."""
        before = self._holders.get(peer)
        if before is not connection:
            connection.kept += 1
            self._holders[peer] = connection
        if before is None:
            self._counts["reservations_total"] += 1
            self._host.hub.emit(ReservationMade(self._host.peer_id, peer, seconds))
        elif before is not connection:
            before.kept -= 1
        self._look_at(self._places.due())

    def _forget(self, peers: tuple[PeerId, ...], error: Exception | None = None) -> None:
        for peer in peers:
            connection = self._holders.pop(peer, None)
            if connection is not None:
                connection.kept -= 1
                self._host.hub.emit(ReservationLost(self._host.peer_id, peer, error))

    def _addresses(self, connection: LiveConnection) -> list[bytes]:
        """Where we can be reached, with our name: rust wants one at least, so it may be where it has come to."""
        places = [place for place in self._host.addresses if not relays_of(place)] or [connection.local_address]
        return [bytes(with_peer(place, self._host.peer_id)) for place in places]

    async def _connect(self, stream: LiveStream, message: HopMessage) -> None:
        source = stream.connection
        try:
            target = messages.peer_of(message)
        except DecodeError as error:
            raise Refused(Status.MALFORMED_MESSAGE, str(error)) from None
        if self._closed:
            raise Refused(Status.RESOURCE_LIMIT_EXCEEDED, "the network is closing")
        if target in (source.peer, self._host.peer_id):
            raise Refused(Status.PERMISSION_DENIED, "a circuit leads to somebody else")
        self._forget(self._places.expire(self._host.loop.time()))
        holder = self._holders.get(target)
        if holder is None or holder.closed:
            raise Refused(Status.NO_RESERVATION, f"{target} has no place here")
        if not await self._may(source, CONNECT, view={"target": str(target)}):
            raise Refused(Status.PERMISSION_DENIED, "the firewall lets it have no circuit")
        if not await self._may(holder, CONNECT, protocol=STOP, direction="out", view={"source": str(source.peer)}):
            raise Refused(Status.PERMISSION_DENIED, f"the firewall lets nobody reach {target}")
        self._take(source.peer, target)
        self._opening += 1
        try:
            await self._join(stream, holder)
        except BaseException:
            self._give_back(source.peer, target)
            raise
        finally:
            self._opening -= 1

    def _take(self, source: PeerId, target: PeerId) -> None:
        """A place for one more circuit."""
        full = self.limits.circuits
        if full is not None and len(self._circuits) + self._opening >= full:
            raise Refused(Status.RESOURCE_LIMIT_EXCEEDED, f"circuits {full}/{full}")
        if not self._of_peers.take(("from", source)):
            raise Refused(Status.RESOURCE_LIMIT_EXCEEDED, "circuits_per_peer of the source")
        if not self._of_peers.take(("to", target)):
            self._of_peers.give_back(("from", source))
            raise Refused(Status.RESOURCE_LIMIT_EXCEEDED, "circuits_per_peer of the target")

    def _give_back(self, source: PeerId, target: PeerId) -> None:
        self._of_peers.give_back(("from", source))
        self._of_peers.give_back(("to", target))

    async def _join(self, stream: LiveStream, holder: LiveConnection) -> None:
        """Ask the target; if it agrees, both streams are one circuit from then on."""
        source, allowance = stream.connection, self._allowance(stream.connection, holder)
        far = await self._offer(source, holder, allowance)
        try:
            # From here on the next byte on either stream is the circuit's.
            await self._answer(stream, messages.hop_status(Status.OK, limit=allowance.message()))
            if self._closed:
                raise ConnectionClosed("the network is closing", peer=stream.peer)
            near, unread, over = stream.release()
        except BaseException:
            far.reset(Reset.NONE)
            raise
        try:
            there, behind, ended = far.release()
        except BaseException:
            near.sink = NOBODY
            near.reset(Reset.NONE)
            raise
        loop = self._host.loop
        circuit = Circuit(allowance, loop.time(), self._over)
        halves = Half(circuit, near, source.turn.add, loop.time), Half(circuit, there, holder.turn.add, loop.time)
        self._circuits[circuit] = source, holder
        self._counts["circuits_total"] += 1
        self._host.hub.emit(CircuitOpened(source.peer, holder.peer, allowance.data, allowance.duration))
        circuit.join(*halves, (unread, behind), (over, ended))
        self._look_at(circuit.expires)

    async def _offer(self, source: LiveConnection, holder: LiveConnection, allowance: Allowance) -> LiveStream:
        """A stream of the target on which it has agreed to the circuit."""
        far: LiveStream | None = None
        try:
            async with Deadline(OPENING, "relay", peer=holder.peer):
                far = await holder.open_stream(STOP)
                await far.write_message(messages.offer(source.peer, allowance.message()))
                answer = messages.read_stop(await far.read_message(messages.MAX_MESSAGE) or b"")
            if answer.type != StopType.STATUS or messages.status_of(answer) is not Status.OK:
                raise Refused(Status.CONNECTION_FAILED, f"the target says {messages.status_of(answer).name}")
        except (P2PError, Refused) as error:
            if far is not None:
                far.reset(Reset.NONE)
            if isinstance(error, Refused):
                raise
            raise Refused(Status.CONNECTION_FAILED, str(error)) from None
        except BaseException:
            if far is not None:
                far.reset(Reset.NONE)
            raise
        return far

    async def _may(
        self,
        connection: LiveConnection,
        variant: str,
        *,
        protocol: str = HOP,
        direction: Direction = "in",
        view: Mapping[str, str] | None = None,
    ) -> bool:
        attempt = self._attempt(connection, variant, protocol, direction, view)
        allowed = self._host.approval.verdict(attempt)
        return bool(await self._host.approval.ask(attempt)) if allowed is None else allowed

    def _attempt(
        self,
        connection: LiveConnection,
        variant: str,
        protocol: str = HOP,
        direction: Direction = "in",
        view: Mapping[str, str] | None = None,
    ) -> Attempt:
        plain = self._host.gatekeeper.attempt(connection, protocol, direction)
        return replace(plain, variant=variant, view=view)

    def _allowance(self, source: LiveConnection, target: LiveConnection) -> Allowance:
        """``unlimited`` is only for whom a rule names: a default that allows everybody everything is no trust."""
        firewall = self._host.firewall
        for connection in (source, target):
            attempt = self._attempt(connection, UNLIMITED_CIRCUIT)
            found = firewall.match(attempt)
            if found.named and firewall.decide(attempt, found) == Rule.ALLOW:
                return UNLIMITED
        return allowance_of(self.limits)

    def _over(self, circuit: Circuit, why: End) -> None:
        source, target = (connection.peer for connection in self._circuits.pop(circuit))
        self._give_back(source, target)
        self._counts["circuit_bytes_total"] += sum(circuit.carried)
        self._counts["circuits_limited_total"] += why in (End.DATA, End.DURATION)
        lasted = self._host.loop.time() - circuit.began
        self._host.hub.emit(CircuitClosed(source, target, why.value, *circuit.carried, lasted))

    def _look_at(self, moment: float | None) -> None:
        if moment is None or moment >= self._due or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = moment
        self._timer = self._host.loop.call_at(moment, self._expire)

    def _expire(self) -> None:
        self._due, self._timer = inf, None
        now = self._host.loop.time()
        over = [partial(one.end, End.DURATION) for one in self._circuits if one.expires <= now]
        each(over, log, "internal error while the time of circuits was over")
        self._forget(self._places.expire(now))
        self._look_at(self._places.due())
        self._look_at(min((one.expires for one in self._circuits), default=inf))


def _ip_of(address: Multiaddr) -> str | None:
    """What reservations are counted by."""
    found = tcp_address(address)
    return None if found is None else found[0]
