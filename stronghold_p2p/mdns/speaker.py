"""What we say on one link, and when: queries, announcements, answers, each no more than once a second.

The cadence: queries after 0, 1, 3, 7, 15, 31 seconds and from then on every 35, so three fall into the two minutes
that an announcement of ours, or of js, holds. Others hear our query, and its answers; so who hears one shortly before
its own leaves that out, but not twice in a row (RFC 6762, 7.3). Announcements come after 0, 1 and 3 seconds (8.3), and
when somebody asks, a twelfth of a second later on average, so that not all answer in the same moment (6).
"""

import math
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

from stronghold_p2p.mdns import messages
from stronghold_p2p.mdns.messages import LARGEST, META, SERVICE, Instance, fitting

Draw: TypeAlias = Callable[[int], bytes]
"""So many random bytes."""

FIRST_QUERY: Final = 1.0  # seconds between the first two; then twice as many each time
LONGEST_QUERY: Final = 35.0
EVERY: Final = 1.0  # seconds between two announcements at least (RFC 6762, 6)
ANNOUNCED: Final = (1.0, 2.0)  # seconds until an announcement is repeated
DELAY: Final = (0.02, 0.12)  # seconds until an answer
INSTANCES: Final = 3  # packets that one announcement may be
LABEL: Final = 32  # characters of a name (discovery/mdns.md: 32 to 63)
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"  # small letters: go tells them from capital ones


class Speaker:
    """``tick(now)`` returns the packets that are due; the next ones are at ``due``."""

    def __init__(self, now: float, draw: Draw) -> None:
        self._draw = draw
        self._instances: list[Instance] = []
        self._told: list[str] = []  # names that were announced, and not taken back
        self._hosts: tuple[IPv4Address | IPv6Address, ...] = ()
        self._texts: tuple[str, ...] = ()
        self._query_at = now + self._delay()
        self._interval = FIRST_QUERY
        self._left_out = False  # our last query
        self._announce_at = math.inf
        self._announced = -math.inf
        self._repeats: list[float] = []
        self._services_at = math.inf
        self._services_told = -math.inf

    @property
    def due(self) -> float:
        return min(self._query_at, self._announce_at, self._services_at)

    @property
    def names(self) -> set[str]:
        """Under which we are known here."""
        return {instance.name for instance in self._instances}

    def set(self, texts: tuple[str, ...], hosts: tuple[IPv4Address | IPv6Address, ...], now: float, port: int) -> None:
        """Announce these addresses from now on, under new names: go looks at a name once, js never forgets one."""
        if (texts, hosts) == (self._texts, self._hosts):
            return
        self._texts, self._hosts = texts, hosts
        self._instances = list(self._named(texts, hosts, port))
        self._repeats = list(ANNOUNCED)
        self._announce_at = max(now + self._delay(), self._announced + EVERY)

    def hear(self, asked: frozenset[str], known: frozenset[str], now: float) -> None:
        """Somebody asks: answer, unless whoever asks knows us."""
        if SERVICE in asked and not known:
            self._leave_out(now)
        ours = {one for instance in self._instances for one in (instance.name, instance.host)}
        if asked & ours or (SERVICE in asked and not self.names <= known):
            self.answer(now)
        if META in asked and self._instances:
            self._services_at = min(self._services_at, max(now + self._delay(), self._services_told + EVERY))

    def answer(self, now: float) -> None:
        """Announce what we are, soon."""
        if self._instances:
            self._announce_at = min(self._announce_at, max(now + self._delay(), self._announced + EVERY))

    def tick(self, now: float) -> list[bytes]:
        packets: list[bytes] = []
        if self._announce_at <= now:
            packets += self._announce(now)
        if self._services_at <= now:
            packets.append(messages.services())
            self._services_at, self._services_told = math.inf, now
        if self._query_at <= now:
            packets.append(messages.query())
            self._ask_again(now)
            self._left_out = False
        return packets

    def goodbye(self) -> list[bytes]:
        """The last packet: all our names are gone."""
        return [messages.goodbye(self._told)] if self._told else []

    def _announce(self, now: float) -> list[bytes]:
        """Take back the names that we had before, then tell those that we have."""
        names = [instance.name for instance in self._instances]
        stale = [name for name in self._told if name not in names]
        packets = [messages.goodbye(stale)] if stale else []
        packets += [messages.announcement(instance) for instance in self._instances]
        self._told = names
        self._announced = now
        self._announce_at = now + self._repeats.pop(0) if self._repeats else math.inf
        return packets

    def _ask_again(self, now: float) -> None:
        self._query_at = now + self._interval * (1 + self._chance() / 10)
        self._interval = min(2 * self._interval, LONGEST_QUERY)

    def _leave_out(self, now: float) -> None:
        late = self._interval == LONGEST_QUERY and now > self._query_at - LONGEST_QUERY / 2
        if late and not self._left_out:
            self._left_out = True
            self._ask_again(now)

    def _named(self, texts: Sequence[str], hosts: tuple[IPv4Address | IPv6Address, ...], port: int) -> list[Instance]:
        """One name for each packet: of several packets under one name go would see the first, and js the last."""
        found: list[Instance] = []
        while texts and len(found) < INSTANCES:
            empty = Instance(self._label(), (), hosts, port)
            count = fitting(texts, LARGEST - len(messages.announcement(empty)))
            found.append(Instance(empty.label, tuple(texts[:count]), hosts, port))
            texts = texts[count:]
        return found

    def _label(self) -> str:
        return "".join(_ALPHABET[byte % 32] for byte in self._draw(LABEL))

    def _delay(self) -> float:
        shortest, longest = DELAY
        return shortest + (longest - shortest) * self._chance()

    def _chance(self) -> float:
        return self._draw(1)[0] / 256
