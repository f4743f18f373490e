"""What happens to connections, as lines of the log at level DEBUG.

A line is longer than what a stranger sends for it. So what strangers bring about has ``AT_ONCE`` lines, and then
``EACH_SECOND``, for all of them together; the next line tells how many had none.
"""

import logging
import time
from typing import Final

from stronghold_p2p.events import events
from stronghold_p2p.events.backlog import source_of
from stronghold_p2p.events.events import Event
from stronghold_p2p.logs import OneLine
from stronghold_p2p.token_bucket import TokenBucket

AT_ONCE: Final = 200
EACH_SECOND: Final = 5.0

log = logging.getLogger("stronghold_p2p.network")


class Lines:
    """Tells the log of one network, which it calls ``net``, of each event that is about a connection."""

    def __init__(self, net: str) -> None:
        self._net = net
        self._strangers = TokenBucket(EACH_SECOND, AT_ONCE)
        self._without = 0

    def tell(self, event: Event) -> None:
        line = line_of(event)
        if line is None:
            return
        if source_of(event) is not None and not self._strangers.take(time.monotonic()):
            self._without += 1
            return
        without, self._without = self._without, 0
        log.debug("%s net=%s%s", OneLine(line), self._net, f" without={without}" if without else "")


def line_of(event: Event) -> str | None:
    """One event in words; None: it is none of these, or told elsewhere."""
    match event:
        case events.Dialing(peer, address):
            return f"dialing {address}" + ("" if peer is None else f" for {peer}")
        case events.DialFailed(peer, error):
            return f"no connection to {'the address' if peer is None else peer}: {error}"
        case events.Accepting(remote):
            return f"accepting {remote}"
        case events.AcceptFailed(remote, error):
            return f"turned away {remote}: {error}"
        case events.Opened(connection):
            way = "to" if connection.direction == "out" else "from"
            return f"connected {way} {connection.peer} at {connection.remote_address}"
        case events.Ended(connection, error):
            return f"ended with {connection.peer} at {connection.remote_address}: {error}"
        case events.AddressAdded(address):
            return f"listening on {address}"
        case events.AddressRemoved(address):
            return f"no longer listening on {address}"
        case events.PeerDiscovered() | events.PeerLost():
            return _of_others(event)
        case events.RequestFailed(request, error):
            return f"request {request.id} of {request.peer} for {request.protocol} failed: {error}"
        case events.RequestUnread(connection, protocol, error):
            return f"a request of {connection.peer} for {protocol} was not read: {error}"
        case _:
            return _relay_line(event)


def _relay_line(event: Event) -> str | None:
    match event:
        case events.ReservationMade(relay, peer, seconds):
            return f"{peer} has a reservation at {relay} for {seconds:.0f} s"
        case events.ReservationLost(relay, peer, error):
            return f"{peer} has no reservation at {relay} any more: {error or 'it has left, or has not renewed it'}"
        case events.ReservationRefused(relay, peer, error):
            return f"{peer} gets no reservation at {relay}: {error}"
        case events.CircuitOpened(source, target):
            return f"circuit from {source} to {target}"
        case events.CircuitClosed(source, target, reason, sent, received):
            return f"circuit from {source} to {target} is over, {sent} and {received} bytes: {reason}"
        case _:
            return None


def _of_others(event: events.PeerDiscovered | events.PeerLost) -> str:
    if isinstance(event, events.PeerLost):
        return f"lost {event.peer}"
    return f"discovered {event.peer} at {' '.join(map(str, event.addresses))}"
