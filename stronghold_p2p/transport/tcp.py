"""TCP: addresses of the form ``/ip4|ip6/../tcp/..``, dialed and listened on."""

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.addressing.endpoint import Spoken
from stronghold_p2p.addressing.kinds import from_socket, is_unspecified, tcp_address
from stronghold_p2p.addressing.undialed import UNKNOWN, why_not
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConfigError, DialError, ListenError, P2PError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import each
from stronghold_p2p.seams import Arrivals, TransportListener, Upgraded, Wire
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.transport.busy_poll import PollingWire
from stronghold_p2p.transport.shared_port import Around, SharedPort
from stronghold_p2p.transport.socket_wire import SocketWire, inbox_for
from stronghold_p2p.transport.upgrading import Dialed, Upgrader

BACKLOG: Final = 1_024  # rust's

# Connections that asyncio accepts in one turn of the loop. It also is how often it tries, and complains, when there are
# no more descriptors: with 1,024 that is a core and a thousand tracebacks a second (hostile row 4).
TOGETHER: Final = 1

log = logging.getLogger("stronghold_p2p.network")


Target: TypeAlias = tuple[str, int]
"""An IP address, with a zone behind ``%`` if it has one, and a port."""


def _bare(wire: Wire) -> Wire:
    return wire


class TcpTransport:
    """Dials and listens for one network; ``upgrader`` makes connections of its sockets.

    Transports whose wires go around those of sockets do it by ``connect`` and ``bind``.
    """

    def __init__(self, upgrader: Upgrader, timeouts: Timeouts) -> None:
        self._upgrader = upgrader
        self._connect = timeouts.connect
        self._busy_poll = timeouts.busy_poll
        self._ports: dict[Target, SharedPort] = {}

    def handles(self, address: Multiaddr) -> bool:
        return tcp_address(address) is not None

    async def dial(self, address: Multiaddr, expected: PeerId | None, *, name: str = "") -> Upgraded:
        target = tcp_address(address)
        if target is None:
            raise DialError(f"{address} cannot be dialed: {why_not(address) or UNKNOWN}", temporary=False)
        return await self.connect(address, target[:2], expected, name=name)

    async def connect(
        self, address: Multiaddr, target: Target, expected: PeerId | None, around: Around = _bare, *, name: str = ""
    ) -> Upgraded:
        """Connect a socket to ``target``, and upgrade what ``around`` makes of it; ``address`` is where that leads."""
        if not target[1] or is_unspecified(address):
            raise DialError(f"{address} cannot be dialed: {why_not(address) or UNKNOWN}", temporary=False)
        dialed = Dialed()
        loop = asyncio.get_running_loop()
        wire = self._wires(partial(self._made, address, expected, dialed, around))
        try:
            async with Deadline(self._connect, "connecting", peer=expected, setting="Timeouts.connect"):
                await loop.create_connection(wire, *target)
        except BaseException as error:
            dialed.cancel()
            if isinstance(error, OSError) and not isinstance(error, P2PError):
                told = f"{address} ({name})" if name else str(address)
                raise DialError(f"{told}: {_reason(error, address, target)}") from error
            raise
        return await dialed.upgraded()

    def _made(
        self, address: Multiaddr, expected: PeerId | None, dialed: Dialed, around: Around, wire: SocketWire
    ) -> None:
        """The socket is there: the upgrade owns it before its first byte can arrive."""
        try:
            local, _, wire.host = _ends(wire.transport) or (address, address, None)
            wire.local, wire.remote = local, address
            self._upgrader.dial(around(wire), expected, dialed)
        except Exception as error:  # a fault of ours: the caller of the dial hears of it, the loop does not
            wire.abort()
            dialed.failed(error)

    async def listen(self, address: Multiaddr, arrivals: Arrivals) -> TransportListener:
        target = tcp_address(address)
        if target is None:
            raise ConfigError(f"cannot listen on {address}: {why_not(address) or UNKNOWN}", where="listen")
        return await self.bind(address, target[:2], arrivals)

    async def bind(
        self,
        address: Multiaddr,
        target: Target,
        arrivals: Arrivals,
        around: Around = _bare,
        *,
        spoken: Spoken = "tcp",
    ) -> TransportListener:
        """Listen on ``target``, and upgrade what ``around`` makes of each socket; ``address`` is what errors name.

        Where we listen there already for something else, the port is shared (``shared_port.py``).
        """
        shared = self._ports.get(target)
        if shared is not None and shared.free_for(spoken):
            return shared.join(spoken, arrivals, around)
        port = SharedPort(self._forget)
        listener = TcpListener(port)
        try:
            await listener.start(target, self._wires(partial(self._accepted, port)))
        except OSError as error:
            told = f"cannot listen on {address}: {_reason(error, address, target)}{_advice(error, target)}"
            raise ListenError(told, address=str(address)) from error
        port.listening = listener
        self._ports[target[0], listener.port] = port
        return port.join(spoken, arrivals, around)

    def _forget(self, gone: SharedPort) -> None:
        self._ports = {target: port for target, port in self._ports.items() if port is not gone}

    def _accepted(self, port: SharedPort, wire: SocketWire) -> None:
        try:
            ends = _ends(wire.transport)
            if ends is None:  # reset before we came to it
                wire.abort()
                return
            wire.local, wire.remote, wire.host = ends
            self._upgrader.accept(port.around(wire), port)
        except Exception:  # a fault of ours: this connection pays for it, and the loop hears nothing of it
            log.exception("internal error while accepting")
            wire.abort()

    def _wires(self, on_made: Callable[[SocketWire], None]) -> Callable[[], SocketWire]:
        inbox = inbox_for(asyncio.get_running_loop())
        if self._busy_poll is None:
            return partial(SocketWire, inbox, on_made)
        return partial(PollingWire, inbox, on_made, self._busy_poll)

    def close(self) -> None:
        self._upgrader.close()


