"""mDNS as a function of bytes, source, link and time: what is heard comes in, and what to do about it comes out.

The shell calls ``set_links`` and ``set_addresses`` when something has changed, ``hear`` for each packet, and
``tick`` when it is ``due``; these two return what follows.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from typing import Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.mdns.addresses import Ip, heard, port_of, worth_telling
from stronghold_p2p.mdns.messages import DUMMY_PORT, Announcement, read
from stronghold_p2p.mdns.speaker import Draw, Speaker
from stronghold_p2p.mdns.table import LONGEST, Change, Table, grouped
from stronghold_p2p.token_bucket import TokenBucket

Interface: TypeAlias = IPv4Interface | IPv6Interface

SOURCES: Final = 256  # of which it is remembered how many packets they have sent
BURST: Final = 3.0  # seconds of packets that a source may send at once: one machine may have many peers
ALL: Final = 20  # sources that may send all they may, at the same time
EXPIRE_EVERY: Final = 0.25  # seconds between two looks at what has expired


@dataclass(frozen=True, slots=True)
class Link:
    """One interface and one version of IP, 4 or 6, over which packets come and go."""

    name: str
    index: int
    version: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``data`` to the group of ``link``."""

    link: Link
    data: bytes


@dataclass(frozen=True, slots=True)
class Hint:
    """Somebody says that ``peer`` can be reached there, for so many seconds."""

    peer: PeerId
    addresses: tuple[Multiaddr, ...]
    seconds: float


Output: TypeAlias = Send | Hint | Change


class Mdns:
    """One peer's. ``peers`` and ``rate`` are ``Limits.mdns_peers`` and ``Limits.mdns_rate``; ``dropped`` are packets
    that cannot be read, come from elsewhere, or are too many.
    """

    def __init__(self, peer: PeerId, *, peers: int | None, rate: float | None, draw: Draw) -> None:
        self._peer = peer
        self._rate, self._draw = rate, draw
        self._table = Table(peers)
        self._links: dict[Link, Speaker] = {}
        self._interfaces: dict[Link, tuple[Interface, ...]] = {}
        self._host: frozenset[Ip] = frozenset()
        self._addresses: tuple[Multiaddr, ...] = ()
        self._sources: OrderedDict[str, TokenBucket] = OrderedDict()
        self._all = TokenBucket(math.inf if rate is None else ALL * rate, math.ceil(ALL * BURST * (rate or 1)))
        self._expired = -math.inf
        self.heard = 0
        self.dropped = 0

    @property
    def due(self) -> float:
        expiry = max(self._table.due, self._expired + EXPIRE_EVERY)
        return min([expiry, *(speaker.due for speaker in self._links.values())])

    @property
    def peers(self) -> int:
        """How many were heard of."""
        return len(self._table)

    def set_links(self, links: Mapping[Link, tuple[Interface, ...]], now: float) -> None:
        """These are there now, each with the addresses that we have on it."""
        if links == self._interfaces:
            return
        self._host = frozenset(interface.ip for interfaces in links.values() for interface in interfaces)
        self._interfaces = dict(links)
        self._links = {link: self._links.get(link) or Speaker(now, self._draw) for link in links}
        self._tell(now)

    def set_addresses(self, addresses: Iterable[Multiaddr], now: float) -> None:
        """Others are told to reach us there; without ``/p2p/``."""
        given = tuple(addresses)
        if given != self._addresses:
            self._addresses = given
            self._tell(now)

    def _tell(self, now: float) -> None:
        for link, speaker in self._links.items():
            ips = tuple(interface.ip for interface in self._interfaces[link])
            both = {one.ip for other in self._links if other.index == link.index for one in self._interfaces[other]}
            texts = tuple(worth_telling(self._addresses, self._peer, both, self._host))
            speaker.set(texts, ips[:2] if texts else (), now, port_of(texts) or DUMMY_PORT)

    def hear(self, data: bytes, source: str, link: Link, now: float) -> list[Output]:
        """One packet from the IP address ``source``; whatever port it came from, as rust takes any."""
        self.heard += 1
        if link not in self._links or not self._is_near(source, link) or not self._may(source, now):
            self.dropped += 1
            return []
        try:
            said = read(data)
        except DecodeError:
            self.dropped += 1
            return []
        speaker = self._links[link]
        speaker.hear(said.asked, said.known, now)
        found: list[Output] = []
        for announcement in said.announced:
            if announcement.ttl:
                found += self._take(announcement, source, link, now)
            elif announcement.name in speaker.names:  # somebody says goodbye in our name
                speaker.answer(now)
        gone = {announcement.name for announcement in said.announced if not announcement.ttl}
        if gone:
            self._table.leave(gone, source=source, now=now)
        return found

    def _take(self, announcement: Announcement, source: str, link: Link, now: float) -> list[Output]:
        ip = ip_address(source)
        here = ip.is_loopback or ip in self._host
        read_ones = (heard(text, here=here, zone=link.name) for text in announcement.texts)
        peer, addresses = grouped(one for one in read_ones if one is not None)
        if peer is None or peer == self._peer:
            return []
        ttl = min(announcement.ttl, LONGEST)
        changes = self._table.take(peer, addresses, source=source, name=announcement.name, ttl=ttl, now=now)
        known = set(self._table.addresses(peer))
        kept = tuple(address for address in addresses if address in known)
        return [*([Hint(peer, kept, ttl)] if kept else []), *changes]

    def tick(self, now: float) -> list[Output]:
        """What is due."""
        found: list[Output] = []
        for link, speaker in self._links.items():
            if speaker.due <= now:
                found += [Send(link, packet) for packet in speaker.tick(now)]
        if self._table.due <= now and self._expired + EXPIRE_EVERY <= now:
            self._expired = now
            found += self._table.expire(now)
        return found

    def close(self) -> list[Send]:
        """The goodbyes."""
        return [Send(link, packet) for link, speaker in self._links.items() for packet in speaker.goodbye()]

    def _is_near(self, source: str, link: Link) -> bool:
        """Whether it is on the link: one of its networks has it, or it is this machine."""
        try:
            ip = ip_address(source)
        except ValueError:
            return False
        near = any(ip in interface.network for interface in self._interfaces[link] if interface.version == ip.version)
        return near or (ip.version == 6 and ip.is_link_local) or ip in self._host

    def _may(self, source: str, now: float) -> bool:
        """Whether ``source`` has sent less than it may, and all together have."""
        if self._rate is None:
            return True
        bucket = self._sources.get(source)
        if bucket is None:
            bucket = self._sources[source] = TokenBucket(self._rate, math.ceil(BURST * self._rate))
            if len(self._sources) > SOURCES:
                self._sources.popitem(last=False)
        self._sources.move_to_end(source)
        return bucket.take(now) and self._all.take(now)
