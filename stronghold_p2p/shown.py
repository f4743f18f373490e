"""What a network shows of itself, open or not: rules, addresses of others, connections, and what happens."""

from collections.abc import Callable

from stronghold_p2p.announcing.announcer import ObservedAddress
from stronghold_p2p.arguments import check_function
from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.connection.live import Connection
from stronghold_p2p.errors import UsageError
from stronghold_p2p.events.events import Event
from stronghold_p2p.events.hub import Events, Overflow
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.identity import PeerId
from stronghold_p2p.loops import AsyncOnly
from stronghold_p2p.swarm.listeners import Listener
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.targets import check_peer


class Shown(AsyncOnly):
    """The part of ``Network`` that only looks at what its swarm has."""

    _swarm: Swarm

    @property
    def firewall(self) -> Firewall:
        """Who may do what: rules, bans, and the hooks that are asked."""
        return self._swarm.firewall

    @property
    def book(self) -> AddressBook:
        """Where peers can be reached."""
        return self._swarm.book

    @property
    def observed(self) -> tuple[ObservedAddress, ...]:
        """Where connected peers see us, what most of their networks say first."""
        return self._swarm.announcer.observed()

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The listeners that accept connections now."""
        return tuple(listener.face for listener in self._swarm.listeners.all)

    @property
    def protected(self) -> set[PeerId]:
        """Peers whose connections are kept although nothing happens on them; change the set as you like."""
        return self._swarm.protected

    def is_connected(self, peer: PeerId) -> bool:
        """Whether there is an open connection to ``peer``, opened by either side."""
        check_peer(peer)
        return self._swarm.connected(peer) is not None

    def connections(self, peer: PeerId | None = None) -> tuple[Connection, ...]:
        """The open connections, to ``peer`` or to everybody."""
        if peer is not None:
            check_peer(peer)
        return tuple(connection.face for connection in self._swarm.connections(peer))

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[Event], None]:
        """Call ``callback`` with every event at once (a decorator). It must not block; what it raises is logged."""
        check_function("on_event", callback, "an event")
        self._swarm.hub.follow(callback)
        return callback

    def events(self, *, buffer: int = 256, overflow: Overflow = "drop_oldest") -> Events:
        """What happens from now on, for ``async for``, until the network closes.

        At most ``buffer`` events wait for the reader; beyond that the oldest, or with ``"drop_newest"`` the newest,
        are lost, and ``Dropped(count)`` stands in their place. With ``"wait"`` the peers wait instead: while half of
        the buffer is full, accepted sockets are not read from and no handler starts (a peer or an address that has
        filled an eighth waits before the others do). Your own calls never wait, so a task that reads events may make
        them; what still does not fit is lost and counted. A reader that stops for ever stops a server: the log tells.
        """
        if self._swarm.closing:
            raise UsageError("the network is closed: nothing will happen any more")
        return Events(self._swarm.hub, buffer, overflow)
