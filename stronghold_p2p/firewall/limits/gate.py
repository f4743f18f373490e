"""Admission control: how many connections, from where and how fast, before any cryptography is done.

Pure counting. The listener asks ``admit`` for a token when a socket was accepted, the dialer asks ``dial``
before it opens one; both call ``establish`` when the handshake has named the peer, and ``release`` whatever
happens. Every count is that of the living tokens, so a count cannot be forgotten or given back twice.

A source is an IPv4 address or an IPv6 /56, the smallest network that one customer gets; a provider can hand
out many of these, so a /48 is counted too, with eight times as much (hostile rows 1 to 3).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias, TypeVar

from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.firewall.subnets import parse_host

if TYPE_CHECKING:
    from stronghold_p2p.identity import PeerId

# Sources whose accept rate is remembered: more than can be at work within the 3.2 s in which a bucket refills.
TRACKED_SOURCES = 4_096
_SITE_BITS, _REGION_BITS = 56, 48
_REGION_FACTOR = 8

_K = TypeVar("_K")
_Place: TypeAlias = tuple[int, int, int] | str


class _Source(NamedTuple):
    """Where a socket comes from: ``site`` is what limits count, ``region`` the IPv6 /48 around it."""

    site: _Place
    region: _Place | None


@dataclass(eq=False, slots=True)
class Token:
    """One place at the gate. ``release`` gives it back, any number of times; so does leaving ``with``."""

    gate: Gate
    direction: Direction
    source: _Source | None
    peer: PeerId | None = None  # once it is that of a connection
    live: bool = True

    def release(self) -> None:
        """Give the place back."""
        self.gate.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Admission(NamedTuple):
    """``token`` for the newcomer; ``gives_way``, if any, has lost its place: close its socket."""

    token: Token
    gives_way: Token | None


class Gate:
    """Counts what is pending and what is connected against ``limits``; each refusal is a ``LimitExceeded``.

    Its ``limit`` is the field of ``config.Limits``. With ``exempt_loopback`` (the default) addresses of this
    machine are spared what is counted by source: ``pending_per_ip``, ``accept_rate`` and ``per_subnet``.
    Limits by source concern inbound sockets only, as a dial is our own choice. Memory is bounded by the limits
    and by ``tracked``, however many addresses call.
    """

    def __init__(self, limits: Limits, *, exempt_loopback: bool = True, tracked: int = TRACKED_SOURCES) -> None:
        self._limits = limits
        self._exempt_loopback = exempt_loopback
        self._rates = _Rates(limits.accept_rate, limits.accept_burst, tracked)
        self._pending_out = 0
        self._pending_in = 0
        # By source, in order of arrival; the exempt ones and the unknown are under None.
        self._waiting: dict[_Place | None, dict[Token, None]] = {}
        self._established: Counter[Direction] = Counter()
        self._peers: Counter[PeerId] = Counter()
        self._places: Counter[_Place] = Counter()

    def admit(self, host: str | None, now: float) -> Admission:
        """A place for an accepted socket, before anything is read from it.

        ``host`` is the remote address as the socket tells it, None where there is none (a relayed or an
        in-memory connection); ``now`` is in seconds on a clock that never goes back. When ``pending_in`` is
        full, the oldest pending socket of the source that has most of them gives way.
        """
        source = self._source(host)
        if source is not None:
            self._rates.take(source.site, now)
            waiting = len(self._waiting.get(source.site, ()))
            _check("pending_per_ip", waiting, self._limits.pending_per_ip)
        self._check_all(self._connected("in", source))
        gives_way = self._make_room()
        token = Token(self, "in", source)
        self._waiting.setdefault(source and source.site, {})[token] = None
        self._pending_in += 1
        return Admission(token, gives_way)

    def dial(self) -> Token:
        """A place for one outgoing connection attempt."""
        _check("pending_out", self._pending_out, self._limits.pending_out)
        self._check_all(self._connected("out", None))
        self._pending_out += 1
        return Token(self, "out", None)

    def establish(self, token: Token, peer: PeerId) -> None:
        """Turn a pending place into that of a connection to ``peer``, the authenticated one.

        On ``LimitExceeded`` the place stays pending: close the connection and release it. A token that has
        lost its place meanwhile gets none here.
        """
        if not token.live or token.peer is not None:
            raise _exceeded("pending_in", self._pending_in, self._limits.pending_in or 0)
        _check("per_peer", self._peers[peer], self._limits.per_peer)
        self._check_all(self._connected(token.direction, token.source))
        self._end_pending(token)
        token.peer = peer
        self._established[token.direction] += 1
        self._peers[peer] += 1
        self._places.update(_places(token))

    def release(self, token: Token) -> None:
        """Give a place back; a second time does nothing."""
        if not token.live:
            return
        token.live = False
        if token.peer is None:
            self._end_pending(token)
            return
        self._established[token.direction] -= 1
        _take_one(self._peers, token.peer)
        for place in _places(token):
            _take_one(self._places, place)

    def snapshot(self) -> Mapping[str, int]:
        """The counts: sockets pending, connections, and how many peers and sources have connections."""
        return {
            "pending_in": self._pending_in,
            "pending_out": self._pending_out,
            "pending_sources": len(self._waiting),
            "inbound": self._established["in"],
            "outbound": self._established["out"],
            "peers": len(self._peers),
            "places": len(self._places),
        }

    @property
    def tracked(self) -> int:
        """How many sources' accept rates are remembered."""
        return len(self._rates)

    def _source(self, host: str | None) -> _Source | None:
        """None: not counted by source."""
        if host is None:
            return None
        address = parse_host(host)
        if address is None:
            return _Source(host, None)
        if address.is_loopback and self._exempt_loopback:
            return None
        number = int(address)
        if address.version == 4:
            return _Source((4, 32, number), None)
        return _Source((6, _SITE_BITS, number >> 128 - _SITE_BITS), (6, _REGION_BITS, number >> 128 - _REGION_BITS))

    def _connected(self, direction: Direction, source: _Source | None) -> Iterator[tuple[str, int, int | None]]:
        limits, counts = self._limits, self._established
        yield "connections", counts.total(), limits.connections
        if direction == "out":
            yield "outbound", counts["out"], limits.outbound
            return
        yield "inbound", counts["in"], limits.inbound
        if source is None or limits.per_subnet is None:
            return
        yield "per_subnet", self._places[source.site], limits.per_subnet
        if source.region is not None:
            yield "per_subnet", self._places[source.region], limits.per_subnet * _REGION_FACTOR

    def _check_all(self, rows: Iterator[tuple[str, int, int | None]]) -> None:
        for limit, current, maximum in rows:
            _check(limit, current, maximum)

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
        site = token.source and token.source.site
        del self._waiting[site][token]
        if not self._waiting[site]:
            del self._waiting[site]


