"""Listeners, and what arrives at them: admitted before any cryptography, upgraded without a task."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from multiaddr import Multiaddr

from stronghold_p2p.addressing.undialed import UNKNOWN, why_not
from stronghold_p2p.errors import (
    ConfigError,
    ConnectionClosed,
    DeadlineExceeded,
    HandshakeError,
    LimitExceeded,
    ListenError,
    P2PError,
)
from stronghold_p2p.events.events import AcceptFailed, Accepting, AddressAdded, AddressRemoved, ListenerEnded
from stronghold_p2p.firewall.limits.gate import Token
from stronghold_p2p.logs import OneLine, each
from stronghold_p2p.loops import check_home
from stronghold_p2p.seams import Transport, TransportListener, Upgraded
from stronghold_p2p.swarm.gatekeeper import kept_out
from stronghold_p2p.swarm.host import Host

log = logging.getLogger("stronghold_p2p.network")


class _Arrival:
    """One accepted connection that is not established yet, as ``Arrival``. It counts until its wire is gone."""

    __slots__ = ("_host", "_listeners", "_local", "_token", "give_up")

    def __init__(self, listeners: "Listeners", token: Token, host: str | None, local: Multiaddr) -> None:
        self._listeners = listeners
        self._token = token
        self._host = host
        self._local = local
        self.give_up: Callable[[], None] = token.release

    def begin(self, go: Callable[[], None]) -> Callable[[], None] | None:
        """Emit ``Accepting`` only when the upgrade begins: else one address could fill every reader's buffer."""
        hub = self._listeners.host.hub

        def begin() -> None:
            hub.emit(Accepting(self._host, self._local))
            go()

        if hub.backlog.holds(self._host):
            return hub.backlog.hold(self._host, begin)
        begin()
        return None

    def proven(self, upgraded: Upgraded) -> None:
        with suppress(P2PError):  # ``failed`` follows when its wire is gone
            self._listeners.host.establish(upgraded, self._token, "in")
            self._listeners.pending.pop(self._token, None)

    def failed(self, error: Exception) -> None:
        self._listeners.pending.pop(self._token, None)
        self._token.release()
        host = self._listeners.host
        if isinstance(error, LimitExceeded):
            host.refusals.tell(self._host, error)
        elif isinstance(error, HandshakeError | DeadlineExceeded):  # a web browser, for example, or somebody silent
            about = partial(" {} from {}: {}".format, self._local, self._host, OneLine(error))
            host.strangers.tell("no handshake came to", more=about, level=logging.INFO)
        host.hub.failed(AcceptFailed(self._host, error, self._local))


class Listener:
    """Accepts connections on one address. ``async with network`` closes it at the end."""

    def __init__(self, live: "LiveListener") -> None:
        self._live = live

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where it can be reached, without ``/p2p/``; on ``0.0.0.0`` or ``::`` the addresses of this host."""
        return self._live.addresses

    async def close(self) -> None:
        """Accept no more; connections stay. The address is free again when it returns.

        ``UsageError``: called in another event loop than the network's.
        """
        check_home(self._live.home)
        self._live.stop()
        await asyncio.sleep(0)


class LiveListener:
    """The swarm's side of one listener, as ``Arrivals``.

    An error of the system while accepting does not end it: it is told as ``AcceptFailed`` without a ``remote``.
    """

    def __init__(self, listeners: "Listeners") -> None:
        self._listeners = listeners
        self._hub = listeners.host.hub
        self._accepting: TransportListener | None = None
        self.addresses: tuple[Multiaddr, ...] = ()
        self.face = Listener(self)

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop in which it accepts."""
        return self._listeners.host.loop

    def started(self, accepting: TransportListener) -> None:
        self._accepting = accepting
        self.addresses = accepting.addresses

    def stop(self, error: ListenError | None = None) -> None:
        """Accept no more; connections stay."""
        accepting, self._accepting = self._accepting, None
        if accepting is None:
            return
        steps: list[Callable[[], object]] = [partial(self._listeners.all.remove, self), accepting.stop]
        steps += [partial(self._hub.emit, AddressRemoved(address)) for address in self.addresses]
        steps += [partial(self._hub.emit, ListenerEnded(self.addresses, error))]
        each(steps, log, "internal error while a listener was stopped")

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

    def admit(self, host: str | None, local: Multiaddr) -> _Arrival | None:
        listeners = self._listeners
        if listeners.closed:
            return None
        try:
            if host is not None and not listeners.host.gatekeeper.may_arrive(host):
                raise kept_out(host)
            token, gives_way = listeners.host.gate.admit(host, asyncio.get_running_loop().time())
            if gives_way is not None:
                listeners.pending.pop(gives_way).give_up()
                most = listeners.host.limits.pending_in or 0
                told = f"pending_in {most}/{most}, and of these its address had most: raise it in Limits"
                error = LimitExceeded(told, limit="pending_in", current=most, maximum=most)
                listeners.host.refusals.tell("a socket that was on its way", error)
        except (LimitExceeded, ConnectionClosed) as error:
            if isinstance(error, LimitExceeded):
                listeners.host.refusals.tell(host, error)
            self._hub.failed(AcceptFailed(host, error, local))
        except Exception:  # a fault of ours: this connection pays for it, and the loop hears nothing of it
            log.exception("internal error while accepting")
        else:
            arrival = listeners.pending[token] = _Arrival(listeners, token, host, local)
            return arrival
        return None

    def missed(self, error: OSError) -> None:
        self._hub.failed(AcceptFailed(None, self._told(error), self.addresses[0] if self.addresses else None))

    def closed(self, error: OSError) -> None:
        log.error("the system has ended a listener: %s", OneLine(self._told(error)))
        self.stop(self._told(error))

    def _told(self, error: OSError) -> ListenError:
        where = str(self.addresses[0]) if self.addresses else ""
        told = ListenError(f"accepting on {where}: {error.strerror or error}", address=where)
        told.__cause__ = error
        return told


class Listeners:
    """All listeners of one swarm. ``pending``: what was accepted and is not established yet, by its token."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.all: list[LiveListener] = []
        self.pending: dict[Token, _Arrival] = {}
        self.closed = False

    def transport_for(self, address: Multiaddr) -> Transport:
        """``ConfigError``: none of ours can listen there."""
        transport = self.host.transport_for(address)
        if transport is None:
            raise ConfigError(f"cannot listen on {address}: {why_not(address) or UNKNOWN}", where="listen")
        return transport

    def checked(self, addresses: Iterable[Multiaddr]) -> tuple[Multiaddr, ...]:
        """``addresses``, on each of which we can listen as far as that shows before it is done."""
        found = tuple(addresses)
        for address in found:
            self.transport_for(address)
        return found

    async def listen(self, address: Multiaddr) -> LiveListener:
        """Accept connections on ``address``. ``ConfigError``: nobody can; ``ListenError``: the system's reason."""
        transport = self.transport_for(address)
        listener = LiveListener(self)
        listener.started(await transport.listen(address, listener))
        self.all.append(listener)
        if self.closed:
            listener.stop()
        return listener

    def look(self) -> None:
        """Tell which addresses of this host have come and gone."""
        for listener in list(self.all):
            listener.look()

    def close(self) -> None:
        """Accept no more, and forget what has not been established; its transport aborts it."""
        self.closed = True
        for listener in list(self.all):
            listener.stop()
        for token in list(self.pending):
            token.release()
        self.pending.clear()
