"""Wires made of memory: what one end writes, the other receives in the next turn of the loop.

``MemoryTransport`` takes the place of TCP: it handles the same addresses, with ports of its own, so a suite that was
written for TCP runs over it unchanged.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import is_unspecified, tcp_address
from stronghold_p2p.errors import ConfigError, ConnectionClosed, DialError, ListenError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.seams import NOBODY, Arrivals, Upgraded, WireUser
from stronghold_p2p.transport.upgrading import Dialed, Upgrader

HIGH = 256 << 10  # bytes under way, above which the writer is told to stop
LOW = 64 << 10

_ports = count(40_000)
_listening: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Any]] = WeakKeyDictionary()


def listening() -> dict[int, Any]:
    """Who listens in this loop, by port."""
    return _listening.setdefault(asyncio.get_running_loop(), {})


def place(host: str, port: int) -> Multiaddr:
    return Multiaddr(f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}")


class MemoryListener:
    """One port of this loop. ``accept`` is called by whoever dials it."""

    def __init__(self, address: Multiaddr) -> None:
        target = tcp_address(address)
        if target is None:
            raise ConfigError(f"{address} is no TCP address", where="listen")
        host, port = ("127.0.0.1" if is_unspecified(address) else target[0]), target[1] or next(_ports)
        if port in listening():
            raise ListenError(f"cannot listen on {address}: in use", address=str(address))
        self.port = port
        self.addresses: tuple[Multiaddr, ...] = (place(host, port),)
        listening()[port] = self

    def stop(self) -> None:
        listening().pop(self.port, None)


def dialed_port(address: Multiaddr) -> int:
    """The port that ``address`` names; ``DialError`` if nobody can be there."""
    target = tcp_address(address)
    if target is None or not target[1] or is_unspecified(address):
        raise DialError(f"{address} is no TCP address that can be dialed")
    return target[1]


class MemoryWire:
    """One end; ``other`` is the other one."""

    def __init__(self, local: Multiaddr, remote: Multiaddr) -> None:
        self.local, self.remote = local, remote
        self.host: str | None = "127.0.0.1"
        self.user: WireUser = NOBODY
        self.other: MemoryWire
        self.congested = self.lost = False
        self._loop = asyncio.get_running_loop()
        self._inbox = bytearray()
        self._paused = self._due = self._finished = self._fin = False

    @property
    def partial(self) -> bool:
        return bool(self._inbox)

    @property
    def unsent(self) -> int:
        return len(self.other._inbox)

    @property
    def delivered(self) -> int:
        return -self.unsent

    def write(self, data: bytes | memoryview) -> None:
        if self.lost or self._finished:
            return
        other = self.other
        if not other.lost:
            other._inbox += data
            self.congested = len(other._inbox) > HIGH
            other._deliver_soon()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._deliver_soon()

    def finish(self) -> None:
        if not self._finished:
            self._finished = self.other._fin = True
            self.other._deliver_soon()

    def abort(self) -> None:
        self._loop.call_soon(self._lose, None)
        self._loop.call_soon(self.other._lose, ConnectionResetError("reset"))

    def _deliver_soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._due = False
        if self.lost or self._paused:
            return
        while self._inbox:
            inbox, self._inbox, user = self._inbox, bytearray(), self.user
            used = user.received(memoryview(inbox))
            self._inbox = inbox[used:] + self._inbox
            if self.user is user:
                break
        if self.other.congested:
            self.other.congested = False
            self._loop.call_soon(self.other._tell_writable)
        if self._fin:  # as a socket: the end of what comes closes it
            self.finish()
            self._lose(None)

    def _tell_writable(self) -> None:
        if not self.lost:
            self.user.writable()

    def _lose(self, error: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        if error is None and self._inbox:
            error = ConnectionClosed("the peer closed in the middle of a record", remote=True)
        user, self.user = self.user, NOBODY
        user.ended(error)


def pair(address: Multiaddr) -> tuple[MemoryWire, MemoryWire]:
    """The dialing and the accepting end of a connection to ``address``."""
    ours = place("127.0.0.1", next(_ports))
    one, two = MemoryWire(ours, address), MemoryWire(address, ours)
    one.other, two.other = two, one
    return one, two


class MemoryTransport:
    """In the place of TCP."""

    def __init__(self, upgrader: Upgrader) -> None:
        self._upgrader = upgrader

    def handles(self, address: Multiaddr) -> bool:
        return tcp_address(address) is not None

    async def dial(self, address: Multiaddr, expected: PeerId | None, *, name: str = "") -> Upgraded:
        port = dialed_port(address)
        await asyncio.sleep(0)
        listener = listening().get(port)
        if listener is None:
            raise DialError(f"{address}: Connection refused")
        ours, theirs = pair(address)
        dialed = Dialed()
        listener.accept(theirs)
        self._upgrader.dial(ours, expected, dialed)
        return await dialed.upgraded()

    async def listen(self, address: Multiaddr, arrivals: Arrivals) -> MemoryListener:
        listener = MemoryListener(address)
        listener.accept = lambda wire: self._upgrader.accept(wire, arrivals)  # type: ignore[attr-defined]
        return listener

    def close(self) -> None:
        self._upgrader.close()
