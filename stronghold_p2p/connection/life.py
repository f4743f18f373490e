"""The life of a connection.

It is open from the moment in which limits and firewall have taken it. Whoever ends it, it is ``CLOSING`` from then on:
no stream works any more, but the goodbye may still be on its way, and the peer has a second to close its side. It is
``GONE`` with its wire. A peer that vanishes takes it there in two steps, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Life(Enum):
    """Where a connection is."""

    OPEN = "open"
    CLOSING = "closing"
    GONE = "gone"


class Event(Enum):
    """What happens to a connection."""

    END = "we close it, the peer does, or it fails"
    LOSE = "its wire is gone"


LIFE: Final[Mapping[tuple[Life, Event], Life]] = {
    (Life.OPEN, Event.END): Life.CLOSING,
    (Life.CLOSING, Event.LOSE): Life.GONE,
}
