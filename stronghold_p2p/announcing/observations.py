"""Where peers say that they see us: a table of what each has said, and what enough of them agree on.

identify tells each side from where the other one seems to come (identify/README.md, "observedAddr"), which nobody has
to believe. go-libp2p takes an address for its own when four observers say so (``ActivationThresh``), and counts all of
one IPv4 address or one IPv6 /56 as one. Here the four have to be four peers in four networks of the size that one
provider has, IPv4 /16 and IPv6 /32: an address that somebody makes us announce is one that others dial for us.

Nothing here knows of sockets: our end of a connection is ``local``, the first two components of its address, where a
listener of ours has it; of a connection that we have dialed from any free port, only the IP address means something,
and ``local`` is empty.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Final

from stronghold_p2p.identity import PeerId

AGREED: Final = 4  # networks (go)
KEPT: Final = 600.0  # seconds for which it counts after its connection has ended: peers come and go
NETWORKS: Final = 128  # that are remembered
PER_NETWORK: Final = 8  # observations from each: 1,024 in all
PER_LOCAL: Final = 3  # addresses that one end of ours may have outside (go)
_IP4: Final = 4  # bytes


@dataclass(slots=True, eq=False)
class Observation:
    """``peer`` has told that it sees our end ``local`` as ``seen``; it counts ``until`` then."""

    peer: PeerId
    local: bytes
    seen: bytes
    until: float = inf


def network_of(packed: bytes) -> bytes:
    """The network of an observer, by the bytes of its IP address."""
    return packed[: 2 if len(packed) == _IP4 else 4]


class Observations:
    """What has been observed. The network that has spoken last stands last, and in it what it has said last."""

    def __init__(self) -> None:
        self._networks: dict[bytes, dict[tuple[PeerId, bytes], Observation]] = {}
        self._network_of: dict[tuple[PeerId, bytes], bytes] = {}  # each peer speaks from one
        self._votes: dict[bytes, dict[bytes, Counter[bytes]]] = {}  # by our end and what it is seen as, of each network
        self.due = inf
        """Before then none expires."""

    def __len__(self) -> int:
        return sum(map(len, self._networks.values()))

    def observe(self, peer: PeerId, network: bytes, local: bytes, seen: bytes) -> Observation:
        """``peer``, who is in ``network``, has told it on a connection that is open; it takes back what it said before.

        Where there is no room, what was said over a connection that has ended is forgotten first.
        """
        if (peer, local) in self._network_of:
            self._forget((peer, local))
        if network not in self._networks and len(self._networks) >= NETWORKS:
            self._make_room()
        of_network = self._networks[network] = self._networks.pop(network, {})
        if len(of_network) >= PER_NETWORK:
            self._forget(_first_ended(of_network) or next(iter(of_network)))
            self._networks[network] = of_network
        observation = of_network[peer, local] = Observation(peer, local, seen)
        self._network_of[peer, local] = network
        self._votes.setdefault(local, {}).setdefault(seen, Counter())[network] += 1
        return observation

    def ended(self, observation: Observation, now: float) -> None:
        """Its connection has."""
        observation.until = now + KEPT
        self.due = min(self.due, observation.until)

    def expire(self, now: float) -> None:
        """Forget what has counted until ``now``."""
        if now < self.due:
            return
        everything = chain.from_iterable(found.items() for found in self._networks.values())
        for key in [key for key, one in everything if one.until <= now]:
            self._forget(key)
        left = chain.from_iterable(found.values() for found in self._networks.values())
        self.due = min((one.until for one in left), default=inf)

    def agreed(self, local: bytes) -> tuple[bytes, ...]:
        """What ``AGREED`` networks see ``local`` as, those on which most agree first."""
        votes = self._votes.get(local, {})
        found = sorted((-count, seen) for seen, one in votes.items() if (count := len(one)) >= AGREED)
        return tuple(seen for _, seen in found[:PER_LOCAL])

    def counts(self) -> dict[bytes, int]:
        """How many networks say each of what is said, at whatever end of ours, most first."""
        whole: dict[bytes, int] = {}
        for votes in self._votes.values():
            for seen, one in votes.items():
                whole[seen] = max(len(one), whole.get(seen, 0))
        return dict(sorted(whole.items(), key=lambda item: (-item[1], item[0])))

    def _make_room(self) -> None:
        ended = (name for name, found in self._networks.items() if all(one.until < inf for one in found.values()))
        network = next(ended, next(iter(self._networks)))
        for key in list(self._networks[network]):
            self._forget(key)

    def _forget(self, key: tuple[PeerId, bytes]) -> None:
        network = self._network_of.pop(key)
        found = self._networks[network]
        one = found.pop(key)
        if not found:
            del self._networks[network]
        by_seen = self._votes[one.local]
        votes = by_seen[one.seen]
        votes[network] -= 1
        if not votes[network]:
            del votes[network]
        if not votes:
            del by_seen[one.seen]
        if not by_seen:
            del self._votes[one.local]


def _first_ended(found: dict[tuple[PeerId, bytes], Observation]) -> tuple[PeerId, bytes] | None:
    return next((key for key, one in found.items() if one.until < inf), None)
