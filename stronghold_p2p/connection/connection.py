"""One connection as users see it."""

from __future__ import annotations

from typing import Protocol

from multiaddr import Multiaddr

from stronghold_p2p.codes import GoAway
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.identity import PeerId, PublicKey


class _Live(Protocol):
    """As much of ``LiveConnection`` as its face shows."""

    peer: PeerId
    public_key: PublicKey
    direction: Direction
    local_address: Multiaddr
    remote_address: Multiaddr
    error: Exception | None

    @property
    def closed(self) -> bool: ...
    @property
    def streams(self) -> int: ...
    @property
    def latency(self) -> float | None: ...
    async def close(self, code: int) -> None: ...


class Connection:
    """An encrypted connection to ``peer``, whose identity the handshake has proven."""

    __slots__ = ("__weakref__", "_live")

    def __init__(self, live: _Live) -> None:
        self._live = live

    @property
    def peer(self) -> PeerId:
        """The other end, proven by the handshake."""
        return self._live.peer

    @property
    def public_key(self) -> PublicKey:
        """The key that ``peer`` is the name of."""
        return self._live.public_key

    @property
    def direction(self) -> Direction:
        """``"out"`` when we dialed, ``"in"`` when the peer did."""
        return self._live.direction

    @property
    def local_address(self) -> Multiaddr:
        """Our end."""
        return self._live.local_address

    @property
    def remote_address(self) -> Multiaddr:
        """The other end: as we dialed it, or as the system tells it."""
        return self._live.remote_address

    @property
    def closed(self) -> bool:
        """It is over, and ``error`` tells why."""
        return self._live.closed

    @property
    def error(self) -> Exception | None:
        """Why it is over; None while it is open."""
        return self._live.error

    @property
    def streams(self) -> int:
        """Streams that are open, both directions together."""
        return self._live.streams

    @property
    def latency(self) -> float | None:
        """The round trip that was measured last, in seconds; None before the first."""
        return self._live.latency

    def __repr__(self) -> str:
        return repr(self._live)

    async def close(self, code: int = GoAway.NORMAL) -> None:
        """Close in order: what was written leaves, then a go-away with ``code``, then our end of the connection.

        Waits up to a second for the peer to close its end, too. Cancelled, the connection is aborted.
        """
        await self._live.close(code)
