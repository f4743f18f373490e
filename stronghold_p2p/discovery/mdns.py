"""mDNS on the network's event loop (discovery/mdns.md): sockets and one timer around the core in ``mdns/``.

Importing this module loads zeroconf, so it is imported by who switches mDNS on.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, cast

from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.discovery.interfaces import group_of, links, socket_on
from stronghold_p2p.events.events import AddressAdded, AddressRemoved, Event, PeerDiscovered, PeerLost
from stronghold_p2p.logs import OneLine, each
from stronghold_p2p.mdns.core import Hint, Interface, Link, Mdns, Output, Send
from stronghold_p2p.mdns.table import LONGEST, Change
from stronghold_p2p.swarm.host import Host, Service

LOOK_EVERY: Final = 5.0  # seconds between two looks at the interfaces of this host, as for the addresses of listeners

FAULT: Final = "internal error in mDNS"
FAULTY: Final = 1.0  # seconds of rest after a fault of ours
PASSING: Final = {
    errno.ENOBUFS,
    errno.EMSGSIZE,
    errno.EPERM,
}  # one packet is lost: the queue is full, a filter drops it

log = logging.getLogger("stronghold_p2p.network")


class _Ear(asyncio.DatagramProtocol):
    """One link's socket."""

    transport: asyncio.DatagramTransport | None = None

    def __init__(self, service: "MdnsService", link: Link, interfaces: tuple[Interface, ...]) -> None:
        self._service = service
        self.link = link
        self.interfaces = interfaces
        self.broken = False
        self._full = False

    def itself(self) -> "_Ear":
        """As asyncio wants to be given it."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._service.received(data, str(addr[0]).partition("%")[0], self.link)

    def error_received(self, error: Exception) -> None:
        """Unless it passes, the interface is down, or has gone; the next look makes another socket."""
        log.debug("mDNS on %s: %s", self.link.name, OneLine(error))
        self.broken = self.broken or getattr(error, "errno", None) not in PASSING

    def connection_lost(self, error: Exception | None) -> None:
        self.transport, self.broken = None, True

    def pause_writing(self) -> None:
        """What is said now is left out: it comes again."""
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self._full:
            self.transport.sendto(data, group_of(self.link))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class MdnsService(Service):
    """Announces us on the LAN, and tells the address book and the events of others. One timer, and no task but while
    sockets are made.
    """

    def __init__(self, swarm: Host) -> None:
        self._swarm = swarm
        limits = swarm.limits
        self._mdns = Mdns(swarm.peer_id, peers=limits.mdns_peers, rate=limits.mdns_rate, draw=os.urandom)
        self._ears: dict[Link, _Ear] = {}
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = 0.0
        self._rests = 0.0  # until then nothing is done: there was a fault
        self._links: dict[Link, tuple[Interface, ...]] = {}  # as they were seen last
        self._told = False  # that nothing works
        self._closed = False
        swarm.hub.on_event(self._on_event)
        swarm.add(self)

    def start(self) -> None:
        self._look()
        self._wait()

    # ---------------------------------------------------------------- what comes

    def received(self, data: bytes, source: str, link: Link) -> None:
        """Whatever is in it, the socket goes on."""
        if self._closed:
            return
        core = self._mdns
        dropped = core.dropped
        each([partial(self._receive, data, source, link)], log, FAULT)
        counts = self._swarm.hub.counts
        counts["mdns_packets"] += 1
        counts["mdns_dropped"] += core.dropped - dropped

    def _receive(self, data: bytes, source: str, link: Link) -> None:
        self._do(self._mdns.hear(data, source, link, self._swarm.loop.time()))
        self._wait()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, AddressAdded | AddressRemoved) and not self._closed:
            self._mdns.set_addresses(self._swarm.addresses, self._swarm.loop.time())
            self._wait()

    # ---------------------------------------------------------------- what follows from it

    def _do(self, outputs: Iterable[Output]) -> None:
        book, hub = store_of(self._swarm.book), self._swarm.hub
        for output in outputs:
            match output:
                case Send(link, data):
                    if (ear := self._ears.get(link)) is not None:
                        ear.send(data)
                case Hint(peer, addresses, seconds):
                    book.learn(peer, addresses, besides=True, seconds=seconds)
                case Change(peer, before, after):
                    book.unlearn(peer, set(before) - set(after), seconds=LONGEST)
                    hub.counts["peers_discovered"] += not before
                    hub.counts["peers_lost"] += not after
                    hub.emit(PeerDiscovered(peer, after) if after else PeerLost(peer))

    def _wait(self) -> None:
        """Set the one timer anew, where what is due comes earlier than it; it comes too early now and then."""
        if not self._closed:
            self._set_timer(max(min(self._mdns.due, self._look_at), self._rests))

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._swarm.loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._swarm.loop.time()
        try:
            self._do(self._mdns.tick(now))
            if self._look_at <= now:
                self._look()
            self._wait()
        except Exception:  # what is due stays so: not again in this moment
            log.exception(FAULT)
            self._rests = now + FAULTY
            self._set_timer(self._rests)

    # ---------------------------------------------------------------- links

    def _look(self) -> None:
        """Take the interfaces that are there now, and the addresses at which we can be reached."""
        now = self._swarm.loop.time()
        self._look_at = now + LOOK_EVERY
        self._mdns.set_addresses(self._swarm.addresses, now)
        try:
            self._links = links()
        except OSError as error:
            log.debug("the interfaces of this host: %s", OneLine(error))
            return
        for link, ear in list(self._ears.items()):
            if ear.broken or self._links.get(link, ())[:1] != ear.interfaces[:1]:  # it sends from the first
                self._ears.pop(link).close()
        missing = {link: interfaces for link, interfaces in self._links.items() if link not in self._ears}
        if missing and (self._opening is None or self._opening.done()):
            self._opening = self._swarm.loop.create_task(self._open(missing))
        self._use()

    async def _open(self, missing: dict[Link, tuple[Interface, ...]]) -> None:
        try:
            await self._open_each(missing)
            self._use()
            self._wait()
        except Exception:  # a fault of ours, of which nobody else would hear; the next look tries again
            log.exception(FAULT)

    async def _open_each(self, missing: dict[Link, tuple[Interface, ...]]) -> None:
        reason: OSError | None = None
        for link, interfaces in missing.items():
            ear = _Ear(self, link, interfaces)
            try:
                await self._swarm.loop.create_datagram_endpoint(ear.itself, sock=socket_on(link, ear.interfaces))
            except OSError as error:
                log.debug("mDNS on %s: %s", link.name, OneLine(error))
                reason = error
                continue
            self._ears[link] = ear
        if reason is not None and not self._ears and not self._told:
            self._told = True
            log.warning("nobody can be discovered by mDNS, nor discover us: %s", OneLine(reason))

    def _use(self) -> None:
        """Speak on the links that have a socket."""
        there = {link: self._links[link] for link in self._ears if link in self._links}
        self._mdns.set_links(there, self._swarm.loop.time())

    async def close(self) -> None:
        """Say goodbye, and close the sockets."""
        if self._closed:
            return
        steps: list[Callable[[], object]] = [self._say_goodbye]
        steps += [*(ear.close for ear in self._ears.values())]
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        each(steps, log, FAULT)
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            for ear in self._ears.values():
                ear.close()

    def _say_goodbye(self) -> None:
        self._do(self._mdns.close())
