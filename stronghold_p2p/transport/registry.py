"""Which transport a given address is for."""

from __future__ import annotations

from collections.abc import Sequence

from multiaddr import Multiaddr

from stronghold_p2p.config import Timeouts
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.seams import Transport
from stronghold_p2p.transport.tcp import TcpTransport
from stronghold_p2p.transport.upgrading import Upgrader


def default_transports(identity: Identity, upgrader: Upgrader, timeouts: Timeouts) -> list[Transport]:
    """What a network has. ``identity`` is for transports that bring a security of their own."""
    del identity  # TCP proves it through the upgrade
    return [TcpTransport(upgrader, timeouts)]


def for_address(transports: Sequence[Transport], address: Multiaddr) -> Transport | None:
    """Who dials ``address`` or listens there: the first that handles it; None: nobody here."""
    return next((transport for transport in transports if transport.handles(address)), None)
