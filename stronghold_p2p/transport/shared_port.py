"""One listening socket for several listeners: libp2p over TCP, WebSocket and secure WebSocket at the same port.

Who connects speaks first in all three, and the first byte tells them apart: multistream-select begins with the length
of its first line, 0x13 (connections/README.md, "multistream-select"); HTTP with a capital letter of its method; TLS
with the type of a handshake record, 0x16. go-libp2p does the same (``ShareTCPListener``). One byte is enough, so
nobody can make us wait for a second one; who sends none is under the deadline of the upgrade, as without all this.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.addressing.endpoint import Spoken
from stronghold_p2p.seams import Arrival, Arrivals, TransportListener, Wire
from stronghold_p2p.transport.undecided_wire import UndecidedWire

Around: TypeAlias = Callable[[Wire], Wire]
"""What is spoken over a socket before the upgrade, as a wire around its wire."""

TLS: Final = 0x16
# Where nobody listens for what is spoken, somebody else has to say so.
_INSTEAD: Final[dict[Spoken, tuple[Spoken, ...]]] = {
    "tcp": ("tcp", "ws", "wss"),
    "ws": ("ws", "wss", "tcp"),
    "wss": ("wss", "tcp", "ws"),
}


def spoken_by(first: int) -> Spoken:
    """What somebody speaks whose first byte this is; of what nobody speaks, TCP's listener knows best."""
    if first == TLS:
        return "wss"
    return "ws" if ord("A") <= first <= ord("Z") else "tcp"


class SharedWire(UndecidedWire):
    """The wire of an accepted socket, until its first byte tells what is spoken over it."""

    def __init__(self, outer: Wire, choices: dict[Spoken, Around]) -> None:
        super().__init__(outer)
        self._choices = choices

    def _advance(self, view: memoryview) -> int:
        spoken = spoken_by(view[0])
        around = next(self._choices[one] for one in _INSTEAD[spoken] if one in self._choices)
        self._decide(around(self._outer))
        return 0


@dataclass(frozen=True, slots=True)
class _Member:
    """A listener at the port: what is spoken to it, and whom it tells."""

    arrivals: Arrivals
    around: Around


@dataclass(eq=False, slots=True)
class SharedPort:
    """Who listens at one socket; towards that it is one ``Arrivals``. ``gone`` is called when nobody does any more."""

    gone: Callable[["SharedPort"], None]
    listening: TransportListener | None = None
    _members: dict[Spoken, _Member] = field(default_factory=dict)

    def free_for(self, spoken: Spoken) -> bool:
        return spoken not in self._members

    def join(self, spoken: Spoken, arrivals: Arrivals, around: Around) -> "PortListener":
        """Listen for what is ``spoken``; from the next accepted socket on."""
        self._members[spoken] = _Member(arrivals, around)
        return PortListener(self, spoken)

    def leave(self, spoken: Spoken) -> None:
        """Listen for it no more. The last one closes the socket; what has been accepted by then is still its."""
        if len(self._members) > 1:
            self._members.pop(spoken, None)
        else:
            self.gone(self)
            if self.listening is not None:
                self.listening.stop()

    def around(self, wire: Wire) -> Wire:
        """What stands for an accepted socket."""
        if len(self._members) == 1:
            return self._first.around(wire)
        return SharedWire(wire, {spoken: member.around for spoken, member in self._members.items()})

    @property
    def _first(self) -> _Member:
        return next(iter(self._members.values()))

    def admit(self, host: str | None, local: Multiaddr) -> Arrival | None:
        """Before anything is known of what is spoken: limits are the same for all, so any of them can tell."""
        return self._first.arrivals.admit(host, local)

    def look(self) -> None:
        """Its addresses have changed for all."""
        for member in list(self._members.values()):
            member.arrivals.look()

    def missed(self, error: OSError) -> None:
        """One socket was missed, whose ever it would have become."""
        self._first.arrivals.missed(error)

    def closed(self, error: OSError) -> None:
        """All of them have lost it."""
        self.gone(self)
        for member in list(self._members.values()):
            member.arrivals.closed(error)


@dataclass(frozen=True, slots=True)
class PortListener:
    """One listener at a port, alone or with others."""

    port: SharedPort
    spoken: Spoken

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Those of the socket; who knows what is spoken there writes it behind them."""
        return () if self.port.listening is None else self.port.listening.addresses

    def stop(self) -> None:
        self.port.leave(self.spoken)
