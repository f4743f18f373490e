"""All connections of one network: dialed, accepted, counted, reused, and closed in order. The composition root."""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import is_unspecified
from stronghold_p2p.book.addresses import AddressBook, save_changes, store_of
from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed, DialError, LimitExceeded, P2PError, UsageError
from stronghold_p2p.events.events import AddressAdded, Ended, Opened
from stronghold_p2p.events.hub import Hub
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.limits.gate import Gate, Token
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.muxing.yamux_muxer import YamuxFactory
from stronghold_p2p.noise.libp2p import Noise
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.seams import Transport, Upgraded
from stronghold_p2p.swarm.dialer import Dialer
from stronghold_p2p.swarm.gatekeeper import Gatekeeper, Served, kept_out
from stronghold_p2p.swarm.host import Service
from stronghold_p2p.swarm.listeners import Listeners, LiveListener
from stronghold_p2p.swarm.watches import ADDRESSES_EVERY, RULES_EVERY, Watch, watch_rules
from stronghold_p2p.transport.tcp import TcpTransport
from stronghold_p2p.transport.upgrade import UpgradeSettings
from stronghold_p2p.transport.upgrading import Upgrader
from stronghold_p2p.yamux.window import ReceivePool

log = logging.getLogger("stronghold_p2p.network")


