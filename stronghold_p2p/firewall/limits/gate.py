"""Admission control: how many connections, from where and how fast, before any cryptography is done.

This module only counts. The listener asks ``admit`` for a token when a socket was accepted, the dialer asks ``dial``
before it opens one; both call ``establish`` when the handshake has named the peer, and ``release`` whatever
happens. Every count is that of the living tokens, so a count cannot be forgotten or given back twice.

A source is an IPv4 address or an IPv6 /56, the network that one household is given (RIPE-690, section 4.2); a provider
can hand out many of these to one customer, so a /48 is counted too, with eight times as much (hostile rows 1 to 3).

Strangers, which are peers that have connected to us and are not protected, have three quarters of
``Limits.connections`` at most: whoever fills all of theirs does not keep us from dialing, nor protected peers from us.
Where a place is missing, ``gives_way`` tells which connection may be closed for it (hostile row 142).
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.firewall.subnets import parse_host
from stronghold_p2p.identity import PeerId
from stronghold_p2p.per_peer import PerPeer
from stronghold_p2p.token_bucket import TokenBucket

# Sources whose accept rate is remembered: more than can be at work within the 3.2 s in which a bucket refills.
TRACKED_SOURCES = 4_096
ACCEPT_BURST: Final = 16  # sockets at once from one address, before ``Limits.accept_rate`` counts (go)
PENDING_PER_IP: Final = 16  # sockets of one address that are no connections yet, or an eighth of ``Limits.pending_in``
RESERVED: Final = 4  # one of so many connections is not for strangers
_SITE_BITS, _REGION_BITS = 56, 48
_REGION_FACTOR = 8

_Place: TypeAlias = tuple[int, int, int] | str
# Where a socket comes from: what limits count, and the IPv6 /48 around it; empty: it is not counted by source.
_Source: TypeAlias = tuple[_Place, ...]


@dataclass(eq=False, slots=True)
class Token:
    """One place at the gate. ``release`` gives it back, any number of times."""

    gate: "Gate"
    direction: Direction
    source: _Source = ()
    peer: PeerId | None = None  # once it is that of a connection
    live: bool = True
    stranger: bool = False  # the connection's peer came by itself, and is not protected

    def release(self) -> None:
        self.gate.release(self)


class Gate:
    """Counts what is pending and what is connected against ``limits``; each refusal is a ``LimitExceeded``.

    The error's ``limit`` is the field of ``config.Limits``. With ``exempt_loopback`` (the default) addresses of this
    machine are not counted by source, so ``pending_per_ip``, ``accept_rate`` and ``per_subnet`` do not hold for them.
    Limits by source concern inbound sockets only, as a dial is our own choice. Memory is bounded by the limits and by
    ``TRACKED_SOURCES``, however many addresses call.
    """

    def __init__(self, limits: Limits, *, exempt_loopback: bool = True) -> None:
        self._limits = limits
        self._exempt_loopback = exempt_loopback
        self._arrivals: OrderedDict[_Place, TokenBucket] = OrderedDict()  # the sources that were seen last
        most = limits.pending_in
        self._pending_per_ip = None if most is None else max(PENDING_PER_IP, most // 8)
        self._pending_out = 0
        self._pending_in = 0
        self._waiting: dict[_Source, dict[Token, None]] = {}  # in order of arrival
        self._established: Counter[Direction] = Counter()
        self._strangers = 0
        # The swarm sets it: how to close the connection that is missed least; None: all are needed.
        self.gives_way: Callable[[], Callable[[], object] | None] = lambda: None
        self._peers: PerPeer[PeerId] = PerPeer(limits.per_peer)
        self._places: PerPeer[_Place] = PerPeer(None)

    def admit(self, host: str | None, now: float) -> tuple[Token, Token | None]:
        """A place for an accepted socket, before anything is read from it, and who gives way: close that one's socket.

        ``host`` is the remote address as the socket tells it, None where there is none (a relayed or an
        in-memory connection); ``now`` is in seconds on a clock that never goes back. When ``pending_in`` is
        full, the oldest pending socket of the source that has most of them gives way, and has lost its place.
        """
        source = self._source(host)
        if source:
            self._check_rate(source[0], now)
            _check("pending_per_ip", len(self._waiting.get(source, ())), self._pending_per_ip)
        self._check_connected("in", source)
        self._check_all(self.gives_way)
        gives_way = self._make_room()
        token = Token(self, "in", source)
        self._waiting.setdefault(source, {})[token] = None
        self._pending_in += 1
        return token, gives_way

    def dial(self) -> Token:
        _check("pending_out", self._pending_out, self._limits.pending_out)
        self._check_connected("out", ())
        self._check_all(self.gives_way)
        self._pending_out += 1
        return Token(self, "out")

    def establish(self, token: Token, peer: PeerId, *, protected: bool = False) -> None:
        """Turn a pending place into that of a connection to ``peer``, the authenticated one.

        On ``LimitExceeded`` the place stays pending: close the connection and release it. A token that has
        lost its place meanwhile gets none here. Another connection may have to give way.
        """
        if not token.live or token.peer is not None:
            raise _exceeded("pending_in", self._pending_in, self._limits.pending_in or 0)
        _check("per_peer", self._peers.count(peer), self._limits.per_peer)
        self._check_connected(token.direction, token.source)
        stranger = token.direction == "in" and not protected
        self._check_all(self._make_way, stranger=stranger)
        self._end_pending(token)
        token.peer, token.stranger = peer, stranger
        self._strangers += stranger
        self._established[token.direction] += 1
        self._peers.take(peer)
        for place in token.source:
            self._places.take(place)

    def release(self, token: Token) -> None:
        """Give a place back; a second time does nothing."""
        if not token.live:
            return
        token.live = False
        if token.peer is None:
            self._end_pending(token)
            return
        self._established[token.direction] -= 1
        self._strangers -= token.stranger
        self._peers.give_back(token.peer)
        for place in token.source:
            self._places.give_back(place)

    def snapshot(self) -> Mapping[str, int]:
        return {
            "pending_in": self._pending_in,
            "pending_out": self._pending_out,
            "pending_sources": len(self._waiting),
            "inbound": self._established["in"],
            "outbound": self._established["out"],
            "peers": len(self._peers),
            "places": len(self._places),
        }

    def _source(self, host: str | None) -> _Source:
        if host is None:
            return ()
        address = parse_host(host)
        if address is None:
            return (host,)
        if address.is_loopback and self._exempt_loopback:
            return ()
        number = int(address)
        if address.version == 4:
            return ((4, 32, number),)
        return tuple((6, bits, number >> 128 - bits) for bits in (_SITE_BITS, _REGION_BITS))

    def _check_rate(self, site: _Place, now: float) -> None:
        """Count one arrival from ``site``; a source that has been forgotten starts with a full bucket."""
        rate, arrivals = self._limits.accept_rate, self._arrivals
        if rate is None:
            return
        bucket = arrivals.pop(site, None) or TokenBucket(rate, ACCEPT_BURST)
        arrivals[site] = bucket
        if len(arrivals) > TRACKED_SOURCES:
            arrivals.popitem(last=False)
        if not bucket.take(now):
            raise _exceeded("accept_rate", ACCEPT_BURST, ACCEPT_BURST)

    def _check_connected(self, direction: Direction, source: _Source) -> None:
        limits, counts = self._limits, self._established
        if direction == "out":
            _check("outbound", counts["out"], limits.outbound)
            return
        _check("inbound", counts["in"], limits.inbound)
        if limits.per_subnet is not None:
            for place, factor in zip(source, (1, _REGION_FACTOR), strict=False):
                _check("per_subnet", self._places.count(place), limits.per_subnet * factor)

    def _check_all(self, room: Callable[[], object], *, stranger: bool = False) -> None:
        """Where there are as many connections as there may be, ``room`` has to find one that is missed least."""
        most = self._limits.connections
        if most is None:
            return
        count = self._established.total()
        if stranger and self._strangers >= (share := most - most // RESERVED):
            count, most = self._strangers, share
        if count >= most and not room():
            raise _exceeded("connections", count, most)

    def _make_way(self) -> bool:
        give_way = self.gives_way()
        if give_way is not None:
            give_way()
        return give_way is not None

    def _make_room(self) -> Token | None:
        maximum = self._limits.pending_in
        if maximum is None or self._pending_in < maximum:
            return None
        if not self._waiting:
            raise _exceeded("pending_in", self._pending_in, maximum)
        # Sources are in order of their first arrival: of equals, the one that has been here longest.
        crowd = max(self._waiting.values(), key=len)
        oldest = next(iter(crowd))
        self.release(oldest)
        return oldest

    def _end_pending(self, token: Token) -> None:
        if token.direction == "out":
            self._pending_out -= 1
            return
        self._pending_in -= 1
        del self._waiting[token.source][token]
        if not self._waiting[token.source]:
            del self._waiting[token.source]


def _check(limit: str, current: int, maximum: int | None) -> None:
    if maximum is not None and current >= maximum:
        raise _exceeded(limit, current, maximum)


def _exceeded(limit: str, current: int, maximum: int) -> LimitExceeded:
    told = f"{limit} {current}/{maximum}: raise {'pending_in' if limit == 'pending_per_ip' else 'it'} in Limits"
    return LimitExceeded(told, limit=limit, current=current, maximum=maximum)
