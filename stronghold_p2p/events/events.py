"""What a swarm tells about itself, as it happens."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.connection.live import Connection
from stronghold_p2p.errors import ConfigError, ListenError
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.identity import PeerId


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
class Accepting:
    """A socket was accepted: ``Opened`` or ``AcceptFailed`` follows. ``local``: the listening end."""

    remote: str | None
    local: Multiaddr | None = None


@dataclass(frozen=True, slots=True)
class AcceptFailed:
    """Somebody reached a listener and did not become a connection, or the system gave us no socket (no ``remote``).

    ``error`` tells why: a limit, a ban (``ConnectionClosed`` with code 0x1007 and its ``peer``), a handshake.
    """

    remote: str | None
    error: Exception
    local: Multiaddr | None = None


@dataclass(frozen=True, slots=True)
class Dialing:
    """One of the peer's addresses is tried."""

    peer: PeerId | None
    address: Multiaddr


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No address of the peer worked, or a ban or a limit of ours forbids it, or nobody waited for it any more."""

    peer: PeerId | None
    error: Exception


@dataclass(frozen=True, slots=True)
class Retrying:
    """``Network.keep`` has no connection to ``to``, for this ``error``; it tries again in ``delay`` seconds."""

    to: Any
    error: Exception
    delay: float


@dataclass(frozen=True, slots=True)
class AddressAdded:
    """We can be reached here now."""

    address: Multiaddr


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    """We can no longer be reached here."""

    address: Multiaddr


@dataclass(frozen=True, slots=True)
class PeerDiscovered:
    """Somebody on the LAN says that ``peer`` can be reached at ``addresses``; it comes again when these have changed.

    It is a hint: whoever is there is told to be ``peer`` by the handshake, or is not.
    """

    peer: PeerId
    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A peer that was discovered has said goodbye, or was not heard of for as long as it had said. Connections stay."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class ListenerEnded:
    """A listener accepts no more: we closed it, or with an ``error`` the system did.

    ``addresses``: where it could be reached.
    """

    addresses: tuple[Multiaddr, ...]
    error: ListenError | None


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request that the firewall had let through was not answered: its handler failed, or was late, or the peer left.

    ``request`` is the ``Request`` that the handler was given. A handler that refuses has not failed; one whose future
    was cancelled has dropped its answer (``UsageError``), and an answer for whom the rules have shut out meanwhile is
    not sent (a local ``Rejected``).
    """

    request: Any
    error: Exception
    held: Any = field(default=None, repr=False, compare=False)  # of the library, as in ``Attempt``


@dataclass(frozen=True, slots=True)
class RequestUnread:
    """A peer's request did not become one, so no rule and no handler saw it.

    ``error``: too many or too much at once (``LimitExceeded``), it cannot be read (``Malformed``), not all of it came
    in time (``DeadlineExceeded``), or the peer gave it up or left.
    """

    connection: Connection
    protocol: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Judged:
    """The firewall let ``attempt`` pass (``Rule.ALLOW``) or not (``Rule.REJECT``), by its rules or by asking."""

    attempt: Attempt
    rule: Rule


@dataclass(frozen=True, slots=True)
class RulesLoaded:
    """The rules file at ``path`` has changed: its rules hold now, or with an ``error`` those from before still do."""

    path: Path
    error: ConfigError | None


@dataclass(frozen=True, slots=True)
class ReservationMade:
    """``peer`` has a reservation at ``relay`` for ``seconds``, unless it is renewed. One of both is ourselves."""

    relay: PeerId
    peer: PeerId
    seconds: float


@dataclass(frozen=True, slots=True)
class ReservationLost:
    """It has none any more: its connection has ended (``error`` tells why), it was not renewed, or we have left."""

    relay: PeerId
    peer: PeerId
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class ReservationRefused:
    """``relay`` has given ``peer`` no reservation, or has not renewed it."""

    relay: PeerId
    peer: PeerId
    error: Exception


@dataclass(frozen=True, slots=True)
class CircuitOpened:
    """We relay a circuit between the two: ``data`` bytes each way, for ``seconds``. Infinite: any number."""

    source: PeerId
    target: PeerId
    data: float
    seconds: float


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """It is over after ``seconds``, for this ``reason``. ``sent``: bytes from the source to the target, ``received``:
    back.
    """

    source: PeerId
    target: PeerId
    reason: str
    sent: int
    received: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """``count`` events are missing here: the reader was too slow for its buffer."""

    count: int


Event: TypeAlias = (
    Opened
    | Ended
    | Accepting
    | AcceptFailed
    | Dialing
    | DialFailed
    | Retrying
    | AddressAdded
    | AddressRemoved
    | PeerDiscovered
    | PeerLost
    | ListenerEnded
    | RequestFailed
    | RequestUnread
    | Judged
    | RulesLoaded
    | ReservationMade
    | ReservationLost
    | ReservationRefused
    | CircuitOpened
    | CircuitClosed
    | Dropped
)
