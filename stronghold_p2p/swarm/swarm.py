"""All connections of one network: dialed, accepted, counted, reused, and closed in order. The composition root."""

import asyncio
import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import is_unspecified, relays_of
from stronghold_p2p.announcing.announcer import Announcer
from stronghold_p2p.book.addresses import AddressBook, save_changes, store_of
from stronghold_p2p.codes import GoAway
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConfigError, ConnectionClosed, DialError, LimitExceeded, P2PError, UsageError
from stronghold_p2p.events.events import AddressAdded, Ended, Opened
from stronghold_p2p.events.hub import Hub
from stronghold_p2p.events.lines import Lines
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.decisions import hold, watch_changes
from stronghold_p2p.firewall.limits.gate import Gate, Token
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.logs import Faults, OneLine, Refusals, each
from stronghold_p2p.loops import at_home
from stronghold_p2p.muxing.yamux_muxer import YamuxFactory
from stronghold_p2p.noise.libp2p import Noise
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.resolving.dns import Dns
from stronghold_p2p.resolving.nameservers.resolver import Resolver
from stronghold_p2p.seams import Transport, Upgraded
from stronghold_p2p.streams.aside import Aside
from stronghold_p2p.swarm.dialer import Dialer
from stronghold_p2p.swarm.gatekeeper import Gatekeeper, Served, kept_out
from stronghold_p2p.swarm.host import Service
from stronghold_p2p.swarm.listeners import Listeners, LiveListener
from stronghold_p2p.swarm.watches import ADDRESSES_EVERY, RULES_EVERY, Watch, watch_rules
from stronghold_p2p.transport.certificates import WebTLS
from stronghold_p2p.transport.tcp import TcpTransport
from stronghold_p2p.transport.upgrade import UpgradeSettings
from stronghold_p2p.transport.upgrading import Upgrader
from stronghold_p2p.transport.websocket import WebSocketTransport
from stronghold_p2p.yamux.window import ReceivePool