class TcpListener:
    """One listening socket."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self._server: asyncio.Server | None = None
        self._hosts: dict[int, list[str]] = {}  # the addresses of this host that were known last, by family

    async def start(self, target: tuple[str, int], wire: Callable[[], SocketWire]) -> None:
        """Bind to a host and a port; each accepted socket calls ``wire``. ``OSError`` if the system refuses.

        Whatever fails, and if it is cancelled, no socket is left.
        """
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        created = socket.create_server(target, family=family, backlog=BACKLOG)
        accepting = _AcceptSocket(created.family, created.type, created.proto, created.detach())
        server: asyncio.Server | None = None
        try:
            server = await loop.create_server(wire, sock=accepting, backlog=TOGETHER, start_serving=False)
            await server.start_serving()
            accepting.listen(BACKLOG)  # asyncio has set it to ``TOGETHER``
            self._server = server
            self.addresses  # noqa: B018 - what is read from the system may fail, too
        except BaseException:
            self._server = None
            if server is not None:
                server.close()
            accepting.close()
            raise
        accepting.listener = self

    @property
    def port(self) -> int:
        """The port, also where the system has chosen it; 0 once it is closed."""
        for listening in self._server.sockets if self._server is not None else ():
            return int(listening.getsockname()[1])
        return 0

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """An unspecified address stands for each address of this host, as far as this can be known."""
        found: list[Multiaddr] = []
        for listening in self._server.sockets if self._server is not None else ():
            bound = listening.getsockname()
            wild = is_unspecified(from_socket(bound))
            hosts = self._all_hosts(listening.family) if wild else bound[:1]
            found += [from_socket((host, *bound[1:])) for host in hosts]
        return tuple(found)

    def _all_hosts(self, family: int) -> list[str]:
        """If the system tells nothing, for now or at all, what it told before; else what can be found out."""
        try:
            self._hosts[family] = host_addresses(family)
        except OSError as error:
            log.debug("the addresses of this host: %s", error)
            if family not in self._hosts:
                self._hosts[family] = guessed_addresses(family)
        return self._hosts[family]

    def stop(self) -> None:
        """The listening sockets are closed in the next turn of the loop: asyncio makes the transport of a socket a turn
        after it has accepted it, and loses both if the server was closed in between.
        """
        server, self._server = self._server, None
        if server is None:
            return
        loop = asyncio.get_running_loop()
        for listening in server.sockets:
            with suppress(NotImplementedError):  # Windows' other loop
                loop.remove_reader(listening)
        loop.call_soon(server.close)

    def closed(self) -> None:
        """The listening socket was closed, by us or by the system."""
        if self._server is not None:
            self._server = None
            self.arrivals.closed(OSError(errno.EBADF, os.strerror(errno.EBADF)))


class _AcceptSocket(socket.socket):
    """A listening socket that tells what asyncio keeps to itself: that accepting failed, and that it was closed."""

    listener: TcpListener | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # nothing has gone wrong here
            raise
        except OSError as error:
            if self.listener is not None:
                _told(partial(self.listener.arrivals.missed, error))
            raise

    def close(self) -> None:
        super().close()
        listener, self.listener = self.listener, None
        if listener is not None:
            _told(listener.closed)


def _told(tell: Callable[[], object]) -> None:
    """The event loop calls us from its own callbacks: nothing that we raise may come between it and its work."""
    each((tell,), log, "internal error while telling of a listener")


def get_network_addrs(version: int) -> list[str]:
    """The package brings psutil along, which takes ten milliseconds: whoever listens nowhere needs neither."""
    from multiaddr.utils import get_network_addrs as told  # noqa: PLC0415

    return list(told(version))


def host_addresses(family: int) -> list[str]:
    """Every address of this host in ``family``, loopback first, without link-local ones, which need a zone.

    ``OSError``: the system does not tell, as Android and some sandboxes do.
    """
    version, loopback = (6, "::1") if family == socket.AF_INET6 else (4, "127.0.0.1")
    hosts = [ipaddress.ip_address(host) for host in get_network_addrs(version)]
    found = [str(host) for host in hosts if not host.is_link_local]
    return list(dict.fromkeys([loopback, *found] if _is_here(family, loopback) else found))


def _is_here(family: int, host: str) -> bool:
    """Whether this host has the address; loopback may be switched off, as IPv6 often is."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            return False
        raise
    return True


