"""Listeners, and what arrives at them: admitted before any cryptography, upgraded without a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from multiaddr import Multiaddr

from stronghold_p2p.errors import ConfigError, LimitExceeded, ListenError, P2PError
from stronghold_p2p.events.events import AcceptFailed, Accepting, AddressAdded, AddressRemoved, ListenerEnded
from stronghold_p2p.events.hub import Hub
from stronghold_p2p.firewall.limits.gate import Gate, Token
from stronghold_p2p.seams import TransportListener, Upgraded
from stronghold_p2p.swarm.host import Establisher
from stronghold_p2p.transport.registry import Transports

log = logging.getLogger("stronghold_p2p.network")


class _Place:
    """One accepted connection that is not established yet. It counts until its wire is gone."""

    __slots__ = ("give_up", "host", "local", "token")

    def __init__(self, token: Token, host: str | None, local: Multiaddr) -> None:
        self.token = token
        self.host = host
        self.local = local
        self.give_up: Callable[[], None] = token.release


class Listener:
    """Accepts connections on one address. ``async with network`` closes it at the end."""

    def __init__(self, live: LiveListener) -> None:
        self._live = live

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where it can be reached, without ``/p2p/``; on ``0.0.0.0`` or ``::`` the addresses of this host."""
        return self._live.addresses

    async def close(self) -> None:
        """Accept no more; connections stay. The address is free again when it returns."""
        self._live.stop()
        await asyncio.sleep(0)


class LiveListener:
    """The swarm's side of one listener, as ``Arrivals``.

    An error of the system while accepting does not end it: it is told as ``AcceptFailed`` without a ``remote``.
    """

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._hub = listeners.hub
        self._accepting: TransportListener | None = None
        self.addresses: tuple[Multiaddr, ...] = ()
        self.face = Listener(self)

    def started(self, accepting: TransportListener) -> None:
        self._accepting = accepting
        self.addresses = accepting.addresses

    def stop(self) -> None:
        """Accept no more; connections stay."""
        self._end(None)

    def _end(self, error: ListenError | None) -> None:
        accepting, self._accepting = self._accepting, None
        if accepting is None:
            return
        accepting.stop()
        self._listeners.all.remove(self)
        for address in self.addresses:
            self._hub.emit(AddressRemoved(address))
        self._hub.emit(ListenerEnded(self.addresses, error))

    def look(self) -> None:
        """Tell what has come and gone since the addresses of this host were read."""
        if self._accepting is None:
            return
        before, self.addresses = self.addresses, self._accepting.addresses
        for address in before:
            if address not in self.addresses:
                self._hub.emit(AddressRemoved(address))
        for address in self.addresses:
            if address not in before:
                self._hub.emit(AddressAdded(address))

    # ------------------------------------------------------------------ Arrivals

    def admit(self, host: str | None, local: Multiaddr) -> _Place | None:
        try:
            return self._listeners.admit(host, local)
        except LimitExceeded as error:
            self._hub.emit(AcceptFailed(host, error, local))
        except Exception:  # a fault of ours: this connection pays for it, and the loop hears nothing of it
            log.exception("internal error while accepting")
        return None

    def begin(self, place: _Place, go: Callable[[], None]) -> Callable[[], None] | None:
        """Emit ``Accepting`` only when the upgrade begins: else one address could fill every reader's buffer."""

        def begin() -> None:
            self._hub.emit(Accepting(place.host, place.local))
            go()

        if self._hub.backlog.holds(place.host):
            return self._hub.backlog.hold(place.host, begin)
        begin()
        return None

    def upgraded(self, place: _Place, upgraded: Upgraded) -> None:
        try:
            self._listeners.establisher.establish(upgraded, place.token, "in")
        except P2PError:
            return  # ``failed`` follows when its wire is gone
        self._listeners.pending.pop(place.token, None)

    def failed(self, place: _Place, error: Exception) -> None:
        self._listeners.pending.pop(place.token, None)
        place.token.release()
        self._hub.emit(AcceptFailed(place.host, error, place.local))

    def missed(self, error: OSError) -> None:
        self._hub.emit(AcceptFailed(None, self._told(error), self.addresses[0] if self.addresses else None))

    def closed(self, error: OSError) -> None:
        self._end(self._told(error))

    def _told(self, error: OSError) -> ListenError:
        where = str(self.addresses[0]) if self.addresses else ""
        told = ListenError(f"accepting on {where}: {error.strerror or error}", address=where)
        told.__cause__ = error
        return told


class Listeners:
    """All listeners of one swarm. ``pending``: what was accepted and is not established yet, by its place."""

    def __init__(self, transports: Transports, gate: Gate, hub: Hub, establisher: Establisher) -> None:
        self.hub = hub
        self.establisher = establisher
        self.all: list[LiveListener] = []
        self.pending: dict[Token, _Place] = {}
        self._transports = transports
        self._gate = gate
        self._closed = False

    async def listen(self, address: Multiaddr) -> LiveListener:
        """Accept connections on ``address``. ``ConfigError``: nobody can; ``ListenError``: the system's reason."""
        transport = self._transports.for_address(address)
        if transport is None:
            raise ConfigError(f"{address} is no TCP address", where="listen")
        listener = LiveListener(self)
        listener.started(await transport.listen(address, listener))
        self.all.append(listener)
        if self._closed:
            listener.stop()
        return listener

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        return tuple(address for listener in self.all for address in listener.addresses)

    def admit(self, host: str | None, local: Multiaddr) -> _Place | None:
        """A place for somebody who has come from ``host``; None: we are closing. ``LimitExceeded``."""
        if self._closed:
            return None
        token, gives_way = self._gate.admit(host, asyncio.get_running_loop().time())
        if gives_way is not None:
            self.pending.pop(gives_way).give_up()
        place = self.pending[token] = _Place(token, host, local)
        return place

    def close(self) -> None:
        """Accept no more, and forget what has not been established; its transport aborts it."""
        self._closed = True
        for listener in list(self.all):
            listener.stop()
        for token in list(self.pending):
            token.release()
        self.pending.clear()
