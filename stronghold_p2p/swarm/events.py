"""What a swarm tells about itself, as it happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from stronghold_p2p.identity import PeerId
    from stronghold_p2p.swarm.connection import Connection


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection is up: its peer is proven and was let in."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class Ended:
    """A connection that was ``Opened`` is over, and why."""

    connection: Connection
    error: Exception


@dataclass(frozen=True, slots=True)
class AcceptFailed:
    """Somebody reached a listener and did not become a connection."""

    remote: str | None
    error: Exception


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No address of the peer worked."""

    peer: PeerId | None
    error: Exception


@dataclass(frozen=True, slots=True)
class AddressAdded:
    """We can be reached here now."""

    address: Multiaddr


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    """We can no longer be reached here."""

    address: Multiaddr


Event: TypeAlias = Opened | Ended | AcceptFailed | DialFailed | AddressAdded | AddressRemoved