def guessed_addresses(family: int) -> list[str]:
    """Loopback, and from where this host would send into the Internet; nothing is sent."""
    loopback, anywhere = ("::1", "2001:db8::1") if family == socket.AF_INET6 else ("127.0.0.1", "192.0.2.1")
    hosts = [loopback]
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((anywhere, 9))
        hosts.append(probe.getsockname()[0])
    return list(dict.fromkeys(hosts))


def _ends(transport: asyncio.BaseTransport) -> tuple[Multiaddr, Multiaddr, str] | None:
    """Local and remote address of a connected socket, and the remote IP; None when the peer has gone already."""
    local, remote = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if not local or not remote:
        return None
    return from_socket(local), from_socket(remote), str(remote[0])


def _advice(error: OSError, target: Target) -> str:
    host, port = target
    if error.errno == errno.EADDRINUSE:
        return "; take another port, or 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL:
        every = "::" if ":" in host else "0.0.0.0"  # noqa: S104 - a text
        return f"; take an address of this machine, or {every} for all"
    return "; take a port above 1023" if error.errno == errno.EACCES and port < 1_024 else ""


def _reason(error: OSError, address: Multiaddr, target: Target) -> str:
    """The system's own words: asyncio puts the address into theirs, which we name already. Its ``EINVAL`` tells less
    than the address does, and ``getaddrinfo`` has numbers of its own, which mean that there is no such zone.
    """
    if isinstance(error, socket.gaierror):
        zone = target[0].partition("%")[2]
        return f"there is no zone {zone} here ({error.strerror})" if zone else str(error.strerror)
    if error.errno == errno.EINVAL and not is_unspecified(address) and (why := why_not(address)) is not None:
        return why
    return os.strerror(error.errno) if error.errno else str(error)
