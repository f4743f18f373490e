"""Which transport a given address is for."""

from __future__ import annotations

from collections.abc import Sequence

from multiaddr import Multiaddr

from stronghold_p2p.config import Timeouts
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.seams import Transport
from stronghold_p2p.transport.tcp import TcpTransport
from stronghold_p2p.transport.upgrading import Upgrader


def default_transports(identity: Identity, upgrader: Upgrader, timeouts: Timeouts) -> Sequence[Transport]:
    """What a network has. ``identity`` is for transports that bring a security of their own."""
    del identity  # TCP proves it through the upgrade
    return [TcpTransport(upgrader, timeouts)]


class Transports:
    """The transports of one network; the first that handles an address gets it."""

    def __init__(self, transports: Sequence[Transport]) -> None:
        self._transports = list(transports)

    def add(self, transport: Transport) -> None:
        """A service brings its own: what handles addresses already keeps them."""
        self._transports.append(transport)

    def for_address(self, address: Multiaddr) -> Transport | None:
        """Who dials ``address`` or listens there; None: nobody here."""
        return next((transport for transport in self._transports if transport.handles(address)), None)

    def close(self) -> None:
        """Abort every upgrade that is under way."""
        for transport in self._transports:
            transport.close()