class _Rates:
    """A token bucket for each of the sources seen last; one that is forgotten starts with a full bucket."""

    __slots__ = ("_buckets", "_burst", "_maximum", "_rate")

    def __init__(self, rate: float | None, burst: int, maximum: int) -> None:
        self._rate = rate
        self._burst = burst
        self._maximum = maximum
        self._buckets: OrderedDict[_Place, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, site: _Place, now: float) -> None:
        """Count one arrival; ``LimitExceeded`` when the bucket is empty."""
        if self._rate is None:
            return
        level, last = self._buckets.get(site, (float(self._burst), now))
        level = min(float(self._burst), level + max(0.0, now - last) * self._rate)
        full = level < 1.0
        self._buckets[site] = (level if full else level - 1.0, now)
        self._buckets.move_to_end(site)
        if len(self._buckets) > self._maximum:
            self._buckets.popitem(last=False)
        if full:
            raise _exceeded("accept_rate", self._burst, self._burst)


def _check(limit: str, current: int, maximum: int | None) -> None:
    if maximum is not None and current >= maximum:
        raise _exceeded(limit, current, maximum)


def _exceeded(limit: str, current: int, maximum: int) -> LimitExceeded:
    return LimitExceeded(
        f"{limit} {current}/{maximum}: raise it in Limits", limit=limit, current=current, maximum=maximum
    )


def _places(token: Token) -> tuple[_Place, ...]:
    if token.source is None or token.direction == "out":
        return ()
    return (token.source.site,) if token.source.region is None else (token.source.site, token.source.region)


def _take_one(counter: Counter[_K], key: _K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
