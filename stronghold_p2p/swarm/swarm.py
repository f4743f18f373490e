"""All connections of one network: dialed, accepted, counted, reused, and closed in order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import ConnectionClosed, DialError, LimitExceeded, UsageError
from stronghold_p2p.firewall.approval import Approval
from stronghold_p2p.firewall.firewall import Firewall
from stronghold_p2p.firewall.gate import Gate, Token
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Rule
from stronghold_p2p.identity import Identity, PeerId
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.swarm.addresses import AddressBook
from stronghold_p2p.swarm.connection import Connection, Direction
from stronghold_p2p.swarm.dialer import Dialer
from stronghold_p2p.swarm.events import AddressAdded, Ended, Opened
from stronghold_p2p.swarm.hub import Hub
from stronghold_p2p.swarm.listener import Listener
from stronghold_p2p.transport import tcp
from stronghold_p2p.transport.link import Link
from stronghold_p2p.transport.upgrader import Upgrade, Upgraded
from stronghold_p2p.transport.upgrading import Upgrading
from stronghold_p2p.yamux import GoAway, Stream
from stronghold_p2p.yamux.header import GO_AWAY, frame
from stronghold_p2p.yamux.window import ReceiveBudget, ReceivePool

Handler = Callable[[Stream], Awaitable[None]]

REMEMBERED_VERDICTS: Final = 64  # per connection; a peer may try any number of protocol names

log = logging.getLogger("stronghold_p2p.network")


@dataclass(frozen=True, slots=True)
class Service:
    """A handler for one protocol. ``judges``: it asks the firewall itself once it has read the request, so an
    ``ASK`` rule lets the stream pass; otherwise the application is asked before the protocol is echoed.
    ``rule_name``: the protocol id under which rules speak of it.
    """

    handler: Handler
    judges: bool
    rule_name: str


def _nothing() -> None:
    return None


class Swarm:
    """The engine behind a network. ``start`` binds it to the running loop; ``close`` ends everything."""

    loop: asyncio.AbstractEventLoop
    closing = False
    _running = False

    def __init__(
        self,
        identity: Identity,
        *,
        firewall: Firewall | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        book: AddressBook | None = None,
        announce: Iterable[Multiaddr] | None = None,
        early_muxer: bool = True,
        exempt_loopback: bool = True,
    ) -> None:
        self.identity = identity
        self.peer_id = identity.peer_id
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.firewall = firewall or Firewall()
        self.book = AddressBook() if book is None else book
        self.announce = None if announce is None else tuple(announce)
        self.gate = Gate(self.limits, exempt_loopback=exempt_loopback)
        self.pool = ReceivePool(self.limits.receive_memory_total)
        asks = {"asks": self.limits.asks, "asks_per_peer": self.limits.asks_per_peer}
        self.approval = Approval(self.firewall, ask=self.timeouts.ask, **asks)
        self.hub = Hub(self.approval)
        self.on_event, self.emit = self.hub.on_event, self.hub.emit
        self.upgrade = Upgrade(StaticKeys.create(identity, os.urandom), os.urandom, early_muxer)
        self.listeners: list[Listener] = []
        self.pending: dict[Token, Upgrading] = {}
        self.protected: set[PeerId] = set()
        self.peer_protocols: dict[PeerId, frozenset[str]] = {}
        self._services: dict[str, Service] = {}
        self._connections: dict[PeerId, list[Connection]] = {}
        self._tokens: dict[Connection, Token] = {}
        self._ending: set[Connection] = set()
        self._leftover: set[asyncio.Task[None]] = set()  # handlers of connections that are over, until they end
        self._drained: asyncio.Future[None] | None = None
        self._over: asyncio.Future[None] | None = None
        self._verdicts: dict[Connection, dict[str, bool | None]] = {}
        self._dialer = Dialer(self)
        self._unwatch: Callable[[], None] = _nothing

    def start(self) -> None:
        """Take the running event loop. A swarm is started once."""
        self.loop = asyncio.get_running_loop()
        self._running = True
        self._unwatch = self.firewall.watch(self._rules_changed)

    # ------------------------------------------------------------------ services and events

    def handle(self, protocol: str, handler: Handler, *, judges: bool = False, rule_name: str = "") -> None:
        """Serve ``protocol``: ``handler(stream)`` runs as a task; returning closes the stream, raising resets it.

        ``rule_name``: the id that rules name where a protocol has several; by default the protocol itself.
        """
        self._services[protocol] = Service(handler, judges, rule_name or protocol)
        self._verdicts.clear()

    def unhandle(self, protocol: str) -> None:
        """Serve ``protocol`` no longer; streams that run go on."""
        self._services.pop(protocol, None)
        self._verdicts.clear()

    @property
    def protocols(self) -> tuple[str, ...]:
        """What we serve."""
        return tuple(self._services)

    def handler(self, protocol: str) -> Handler | None:
        service = self._services.get(protocol)
        return None if service is None else service.handler

    # ------------------------------------------------------------------ the firewall

    def admits(self, connection: Connection, protocol: str) -> bool | None:
        """Whether ``connection``'s peer may open a stream for ``protocol``; None: ask first."""
        service = self._services.get(protocol)
        if service is None:
            return False
        verdicts = self._verdicts.setdefault(connection, {})
        if protocol in verdicts:
            return verdicts[protocol]
        rule = self.firewall.decide(self._attempt(connection, service.rule_name))
        verdict: bool | None = rule == Rule.ALLOW
        if rule == Rule.ASK:
            verdict = True if service.judges else None
        if len(verdicts) < REMEMBERED_VERDICTS:
            verdicts[protocol] = verdict
        return verdict

    def passes(self, connection: Connection, protocol: str, direction: Direction) -> bool:
        """Whether the rules allow every request for ``protocol`` here, whatever is in it; else each is judged.

        Remembered until the rules change; never true while somebody follows each judgement.
        """
        if self.approval.followed:
            return False
        passing = connection.passing[direction]
        known = passing.get(protocol)
        if known is None:
            known = self.firewall.decide(self._attempt(connection, protocol, direction)) == Rule.ALLOW
            if len(passing) < REMEMBERED_VERDICTS and not connection.closed:
                passing[protocol] = known
        return known

    async def ask(self, connection: Connection, protocol: str) -> bool:
        """Let the application decide about a stream."""
        return await self.approval.judge(self._attempt(connection, protocol))

    def _attempt(self, connection: Connection, protocol: str, direction: Direction = "in") -> Attempt:
        ask = self.timeouts.ask
        return Attempt(
            peer=connection.peer,
            protocol=protocol,
            direction=direction,
            address=connection.remote_address,
            deadline=float("inf") if ask is None else self.loop.time() + ask,
        )

    def check_dial(self, peer: PeerId, address: Multiaddr) -> None:
        """``DialError`` if the firewall keeps us from connecting to ``peer`` there."""
        if not self._lets_connect(peer, "out", address):
            raise DialError(
                f"our own firewall keeps us from {peer} at {address}: see firewall.banned and firewall.rules()",
                peer=peer,
            )

    def _lets_connect(self, peer: PeerId, direction: Direction, address: Multiaddr) -> bool:
        now = self.loop.time()
        attempt = Attempt(peer=peer, protocol=CONNECTION, direction=direction, address=address, deadline=now)
        return self.firewall.decide(attempt) == Rule.ALLOW

    def _rules_changed(self) -> None:
        self._verdicts.clear()
        for connection in self.connections():
            connection.passing = {"in": {}, "out": {}}
            if not self._lets_connect(connection.peer, connection.direction, connection.remote_address):
                connection.shut(GoAway.GATED, _kept_out(connection.peer))

    # ------------------------------------------------------------------ connections

    def connections(self, peer: PeerId | None = None) -> tuple[Connection, ...]:
        """Open connections, of one peer or of all."""
        if peer is not None:
            return tuple(self._connections.get(peer, ()))
        return tuple(connection for group in self._connections.values() for connection in group)

    def connected(self, peer: PeerId) -> Connection | None:
        """An open connection to ``peer``, if there is one."""
        open_ones = self._connections.get(peer)
        return open_ones[0] if open_ones else None

    async def dial(self, peer: PeerId | None, addresses: Sequence[Multiaddr] = ()) -> Connection:
        """The open connection to ``peer``, or a new one.

        ``addresses`` are tried before the known ones. ``DialError`` names each address and its cause;
        a single address' own error is raised as it is (``PeerIdMismatch``, ``HandshakeError``, ...).
        """
        self._check_running()
        if peer == self.peer_id:
            raise DialError("that is our own peer id", peer=peer)
        if peer is not None and (connection := self.connected(peer)) is not None:
            return connection
        candidates = list(addresses) + (list(self.book.addresses(peer)) if peer is not None else [])
        others = [address for address in candidates if address not in self.bound]
        if candidates and not others:
            raise DialError("that is our own address", peer=peer)
        return await self._dialer.dial(peer, others)

    async def open_stream(self, peer: PeerId, *protocols: str) -> Stream:
        """A stream to ``peer`` over an open connection, or over one that is dialed for it."""
        connection = await self.dial(peer)
        return await connection.open_stream(*protocols)

    def established(
        self, link: Link, upgraded: Upgraded, token: Token, direction: Direction, remote: Multiaddr
    ) -> Connection:
        """A finished upgrade becomes a connection, if the limits and the firewall take it.

        If they do not, the reason is written as a go-away, and ``LimitExceeded`` or ``ConnectionClosed`` raised.
        """
        try:
            self._admit_peer(upgraded, token, direction, remote)
        except (LimitExceeded, ConnectionClosed) as error:
            code = error.code if isinstance(error, ConnectionClosed) else GoAway.RESOURCE_LIMIT
            link.write(upgraded.sealer.seal(frame(GO_AWAY, 0, 0, code)))
            raise
        ends = tcp.addresses_of(link.transport)
        local = ends[0] if ends else remote
        connection = Connection(link, upgraded, self, direction=direction, local=local, remote=remote)
        self._tokens[connection] = token
        self._connections.setdefault(connection.peer, []).append(connection)
        self.emit(Opened(connection))
        connection.start(upgraded)
        return connection

    def _admit_peer(self, upgraded: Upgraded, token: Token, direction: Direction, remote: Multiaddr) -> None:
        if self.closing:
            raise ConnectionClosed("the network is closing")
        if upgraded.peer == self.peer_id:
            raise ConnectionClosed("we reached ourselves")
        if not self._lets_connect(upgraded.peer, direction, remote):
            raise _kept_out(upgraded.peer)
        self.gate.establish(token, upgraded.peer)

    def ended(self, connection: Connection, error: Exception) -> None:
        """A connection is over; its socket may take a moment longer."""
        token = self._tokens.pop(connection, None)
        if token is None:
            return
        token.release()
        self._verdicts.pop(connection, None)
        group = self._connections[connection.peer]
        group.remove(connection)
        if not group:
            del self._connections[connection.peer]
            self.peer_protocols.pop(connection.peer, None)
        self._ending.add(connection)
        for task in connection.handlers:
            self._leftover.add(task)
            task.add_done_callback(self._leftover.discard)
        self.emit(Ended(connection, error))

    def gone(self, connection: Connection) -> None:
        """A connection's socket is gone, too."""
        self._ending.discard(connection)
        if self._drained is not None and not self._ending and not self._drained.done():
            self._drained.set_result(None)

    def known(self, peer: PeerId, protocols: Sequence[str]) -> str | None:
        """The first of ``protocols`` that the peer has said to serve."""
        served = self.peer_protocols.get(peer, frozenset())
        return next((protocol for protocol in protocols if protocol in served), None)

    def is_protected(self, peer: PeerId) -> bool:
        """Whether connections to ``peer`` are kept although nothing happens on them."""
        return peer in self.protected

    def budget(self, peer: PeerId) -> ReceiveBudget:
        """What a new connection to ``peer`` may hold."""
        return ReceiveBudget(self.limits.receive_memory, self.pool, partial(self.is_protected, peer))

    # ------------------------------------------------------------------ listening and closing

    async def listen(self, address: Multiaddr) -> Listener:
        """Accept connections on ``address``; ``ListenError`` with the system's reason."""
        self._check_running()
        listener = Listener(self)
        await listener.start(address)
        self.listeners.append(listener)
        if self.closing:
            listener.stop()
            self._check_running()
        for found in listener.addresses:
            self.emit(AddressAdded(found))
        return listener

    def forget_listener(self, listener: Listener) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where others are told to reach us, without ``/p2p/``: where we listen, unless other places are announced."""
        return self.announce if self.announce is not None else self.bound

    @property
    def bound(self) -> tuple[Multiaddr, ...]:
        """Where we listen, without ``/p2p/``."""
        return tuple(address for listener in self.listeners for address in listener.addresses)

    async def close(self) -> None:
        """Stop accepting and dialing, say goodbye, and end everything within ``Timeouts.close`` seconds.

        May be called at any time, any number of times and from a handler; all calls return at the end.
        """
        self.closing = True
        if not self._running:
            return
        if self._over is not None:
            await asyncio.shield(self._over)
            return
        self._over = self.loop.create_future()
        try:
            await self._close()
        finally:
            self._over.set_result(None)
            self.hub.end()

    async def _close(self) -> None:
        self._unwatch()
        for listener in list(self.listeners):
            listener.stop()
        for token, upgrading in list(self.pending.items()):
            upgrading.cancel()
            token.release()
        self.pending.clear()
        for connection in self.connections():
            connection.shut()
        for task in (self._leftover | self.approval.hooks) - {asyncio.current_task()}:
            if not task.cancelling():
                task.cancel()
        try:
            async with asyncio.timeout(self.timeouts.close):
                await self._dialer.close()
                await self._drain()
                if running := {*self._leftover, *self.approval.hooks} - {asyncio.current_task()}:
                    await asyncio.wait(running)
        except TimeoutError:
            log.warning("closing took longer than %s s: the rest is aborted", self.timeouts.close)
        finally:
            for connection in [*self.connections(), *self._ending]:
                connection.abort()
        await asyncio.sleep(0)  # the turn of the loop in which aborted sockets are closed

    async def _drain(self) -> None:
        """Wait for the sockets of connections that have said goodbye."""
        if self._ending:
            self._drained = self.loop.create_future()
            await self._drained

    def _check_running(self) -> None:
        if self.closing or not self._running:
            raise UsageError("the network is not open: use async with")


def _kept_out(peer: PeerId) -> ConnectionClosed:
    return ConnectionClosed(f"the firewall keeps {peer} out", code=GoAway.GATED)