# Seconds for which a stranger's connection has had no stream, before it may give way to another one: longer than what
# is between two requests of somebody who is at work, and than it takes to connect and ask.
GIVES_WAY_AFTER: Final = 10.0
REPLACE_EVERY: Final = 10.0  # seconds between two tries to replace a connection that is worn out
GOODBYE: Final = 0.1  # seconds of ``Timeouts.close``, a tenth at most, that handlers leave to the goodbyes
CLOSING: Final = "internal error while the network was closed"
LOOK_AGAIN: Final = 0.5  # seconds until the next look for one, after none was found

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
        announcer: Announcer | None = None,
        dns: Dns | None = None,
        tls: WebTLS | None = None,
        name: str = "",
    ) -> None:
        self.identity, self.peer_id = identity, identity.peer_id
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.firewall, self.book = firewall or Firewall(), AddressBook() if book is None else book
        self.announcer = announcer or Announcer()
        self.gate = Gate(self.limits)
        self.gate.gives_way = self._gives_way
        self.pool = ReceivePool(self.limits.receive_memory_total)
        audit = Audit(name or str(self.peer_id))
        self.refusals = Refusals(log, audit.net)
        self.approval = Approval(self.firewall, audit, self.timeouts, self.limits)
        self.approval.refused = self.refusals.tell
        self.hub = Hub(audit)
        self.backlog = self.hub.backlog
        self.faults = Faults(logging.getLogger("stronghold_p2p.connection"), audit.net)
        self.strangers = Faults(log, audit.net)
        self._lines = Lines(audit.net)
        self.aside = Aside()
        self.resolver = Resolver(dns, timeout=self.timeouts.resolve)
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
        self._all_needed_until = 0.0
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
        tcp = TcpTransport(self.upgrader, self.timeouts)
        self.transports: list[Transport] = [tcp, WebSocketTransport(tcp, tls)]
        self.listeners, self.dialer = Listeners(self), Dialer(self)
        self._rules_watch, self._address_watch = Watch(RULES_EVERY), Watch(ADDRESSES_EVERY)

    def start(self) -> None:
        """Take the running event loop. A swarm is started once."""
        self.loop = self.hub.loop = asyncio.get_running_loop()
        self._running = True
        if log.isEnabledFor(logging.DEBUG):  # looked at once: a connection costs nothing where nobody reads of it
            self.hub.log_to(self._lines.tell)
        store_of(self.book).hold(self._connections)
        store_of(self.book).hold(self.protected)
        held = [hold(self.firewall, peers) for peers in (self._connections, self.protected)]
        self._leave = [watch_changes(self.firewall, at_home(self._rules_changed)), *held]
        watch_rules(self._rules_watch, self.firewall, self.hub.emit)
        for service in self._added:
            service.start()

    def handle(self, protocol: str, handler: Handler, *, judges: bool = False, rule_name: str = "") -> None:
        self._services[protocol] = Served(handler, judges, rule_name or protocol)

    def check_free(self, protocols: Iterable[str]) -> None:
        """``ConfigError``: somebody serves one of them."""
        for protocol in protocols:
            if self.handler(protocol) is not None:
                raise ConfigError(f"{protocol} has a handler already: one per network", where=protocol)

    def handler(self, protocol: str) -> Handler | None:
        service = self._services.get(protocol)
        return None if service is None else service.handler

    def transport_for(self, address: Multiaddr) -> Transport | None:
        return next((transport for transport in self.transports if transport.handles(address)), None)

    def can_dial(self, address: Multiaddr) -> bool:
        return self.dialer.can_dial(address)

    def add(self, service: Service) -> None:
        self._added.append(service)
        if self._running:
            service.start()

    def connections(self, peer: PeerId | None = None) -> tuple[LiveConnection, ...]:
        if peer is not None:
            return tuple(self._connections.get(peer, ()))
        return tuple(chain.from_iterable(list(self._connections.values())))  # in one step, as threads ask, too

    def connected(self, peer: PeerId) -> LiveConnection | None:
        return next(iter(self._connections.get(peer, ())), None)

    async def dial(self, peer: PeerId | None, addresses: Sequence[Multiaddr] = ()) -> LiveConnection:
        self._check_running()
        # Whoever is at an address that we have dialed has answered already.
        connection = self.dialed_at(addresses) if peer is None else self.connected(peer)
        if connection is not None and not connection.used_up:
            connection.wanted = True
            return connection
        return await self._dial(peer, addresses, () if peer is None else self.book.addresses(peer))

    async def dial_directly(self, peer: PeerId, addresses: Sequence[Multiaddr] = ()) -> LiveConnection:
        self._check_running()
        for connection in self.connections(peer):
            if not (connection.relayed or connection.used_up):
                connection.wanted = True
                return connection
        known = [address for address in self.book.addresses(peer) if not relays_of(address)]
        return await self._dial(peer, [one for one in addresses if not relays_of(one)], known, directly=True)

    async def _dial(
        self, peer: PeerId | None, addresses: Sequence[Multiaddr], known: Sequence[Multiaddr], *, directly: bool = False
    ) -> LiveConnection:
        own = self.own
        if peer == self.peer_id:
            raise DialError("that is our own peer id", peer=peer, temporary=False)
        others = [address for address in addresses if address not in own]
        known_others = [address for address in known if address not in own]
        if (addresses or known) and not (others or known_others):
            raise DialError("that is our own address", peer=peer, temporary=False)
        return await self.dialer.dial(peer, others, known_others, directly=directly)

    def dialed_at(self, addresses: Sequence[Multiaddr], peer: PeerId | None = None) -> LiveConnection | None:
        for one in reversed(self._tokens):
            there = one.remote_address in addresses or not one.dialed_as.isdisjoint(addresses)
            if there and one.direction == "out" and peer in (None, one.peer):
                return one
        return None

    def establish(self, upgraded: Upgraded, token: Token, direction: Direction) -> LiveConnection:
        """If limits or firewall do not take it, the peer is told why by a go-away."""
        try:
            self._admit_peer(upgraded, token, direction)
        except (LimitExceeded, ConnectionClosed) as error:
            code = error.code if isinstance(error, ConnectionClosed) else None
            upgraded.refuse(GoAway.RESOURCE_LIMIT if code is None else code, error)
            raise
        connection = LiveConnection(upgraded, self, direction=direction, limits=self.limits, timeouts=self.timeouts)
        self._tokens[connection] = token
        group = self._connections.setdefault(connection.peer, [])
        # One through a relay comes behind those that are not: it may carry little, and not for long.
        at = sum(not one.relayed for one in group) if connection.relayed else 0
        group.insert(at, connection)
        if len(group) > 1 and not at:
            self._prefer(connection, group[1:])
        self.dialer.arrived(connection)
        for service in self._added:
            try:
                service.connected(connection)
            except Exception:  # a fault of ours: the others hear of it
                log.exception("internal error while a connection was opened")
        self.hub.emit(Opened(connection.face))
        connection.begin()
        return connection

    def _prefer(self, connection: LiveConnection, older: Sequence[LiveConnection]) -> None:
        """A peer that connects again may have lost the connections that it had, by a restart or its router's."""
        peer, place = connection.peer, connection.remote_address
        told = "%s has a further connection, %s %s: it is preferred, and on %d older ones the peer is asked for a sign"
        log.info(told, peer, "from" if connection.direction == "in" else "to", place, len(older))
        for one in older:
            if one.worn_out:
                one.drain()
            else:
                one.probe()

    def _admit_peer(self, upgraded: Upgraded, token: Token, direction: Direction) -> None:
        if self.closing or (direction == "in" and self._over is not None):
            raise ConnectionClosed("the network is closing", code=GoAway.SHUTDOWN)
        if upgraded.peer == self.peer_id:
            raise ConnectionClosed("we reached ourselves")
        if not self.gatekeeper.may_connect(upgraded.peer, direction, upgraded.remote):
            raise kept_out(upgraded.peer)
        self.gate.establish(token, upgraded.peer, protected=upgraded.peer in self.protected)

    def _gives_way(self) -> Callable[[], object] | None:
        """How to close the connection of a stranger that is idle; of several, one who has been here longest."""
        now = self.loop.time()
        if now < self._all_needed_until:
            return None
        for one in self._tokens:  # in the order in which they have come
            idle = one.direction == "in" and now - one.idle_since >= GIVES_WAY_AFTER
            if idle and not one.kept and one.peer not in self.protected:
                break
        else:  # a crowd at the door is not worth a look at all for each
            self._all_needed_until = now + LOOK_AGAIN
            return None
        told = "idle, and its place is needed for another one: raise Limits.connections, or add the peer to protected"
        code = GoAway.GARBAGE_COLLECTED
        return partial(one.shut, code, ConnectionClosed(told, code=code))

    def _rules_changed(self, peer: PeerId | None) -> None:
        rechecks = (partial(self.gatekeeper.recheck, self.connections(peer), peer), partial(self.dialer.recheck, peer))
        each(rechecks, log, "internal error while rules have changed")

    async def ask(self, connection: LiveConnection, protocol: str) -> bool:
        return bool(await self.approval.ask(self.gatekeeper.attempt(connection, protocol)))

    def worn(self, connection: LiveConnection) -> None:
        group = self._connections.get(connection.peer, [])
        group.sort(key=attrgetter("worn_out"))  # the others come first
        if not group:  # it is over
            return
        if group[0].worn_out:
            connection.replacement = self.loop.create_task(self._replace(connection))
            self.leave_behind(connection.replacement)
        else:
            connection.drain()

    async def _replace(self, connection: LiveConnection) -> None:
        """A fresh connection to the same peer; the peer's own would do as well. ``establish`` drains the worn one."""
        peer, dialed = connection.peer, connection.direction == "out"
        while not (connection.closed or self.closing) and self._connections[peer][0].worn_out:
            try:
                known = self.book.addresses(peer)
                await self.dialer.dial(peer, [connection.remote_address] if dialed else [], known)
            except P2PError as error:
                log.debug("no fresh connection to %s: %s", peer, error)
            except Exception:  # a fault of ours: what there is goes on
                log.exception("internal error while looking for a fresh connection")
            else:
                return
            await asyncio.sleep(REPLACE_EVERY)

    def refused(self, connection: LiveConnection, error: LimitExceeded) -> None:
        if self._over is not None and error.limit == "streams_in":  # see ``_accept_no_more``: no limit is too low
            whom = partial(" {}".format, connection.peer)
            self.faults.tell("the network closes, so it refuses what has not begun, to", more=whom, level=logging.INFO)
            return
        self.hub.counts.limit(error)
        self.refusals.tell(connection.peer, error)

    def ended(self, connection: LiveConnection, error: Exception) -> None:
        if isinstance(error, P2PError):
            error.peer = connection.peer
        steps: list[Callable[[], object]] = [
            self._tokens.pop(connection).release,
            partial(self._forget, connection),
            partial(self.gatekeeper.ended, connection),
            *(partial(service.disconnected, connection) for service in self._added),
            partial(self.hub.failed, Ended(connection.face, error)),
        ]
        each(steps, log, "internal error while a connection ended")

    def _forget(self, connection: LiveConnection) -> None:
        self._ending.add(connection)
        self.hub.counts["requests_out"] += connection.requests_out
        for task in connection.handlers.tasks.values():
            self.leave_behind(task)
        group = self._connections[connection.peer]
        group.remove(connection)
        if not group:
            del self._connections[connection.peer]
            self.peer_protocols.pop(connection.peer, None)
            if connection.replacement is not None:
                connection.replacement.cancel()

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
        if self._over is not None:  # it was stopped at once
            raise UsageError("the network is closing")
        for found in listener.addresses:
            self.hub.emit(AddressAdded(found))
        if is_unspecified(address):
            self._address_watch.start(self.listeners.look)
        return listener

    def snapshot(self) -> dict[str, int]:
        """What ``stats()`` tells of connections, and of what stands before them."""
        connections, counts = self.connections(), self.hub.counts
        ways = [connection.direction for connection in connections]
        return {
            **counts.snapshot(),
            "connections_in_total": counts["connections_ended_in"] + ways.count("in"),
            "connections_out_total": counts["connections_ended_out"] + ways.count("out"),
            "requests_out_total": counts["requests_out"] + sum(connection.requests_out for connection in connections),
            **self.gate.snapshot(),
            **self.approval.snapshot(),
            **self.pool.snapshot(),
            **dict(chain.from_iterable(service.snapshot().items() for service in self._added)),
            "held": self.hub.backlog.held,
            "listeners": len(self.listeners.all),
            "streams": sum(connection.streams for connection in connections),
        }

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        return self.announcer.addresses(self.bound)

    @property
    def bound(self) -> tuple[Multiaddr, ...]:
        return tuple(address for listener in self.listeners.all for address in listener.addresses)

    @property
    def own(self) -> tuple[Multiaddr, ...]:
        """Wherever a dial would find ourselves: where we listen, are seen by others, and say that we are."""
        bound, announcer = self.bound, self.announcer
        return (*bound, *announcer.outside(bound), *(announcer.announce or ()))

    async def close(self) -> None:
        """Accept nothing new, let handlers finish for up to ``Timeouts.close`` seconds, say goodbye, end everything.

        May be called at any time, any number of times and from a handler; all calls return at the end.
        """
        if not self._running:
            self.closing = True
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
        limit = self.timeouts.close
        due = None if limit is None else self.loop.time() + limit
        try:
            await self._close_services()
            self._accept_no_more()
            await self._let_handlers_finish(math.inf if due is None else due - min(GOODBYE, (limit or 0.0) / 10))
            self._end_all()
            await self._wait_for_ends(due)
        finally:
            self._end_all()
            for connection in [*self.connections(), *self._ending]:
                connection.abort()
            for leave in self._leave:
                leave()
            self.aside.close()
            self.refusals.close()
            self._close_book()
        await asyncio.sleep(0)  # the turn of the loop in which aborted sockets are closed

    def _accept_no_more(self) -> None:
        """What has not begun is refused; our own calls go on, as handlers at work may make them."""
        self.limits = replace(self.limits, streams_in=0)  # of connections that are still to come, as handlers may dial
        refuse = [connection.handlers.refuse for connection in self.connections()]
        each([self._rules_watch.stop, self._address_watch.stop, self.listeners.close, *refuse], log, CLOSING)

    async def _let_handlers_finish(self, due: float) -> None:
        while busy := [one.handlers for one in self.connections() if one.handlers.busy]:
            tasks = {task for handlers in busy for task in handlers.at_work}
            left = due - self.loop.time()
            if left <= 0:
                told = "%d handlers were still at work at the end of Timeouts.close, %s s: they are cancelled"
                log.info(told, len(tasks), self.timeouts.close)
                return
            if tasks:
                await asyncio.wait(tasks, timeout=None if left == math.inf else left)
            else:  # they begin in this turn of the loop or the next
                await asyncio.sleep(0)

    def _end_all(self) -> None:
        """Each connection ends, and each task, when it has heard of it. Called twice: nobody may be left out."""
        self.closing = True
        goodbyes = [partial(connection.shut, GoAway.SHUTDOWN) for connection in self.connections()]
        each([*(transport.close for transport in self.transports), *goodbyes], log, CLOSING)
        for task in (self._leftover | self.approval.hooks) - {asyncio.current_task()}:
            if not task.cancelling():
                task.cancel()

    async def _wait_for_ends(self, due: float | None) -> None:
        """For what was written before the goodbyes to leave, for the peers to close their ends, and for all tasks."""
        try:
            async with asyncio.timeout_at(due):
                await self.dialer.close()
                await self.resolver.close()
                if self._ending:  # sockets of connections that have said goodbye
                    self._drained.clear()
                    await self._drained.wait()
                if running := {*self._leftover, *self.approval.hooks} - {asyncio.current_task()}:
                    await asyncio.wait(running)
        except TimeoutError:
            log.warning("closing took longer than Timeouts.close, %s s: the rest is aborted", self.timeouts.close)

    async def _close_services(self) -> None:
        for service in reversed(self._added):
            try:
                await service.close()
            except Exception:  # a fault of ours: the others end all the same
                log.exception(CLOSING)

    def _close_book(self) -> None:
        """What dials have found is kept, where the book came from a file; closing does not fail for that."""
        store_of(self.book).let_go(self._connections)
        store_of(self.book).let_go(self.protected)
        if (reason := save_changes(self.book)) is not None:
            log.warning("the address book is not saved: %s", OneLine(reason))

    def _check_running(self) -> None:
        if self.closing or not self._running:
            raise UsageError("the network is not open: use async with")
