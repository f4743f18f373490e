"""Where dialer and listeners hand over what has been upgraded."""

from __future__ import annotations

from typing import Protocol

from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.firewall.limits.gate import Token
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.seams import Upgraded


class Establisher(Protocol):
    """Makes connections of what has been upgraded."""

    def establish(self, upgraded: Upgraded, token: Token, direction: Direction) -> LiveConnection:
        """``LimitExceeded`` or ``ConnectionClosed`` if it is not wanted: it has been refused then."""
