"""TCP: listening and connecting. What is said on the socket is ``link`` and the layers above."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p.addressing import multiaddrs
from stronghold_p2p.errors import ConfigError, DialError, ListenError
from stronghold_p2p.transport.interfaces import host_addresses
from stronghold_p2p.transport.link import Link, inbox_for

BACKLOG = 1_024  # rust's

# Connections that asyncio accepts in one turn of the loop. It also is how often it tries, and complains, when there are
# no more descriptors: with 1,024 that is a core and a thousand tracebacks a second (reliability 4.1, row 4).
TOGETHER = 1


async def connect(address: Multiaddr, on_made: Callable[[Link], None]) -> Link:
    """A raw connection to ``address`` (``/ip4|ip6/../tcp/..``); ``DialError`` with the system's reason."""
    target = multiaddrs.tcp_address(address)
    if target is None or not target[1] or multiaddrs.is_unspecified(address):
        raise DialError(f"{address} is no TCP address that can be dialed")
    loop = asyncio.get_running_loop()
    inbox = inbox_for(loop)
    try:
        _, link = await loop.create_connection(lambda: Link(inbox, on_made), target[0], target[1])
    except OSError as error:
        raise DialError(f"{address}: {_reason(error)}") from error
    return link


class _Listening(socket.socket):
    """A listening socket that tells what asyncio keeps to itself: that accepting failed, and that it was closed."""

    missed: Callable[[OSError], None] | None = None
    closed: Callable[[], None] | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # nothing has gone wrong here
            raise
        except OSError as error:
            if self.missed is not None:
                self.missed(error)
            raise

    def close(self) -> None:
        super().close()
        closed, self.closed, self.missed = self.closed, None, None
        if closed is not None:
            closed()


async def listen(
    address: Multiaddr,
    on_made: Callable[[Link], None],
    missed: Callable[[OSError], None] | None = None,
    closed: Callable[[], None] | None = None,
) -> asyncio.Server:
    """Accept connections on ``address``; each calls ``on_made`` before anything is read from it.

    ``missed`` is called when the system gives no socket for one, ``closed`` when the listening socket has been closed.
    """
    target = multiaddrs.tcp_address(address)
    if target is None:
        raise ConfigError(f"{address} is no TCP address", where="listen")
    loop = asyncio.get_running_loop()
    inbox = inbox_for(loop)
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    try:
        created = socket.create_server(target[:2], family=family, backlog=BACKLOG)
        listening = _Listening(created.family, created.type, created.proto, created.detach())
        listening.missed, listening.closed = missed, closed
        server = await loop.create_server(
            lambda: Link(inbox, on_made), sock=listening, backlog=TOGETHER, start_serving=False
        )
        try:
            await server.start_serving()
            listening.listen(BACKLOG)  # asyncio has set it to ``TOGETHER``
        except BaseException:
            server.close()
            raise
    except OSError as error:
        raise ListenError(
            f"cannot listen on {address}: {_reason(error)}{_advice(error, target[1])}", address=str(address)
        ) from error
    return server


def stop(server: asyncio.Server) -> None:
    """Accept no more from now on; the listening sockets are closed in the next turn of the loop.

    asyncio makes the transport of a socket a turn after it has accepted it, and loses both if the server was closed in
    between.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        with suppress(NotImplementedError):  # Windows' other loop
            loop.remove_reader(listening)
    loop.call_soon(server.close)


def bound_addresses(server: asyncio.Server) -> tuple[Multiaddr, ...]:
    """Where the server can be reached: an unspecified address stands for each address of this host."""
    found: list[Multiaddr] = []
    for listening in server.sockets:
        bound = listening.getsockname()
        address = multiaddrs.from_socket(bound)
        if multiaddrs.is_unspecified(address):
            hosts = host_addresses(listening.family)
            found += [multiaddrs.from_socket((host, *bound[1:])) for host in hosts]
        else:
            found.append(address)
    return tuple(found)


def addresses_of(transport: asyncio.BaseTransport) -> tuple[Multiaddr, Multiaddr] | None:
    """Local and remote address of a connected socket; None when the peer has gone already."""
    local, remote = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if not local or not remote:
        return None
    return multiaddrs.from_socket(local), multiaddrs.from_socket(remote)


def remote_host(transport: asyncio.BaseTransport) -> str | None:
    """The remote IP address as the socket tells it."""
    remote = transport.get_extra_info("peername")
    return str(remote[0]) if remote else None


def _advice(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return "; take another port, or 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; take an address of this machine, or 0.0.0.0 for all"
    return "; take a port above 1023" if error.errno == errno.EACCES and port < 1_024 else ""


def _reason(error: OSError) -> str:
    """The system's own words: asyncio puts the address into theirs, which we name already."""
    return os.strerror(error.errno) if error.errno else str(error)
