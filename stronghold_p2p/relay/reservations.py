"""Who has a place at this relay, and for how long: a table as a function of peers, hosts and time.

A place belongs to the connection on which it was asked for, and is gone with it (relay/circuit-v2.md, "Reservation").
go's limits: so many places, and of these so many for one IP address (``relay.DefaultResources``). To renew one is not
to take another. Times are seconds of whatever clock the caller has.
"""

from dataclasses import dataclass

from stronghold_p2p.identity import PeerId
from stronghold_p2p.relay.messages import Status


@dataclass(frozen=True, slots=True)
class Place:
    """``expires``: when it is over unless it is renewed. ``host``: what limits count it by; None: by nothing."""

    expires: float
    host: str | None


class Reservations:
    """At most ``maximum`` places, ``per_host`` of one host (None: any number), for ``duration`` seconds each."""

    def __init__(self, maximum: int | None, per_host: int | None, duration: float) -> None:
        self.maximum = maximum
        self.per_host = per_host
        self.duration = duration
        self._places: dict[PeerId, Place] = {}
        self._of_hosts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, peer: object) -> bool:
        return peer in self._places

    def peers(self) -> tuple[PeerId, ...]:
        """Who was longest without a renewal comes first."""
        return tuple(self._places)

    def reserve(self, peer: PeerId, host: str | None, now: float, *, preferred: bool = False) -> float | Status:
        """A place for ``peer`` from now on: until when; or why it gets none.

        ``preferred``: it is counted, but no limit keeps it out.
        """
        self.expire(now)
        before = self._places.get(peer)
        if not preferred and not self._has_room(before, host):
            return Status.RESERVATION_REFUSED
        self.release(peer)
        self._places[peer] = place = Place(now + self.duration, host)
        if host is not None:
            self._of_hosts[host] = self._of_hosts.get(host, 0) + 1
        return place.expires

    def _has_room(self, before: Place | None, host: str | None) -> bool:
        if before is None and self.maximum is not None and len(self._places) >= self.maximum:
            return False
        if host is None or self.per_host is None or (before is not None and before.host == host):
            return True
        return self._of_hosts.get(host, 0) < self.per_host

    def release(self, peer: PeerId) -> bool:
        """``peer`` has left. False: it had no place."""
        place = self._places.pop(peer, None)
        if place is None:
            return False
        if place.host is not None:
            left = self._of_hosts[place.host] - 1
            if left:
                self._of_hosts[place.host] = left
            else:
                del self._of_hosts[place.host]
        return True

    def expire(self, now: float) -> tuple[PeerId, ...]:
        """Forget the places whose time is over; whose they were. They stand in the order of their ends."""
        over: list[PeerId] = []
        for peer, place in self._places.items():
            if place.expires > now:
                break
            over.append(peer)
        for peer in over:
            self.release(peer)
        return tuple(over)

    def due(self) -> float | None:
        """When ``expire`` has something to do; None: there is no place."""
        return next((place.expires for place in self._places.values()), None)
