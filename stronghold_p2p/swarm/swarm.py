"""All connections of one network: dialed, accepted, counted, reused, and closed in order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial

from multiaddr import Multiaddr

from stronghold_p2p.addressing import multiaddrs
from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.connection import Connection, Direction
from stronghold_p2p.errors import ConnectionClosed, DialError, LimitExceeded, P2PError, UsageError
from stronghold_p2p.events.events import AddressAdded, Ended, Opened
from stronghold_p2p.events.hub import Hub
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.limits.gate import Gate, Token
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.noise.records import Workspace
from stronghold_p2p.streams.stream import Stream
from stronghold_p2p.swarm.dialer import Dialer
from stronghold_p2p.swarm.gatekeeper import Gatekeeper, Handler, Service, kept_out
from stronghold_p2p.swarm.listener import Listener
from stronghold_p2p.swarm.watches import ADDRESSES_EVERY, RULES_EVERY, Watch, watch_addresses, watch_rules
from stronghold_p2p.transport.link import Link
from stronghold_p2p.transport.upgrader import Upgrade, Upgraded
from stronghold_p2p.transport.upgrading import Upgrading
from stronghold_p2p.yamux.header import GO_AWAY, frame
from stronghold_p2p.yamux.window import ReceiveBudget, ReceivePool

log = logging.getLogger("stronghold_p2p.network")


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
        name: str = "",
        early_muxer: bool = True,
        exempt_loopback: bool = True,
    ) -> None:
        self.identity, self.peer_id = identity, identity.peer_id
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.firewall, self.book = firewall or Firewall(), AddressBook() if book is None else book
        self.announce = None if announce is None else tuple(announce)
        self.gate = Gate(self.limits, exempt_loopback=exempt_loopback)
        self.pool = ReceivePool(self.limits.receive_memory_total)
        audit = Audit(name or str(self.peer_id))
        self.approval = Approval.configured(self.firewall, audit, self.timeouts, self.limits)
        self.hub = Hub(audit)
        self.on_event, self.emit = self.hub.on_event, self.hub.emit
        self.upgrade = Upgrade(StaticKeys.create(identity, os.urandom), os.urandom, early_muxer)
        self.space = Workspace()
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
        self.dialer = Dialer(self)
        self._rules_watch, self._address_watch = Watch(RULES_EVERY), Watch(ADDRESSES_EVERY)
        self.gatekeeper = Gatekeeper(
            self.firewall,
            self.approval,
            audit,
            self._services,
            connections=self.connections,
            recheck_dials=self.dialer.recheck,
            backlog=self.hub.backlog,
            ask_timeout=self.timeouts.ask,
        )

    def start(self) -> None:
        """Take the running event loop. A swarm is started once."""
        self.loop = asyncio.get_running_loop()
        self._running = True
        self.book.hold(self._connections)
        self.book.hold(self.protected)
        self.gatekeeper.start(self.loop)
        watch_rules(self._rules_watch, self.firewall, self.emit)

    # ------------------------------------------------------------------ services and events

    def handle(self, protocol: str, handler: Handler, *, judges: bool = False, rule_name: str = "") -> None:
        """Serve ``protocol``: ``handler(stream)`` runs as a task; returning closes the stream, raising resets it.

        ``rule_name``: the id that rules name where a protocol has several; by default the protocol itself.
        """
        self._services[protocol] = Service(handler, judges, rule_name or protocol)

    def unhandle(self, protocol: str) -> None:
        """Serve ``protocol`` no longer; streams that run go on."""
        self._services.pop(protocol, None)

    @property
    def protocols(self) -> tuple[str, ...]:
        """What we serve."""
        return tuple(self._services)

    def handler(self, protocol: str) -> Handler | None:
        service = self._services.get(protocol)
        return None if service is None else service.handler

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

    def _dialed_at(self, addresses: Sequence[Multiaddr]) -> Connection | None:
        """An open connection that we have dialed at one of ``addresses``: whoever is there has answered already."""
        dialed = (one for one in self.connections() if one.direction == "out" and one.remote_address in addresses)
        return next(dialed, None)

    async def dial(self, peer: PeerId | None, addresses: Sequence[Multiaddr] = ()) -> Connection:
        """The open connection to ``peer``, or a new one.

        ``addresses`` are tried before the known ones. ``DialError`` names each address and its cause;
        a single address' own error is raised as it is (``PeerIdMismatch``, ``HandshakeError``, ...).
        """
        self._check_running()
        if peer == self.peer_id:
            raise DialError("that is our own peer id", peer=peer)
        connection = self._dialed_at(addresses) if peer is None else self.connected(peer)
        if connection is not None:
            return connection
        candidates = list(addresses) + (list(self.book.addresses(peer)) if peer is not None else [])
        others = [address for address in candidates if address not in self.bound]
        if candidates and not others:
            raise DialError("that is our own address", peer=peer)
        return await self.dialer.dial(peer, others)

    async def open_stream(self, peer: PeerId, *protocols: str) -> Stream:
        """A stream to ``peer`` over an open connection, or over one that is dialed for it."""
        connection = await self.dial(peer)
        return await connection.open_stream(*protocols)

    def established(
        self, link: Link, upgraded: Upgraded, token: Token, direction: Direction, ends: tuple[Multiaddr, Multiaddr]
    ) -> Connection:
        """A finished upgrade between our and the other end becomes a connection, if limits and firewall take it.

        If they do not, the reason is written as a go-away, and ``LimitExceeded`` or ``ConnectionClosed`` raised.
        """
        local, remote = ends
        try:
            self._admit_peer(upgraded, token, direction, remote)
        except (LimitExceeded, ConnectionClosed) as error:
            code = error.code if isinstance(error, ConnectionClosed) else GoAway.RESOURCE_LIMIT
            link.write(upgraded.sealer.seal(frame(GO_AWAY, 0, 0, code)))
            raise
        connection = Connection(link, upgraded, self, direction=direction, local=local, remote=remote)
        self._tokens[connection] = token
        self._connections.setdefault(connection.peer, []).append(connection)
        self.dialer.arrived(connection)
        self.emit(Opened(connection))
        connection.start(upgraded)
        return connection

    def _admit_peer(self, upgraded: Upgraded, token: Token, direction: Direction, remote: Multiaddr) -> None:
        if self.closing:
            raise ConnectionClosed("the network is closing")
        if upgraded.peer == self.peer_id:
            raise ConnectionClosed("we reached ourselves")
        if not self.gatekeeper.may_connect(upgraded.peer, direction, remote):
            raise kept_out(upgraded.peer)
        self.gate.establish(token, upgraded.peer)

    def ended(self, connection: Connection, error: Exception) -> None:
        """A connection is over; its socket may take a moment longer."""
        token = self._tokens.pop(connection, None)
        if token is None:
            return
        token.release()
        if isinstance(error, P2PError):
            error.peer = connection.peer
        self.gatekeeper.forget(connection)
        group = self._connections[connection.peer]
        group.remove(connection)
        if not group:
            del self._connections[connection.peer]
            self.peer_protocols.pop(connection.peer, None)
        self._ending.add(connection)
        for task in connection.handlers:
            self.leave_behind(task)
        self.emit(Ended(connection, error))

    def leave_behind(self, task: asyncio.Task[None]) -> None:
        """A handler that runs although its connection is over; ``close`` sees to it."""
        self._leftover.add(task)
        task.add_done_callback(self._leftover.discard)

    def gone(self, connection: Connection) -> None:
        """A connection's socket is gone, too."""
        self._ending.discard(connection)
        if self._drained is not None and not self._ending and not self._drained.done():
            self._drained.set_result(None)

    def known(self, peer: PeerId, protocols: Sequence[str]) -> str | None:
        """The first of ``protocols`` that the peer has said to serve."""
        served = self.peer_protocols.get(peer)
        if served is not None:
            for protocol in protocols:
                if protocol in served:
                    return protocol
        return None

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
        if multiaddrs.is_unspecified(address):
            watch_addresses(self._address_watch, listener, self.listeners)
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
        self.gatekeeper.stop()
        self._rules_watch.stop()
        self._address_watch.stop()
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
                await self.dialer.close()
                await self._drain()
                if running := {*self._leftover, *self.approval.hooks} - {asyncio.current_task()}:
                    await asyncio.wait(running)
        except TimeoutError:
            log.warning("closing took longer than %s s: the rest is aborted", self.timeouts.close)
        finally:
            for connection in [*self.connections(), *self._ending]:
                connection.abort()
            self._close_book()
        await asyncio.sleep(0)  # the turn of the loop in which aborted sockets are closed

    def _close_book(self) -> None:
        """What dials have found is kept, where the book came from a file; closing does not fail for that."""
        self.book.let_go(self._connections)
        self.book.let_go(self.protected)
        if (reason := self.book.save_changes()) is not None:
            log.warning("the address book is not saved: %s", reason)

    async def _drain(self) -> None:
        """Wait for the sockets of connections that have said goodbye."""
        if self._ending:
            self._drained = self.loop.create_future()
            await self._drained

    def _check_running(self) -> None:
        if self.closing or not self._running:
            raise UsageError("the network is not open: use async with")
