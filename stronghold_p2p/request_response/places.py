"""How many requests run at once with each peer."""

from __future__ import annotations

import math

from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.identity import PeerId


class Places:
    """At most ``maximum`` requests at once with each peer (None: any number)."""

    def __init__(self, maximum: int | None) -> None:
        self._maximum = math.inf if maximum is None else maximum
        self._taken: dict[bytes, int] = {}  # by the peer's multihash, whose hash costs no call

    def enter(self, peer: PeerId) -> None:
        """Take a place, to be given back with ``leave``; ``LimitExceeded`` at once if there is none."""
        key = peer.multihash
        taken = self._taken.get(key, 0)
        if taken >= self._maximum:
            raise LimitExceeded(
                f"requests_per_peer {taken}/{self._maximum} with {peer}: wait for one to end, or raise it in Limits",
                limit="requests_per_peer",
                current=taken,
                maximum=int(self._maximum),
                peer=peer,
            )
        self._taken[key] = taken + 1

    def leave(self, peer: PeerId) -> None:
        """Give one place back."""
        key = peer.multihash
        taken = self._taken[key] - 1
        if taken:
            self._taken[key] = taken
        else:
            del self._taken[key]

    @property
    def taken(self) -> int:
        """Requests that are running, of all peers together."""
        return sum(self._taken.values())
