"""A listener: accepted sockets, admitted before any cryptography, upgraded without a task."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from multiaddr import Multiaddr

from stronghold_p2p.errors import LimitExceeded, ListenError, P2PError
from stronghold_p2p.events.events import (
    AcceptFailed,
    Accepting,
    AddressAdded,
    AddressRemoved,
    ListenerEnded,
)
from stronghold_p2p.transport import tcp
from stronghold_p2p.transport.link import Link
from stronghold_p2p.transport.upgrading import Upgrading

if TYPE_CHECKING:
    from stronghold_p2p.firewall.limits.gate import Token
    from stronghold_p2p.swarm.swarm import Swarm
    from stronghold_p2p.transport.upgrader import Upgraded


log = logging.getLogger("stronghold_p2p.network")


class Listener:
    """Accepts connections on one address. ``addresses``: where it can be reached, without ``/p2p/``.

    One on ``0.0.0.0`` or ``::`` follows the addresses of this host. An error of the system while accepting does not end
    it: it is told as ``AcceptFailed`` without a ``remote``.
    """

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._server: asyncio.Server | None = None
        self.addresses: tuple[Multiaddr, ...] = ()

    async def start(self, address: Multiaddr) -> None:
        self._server = await tcp.listen(address, self._accepted, self._missed, self._closed)
        self.addresses = tcp.bound_addresses(self._server)

    async def close(self) -> None:
        """Accept no more; connections stay. The address is free again when it returns."""
        self.stop()
        await asyncio.sleep(0)

    def stop(self) -> None:
        """``close`` for callers that cannot await."""
        self._end(None)

    def _end(self, error: ListenError | None) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        tcp.stop(server)
        self._swarm.forget_listener(self)
        for address in self.addresses:
            self._swarm.emit(AddressRemoved(address))
        self._swarm.emit(ListenerEnded(self, error))

    def look(self) -> None:
        """Tell what has come and gone since the addresses of this host were read."""
        if self._server is None:
            return
        before, self.addresses = self.addresses, tcp.bound_addresses(self._server)
        for address in before:
            if address not in self.addresses:
                self._swarm.emit(AddressRemoved(address))
        for address in self.addresses:
            if address not in before:
                self._swarm.emit(AddressAdded(address))

    def _missed(self, error: OSError) -> None:
        self._swarm.emit(AcceptFailed(None, self._told(error), self.addresses[0] if self.addresses else None))

    def _closed(self) -> None:
        self._end(self._told(OSError(errno.EBADF, os.strerror(errno.EBADF))))

    def _told(self, error: OSError) -> ListenError:
        where = str(self.addresses[0]) if self.addresses else ""
        told = ListenError(f"accepting on {where}: {error.strerror or error}", address=where)
        told.__cause__ = error
        return told

    def _accepted(self, link: Link) -> None:
        try:
            self._admit(link)
        except Exception:  # a fault of ours: this socket pays for it, and the loop hears nothing of it
            log.exception("internal error while accepting")
            link.abort()

    def _admit(self, link: Link) -> None:
        swarm = self._swarm
        ends = tcp.addresses_of(link.transport)
        if ends is None or swarm.closing:  # reset before we came to it
            link.abort()
            return
        host = tcp.remote_host(link.transport)
        try:
            admission = swarm.gate.admit(host, swarm.loop.time())
        except LimitExceeded as error:
            link.abort()
            swarm.emit(AcceptFailed(host, error, ends[0]))
            return
        if admission.gives_way is not None:
            swarm.pending.pop(admission.gives_way).cancel()
        token = admission.token
        swarm.pending[token] = upgrading = Upgrading(
            link,
            swarm.upgrade.inbound(),
            timeout=swarm.timeouts.upgrade,
            done=partial(self._upgraded, link, token, ends),
            failed=partial(self._failed, host, ends[0], token),
            loop=swarm.loop,
        )
        accepting = Accepting(host, ends[0])
        if swarm.hub.backlog.holds(host):
            upgrading.start_later(partial(self._hold, accepting))
        else:
            swarm.emit(accepting)
            upgrading.start()

    def _hold(self, accepting: Accepting, go: Callable[[], None]) -> Callable[[], None]:
        """It is told of in its turn, too: one address would fill the room that readers have for all."""

        def begin() -> None:
            self._swarm.emit(accepting)
            go()

        return self._swarm.hub.backlog.hold(accepting.remote, begin)

    def _upgraded(self, link: Link, token: Token, ends: tuple[Multiaddr, Multiaddr], upgraded: Upgraded) -> None:
        swarm = self._swarm
        upgrading = swarm.pending.pop(token)
        try:
            swarm.established(link, upgraded, token, "in", ends)
        except P2PError:
            swarm.pending[token] = upgrading  # it counts until its socket is gone
            raise

    def _failed(self, host: str | None, local: Multiaddr, token: Token, error: Exception) -> None:
        self._swarm.pending.pop(token, None)
        token.release()
        self._swarm.emit(AcceptFailed(host, error, local))