class Swarm:
    """The engine behind a network. ``start`` binds it to the running loop; ``close`` ends everything.

    It is the ``Host`` of services and the ``Owner`` of connections; these protocols tell what its methods do.
    ``bound`` is where we listen, ``addresses`` where others are told to reach us.
    """

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
    ) -> None:
        self.identity, self.peer_id = identity, identity.peer_id
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.firewall, self.book = firewall or Firewall(), AddressBook() if book is None else book
        self.announce = None if announce is None else tuple(announce)
        self.gate = Gate(self.limits)
        self.pool = ReceivePool(self.limits.receive_memory_total)
        audit = Audit(name or str(self.peer_id))
        self.approval = Approval(self.firewall, audit, self.timeouts, self.limits)
        self.hub = Hub(audit)
        self.backlog = self.hub.backlog
        self.protected: set[PeerId] = set()
        self.peer_protocols: dict[PeerId, frozenset[str]] = {}
        self._services: dict[str, Served] = {}
        self._added: list[Service] = []
        self._connections: dict[PeerId, list[LiveConnection]] = {}
        self._tokens: dict[LiveConnection, Token] = {}
        self._ending: set[LiveConnection] = set()
        self._leftover: set[asyncio.Task[None]] = set()  # handlers of connections that are over, until they end
        self._drained = asyncio.Event()
        self._over: asyncio.Event | None = None
        self.gatekeeper = Gatekeeper(
            self.firewall,
            self.approval,
            audit,
            self._services,
            backlog=self.backlog,
            ask_timeout=self.timeouts.ask,
        )
        yamux = YamuxFactory(self.limits, self.timeouts, self.pool, self.protected)
        noise = Noise(StaticKeys.create(identity, os.urandom(32)), os.urandom)
        self.upgrader = Upgrader(UpgradeSettings((noise,), (yamux,)), self.timeouts.upgrade)
        self.transports: list[Transport] = [TcpTransport(self.upgrader, self.timeouts)]
        self.listeners, self.dialer = Listeners(self), Dialer(self)
        self._rules_watch, self._address_watch = Watch(RULES_EVERY), Watch(ADDRESSES_EVERY)

    def start(self) -> None:
        """Take the running event loop. A swarm is started once."""
        self.loop = asyncio.get_running_loop()
        self._running = True
        store_of(self.book).hold(self._connections)
        store_of(self.book).hold(self.protected)
        self._unwatch = self.firewall.watch(self._rules_changed)
        watch_rules(self._rules_watch, self.firewall, self.hub.emit)
        for service in self._added:
            service.start()

    def handle(self, protocol: str, handler: Handler, *, judges: bool = False, rule_name: str = "") -> None:
        self._services[protocol] = Served(handler, judges, rule_name or protocol)

    def handler(self, protocol: str) -> Handler | None:
        service = self._services.get(protocol)
        return None if service is None else service.handler

    def transport_for(self, address: Multiaddr) -> Transport | None:
        return next((transport for transport in self.transports if transport.handles(address)), None)

    def add(self, service: Service) -> None:
        self._added.append(service)
        if self._running:
            service.start()

    def connections(self, peer: PeerId | None = None) -> tuple[LiveConnection, ...]:
        if peer is not None:
            return tuple(self._connections.get(peer, ()))
        return tuple(connection for group in self._connections.values() for connection in group)

    def connected(self, peer: PeerId) -> LiveConnection | None:
        return next(iter(self._connections.get(peer, ())), None)

    async def dial(self, peer: PeerId | None, addresses: Sequence[Multiaddr] = ()) -> LiveConnection:
        self._check_running()
        if peer == self.peer_id:
            raise DialError("that is our own peer id", peer=peer)
        if peer is not None:
            connection = self.connected(peer)
        else:  # whoever is at an address that we have dialed has answered already
            dialed = (one for one in self.connections() if one.direction == "out" and one.remote_address in addresses)
            connection = next(dialed, None)
        if connection is not None:
            return connection
        candidates = list(addresses) + (list(self.book.addresses(peer)) if peer is not None else [])
        others = [address for address in candidates if address not in self.bound]
        if candidates and not others:
            raise DialError("that is our own address", peer=peer)
        return await self.dialer.dial(peer, others)

    def establish(self, upgraded: Upgraded, token: Token, direction: Direction) -> LiveConnection:
        """If limits or firewall do not take it, the peer is told why by a go-away."""
        try:
            self._admit_peer(upgraded, token, direction)
        except (LimitExceeded, ConnectionClosed) as error:
            upgraded.refuse(error.code if isinstance(error, ConnectionClosed) else GoAway.RESOURCE_LIMIT, error)
            raise
        connection = LiveConnection(upgraded, self, direction=direction, limits=self.limits, timeouts=self.timeouts)
        self._tokens[connection] = token
        self._connections.setdefault(connection.peer, []).append(connection)
        self.dialer.arrived(connection)
        for service in self._added:
            service.connected(connection)
        self.hub.emit(Opened(connection.face))
        connection.begin()
        return connection

    def _admit_peer(self, upgraded: Upgraded, token: Token, direction: Direction) -> None:
        if self.closing:
            raise ConnectionClosed("the network is closing")
        if upgraded.peer == self.peer_id:
            raise ConnectionClosed("we reached ourselves")
        if not self.gatekeeper.may_connect(upgraded.peer, direction, upgraded.remote):
            raise kept_out(upgraded.peer)
        self.gate.establish(token, upgraded.peer)

    def _rules_changed(self) -> None:
        self.gatekeeper.recheck(self.connections())
        self.dialer.recheck()

    async def ask(self, connection: LiveConnection, protocol: str) -> bool:
        return await self.approval.ask(self.gatekeeper.attempt(connection, protocol))

    def ended(self, connection: LiveConnection, error: Exception) -> None:
        self._tokens.pop(connection).release()
        if isinstance(error, P2PError):
            error.peer = connection.peer
        self.gatekeeper.forget(connection)
        group = self._connections[connection.peer]
        group.remove(connection)
        if not group:
            del self._connections[connection.peer]
            self.peer_protocols.pop(connection.peer, None)
        self._ending.add(connection)
        for task in connection.handlers.tasks.values():
            self.leave_behind(task)
        for service in self._added:
            service.disconnected(connection)
        self.hub.emit(Ended(connection.face, error))

    def leave_behind(self, task: asyncio.Task[None]) -> None:
        self._leftover.add(task)
        task.add_done_callback(self._leftover.discard)

    def gone(self, connection: LiveConnection) -> None:
        self._ending.discard(connection)
        if not self._ending:
            self._drained.set()

    async def listen(self, address: Multiaddr) -> LiveListener:
        """Accept connections on ``address``; ``ListenError`` with the system's reason."""
        self._check_running()
        listener = await self.listeners.listen(address)
        self._check_running()
        for found in listener.addresses:
            self.hub.emit(AddressAdded(found))
        if is_unspecified(address):
            self._address_watch.start(self.listeners.look)
        return listener

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        return self.announce if self.announce is not None else self.bound

    @property
    def bound(self) -> tuple[Multiaddr, ...]:
        return tuple(address for listener in self.listeners.all for address in listener.addresses)

    async def close(self) -> None:
        """Stop accepting and dialing, say goodbye, and end everything within ``Timeouts.close`` seconds.

        May be called at any time, any number of times and from a handler; all calls return at the end.
        """
        self.closing = True
        if not self._running:
            return
        if self._over is not None:
            await self._over.wait()
            return
        self._over = asyncio.Event()
        try:
            await self._close()
        finally:
            self._over.set()
            self.hub.end()

    async def _close(self) -> None:
        for service in reversed(self._added):
            await service.close()
        self._unwatch()
        self._rules_watch.stop()
        self._address_watch.stop()
        self.listeners.close()
        for transport in self.transports:
            transport.close()
        for connection in self.connections():
            connection.shut()
        for task in (self._leftover | self.approval.hooks) - {asyncio.current_task()}:
            if not task.cancelling():
                task.cancel()
        try:
            async with asyncio.timeout(self.timeouts.close):
                await self.dialer.close()
                if self._ending:  # sockets of connections that have said goodbye
                    self._drained.clear()
                    await self._drained.wait()
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
        store_of(self.book).let_go(self._connections)
        store_of(self.book).let_go(self.protected)
        if (reason := save_changes(self.book)) is not None:
            log.warning("the address book is not saved: %s", reason)

    def _check_running(self) -> None:
        if self.closing or not self._running:
            raise UsageError("the network is not open: use async with")
