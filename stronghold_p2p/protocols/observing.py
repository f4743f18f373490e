"""What identify learns of ourselves: where peers see us, kept while their connections last, and told when it is agreed.

The table and its rules are a core, ``announcing/``. Here it meets connections and the clock: one timer for the next
observation that expires, and none while every one belongs to an open connection.
"""

import asyncio
import logging
from math import inf
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import IP4, IP6
from stronghold_p2p.addressing.kinds import relays_of
from stronghold_p2p.announcing.observations import Observation
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.events.events import AddressAdded, AddressRemoved
from stronghold_p2p.swarm.host import Host

FAULTY: Final = 1.0  # seconds of rest after a fault of ours

log = logging.getLogger("stronghold_p2p.network")


class Observing:
    """The observations of one network's peers. What enough of them agree on comes and goes as events, as listeners do;
    identify pushes it then.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._of: dict[LiveConnection, Observation] = {}
        self._outside: tuple[Multiaddr, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def told(self, connection: LiveConnection, seen: Multiaddr) -> None:
        """The peer of ``connection`` sees our end of it as ``seen``."""
        if connection.closed or self._closed:
            return
        announcer, ends = self._host.announcer, (connection.local_address, connection.remote_address)
        observation = announcer.observe(connection.peer, ends, seen, self._host.bound)
        if observation is not None:
            self._of[connection] = observation
            self._look()

    def disconnected(self, connection: LiveConnection) -> None:
        observation = self._of.pop(connection, None)
        if observation is not None and not self._closed:
            self._host.announcer.observations.ended(observation, self._host.loop.time())
            self._set_timer()

    def look_soon(self) -> None:
        """Listeners have come or gone: what is seen of them has, too."""
        if not self._closed and self._host.announcer.observations:
            self._set_timer(0.0)

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = None
        try:
            self._look()
        except Exception:  # what is due stays so: not again in this moment
            log.exception("internal error in what peers observe of us")
            self._set_timer(self._host.loop.time() + FAULTY)

    def _look(self) -> None:
        """Tell what is agreed, and what no longer is."""
        host = self._host
        host.announcer.observations.expire(host.loop.time())
        before, self._outside = self._outside, host.announcer.outside(host.bound)
        for address in before:
            if address not in self._outside:
                host.hub.emit(AddressRemoved(address))
        for address in self._outside:
            if address not in before:
                host.hub.emit(AddressAdded(address))
        self._set_timer()

    def _set_timer(self, due: float | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._host.announcer.observations.due if due is None else due
        if due < inf:
            self._timer = self._host.loop.call_at(due, self._tick)


def seen_by_us(connection: LiveConnection) -> Multiaddr | None:
    """What we tell the peer of ``connection``: from where it comes. None: over a relay that tells it nothing, and js
    cannot read an address that begins with a peer's name.
    """
    remote = connection.remote_address
    return remote if bytes(remote)[0] in (IP4.code, IP6.code) and not relays_of(remote) else None
