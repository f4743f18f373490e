"""What may flow through one circuit: bytes each way, and seconds (relay/circuit-v2.md, "Limit").

go counts each direction for itself, rust and js both together (docs/peers.md); ``data`` is for each direction here, as
go relays do, and as the bytes of the inner handshake count, too. Whoever writes counts what it writes, so that it fails
with the reason instead of waiting for somebody who reads no more.
"""

from dataclasses import dataclass
from math import inf

from stronghold_p2p.relay.messages import Limit


@dataclass(frozen=True, slots=True)
class Allowance:
    """``data``: bytes each way; ``duration``: seconds. Infinite: any number."""

    data: float = inf
    duration: float = inf

    @property
    def limited(self) -> bool:
        return self.data < inf or self.duration < inf

    def message(self) -> Limit | None:
        """As it is told; None where there is no limit: a limit that is there marks a circuit as limited, whatever it
        says (go: "transient").
        """
        if not self.limited:
            return None
        return Limit(duration=_whole(self.duration, _MOST_SECONDS), data=_whole(self.data, _MOST_BYTES))


_MOST_SECONDS = (1 << 32) - 1  # a uint32 in go's message
_MOST_BYTES = (1 << 63) - 1


def _whole(limit: float, most: int) -> int:
    """As a number on the wire, where 0 stands for any: a part of one is one."""
    return 0 if limit == inf else min(max(1, int(limit)), most)


UNLIMITED = Allowance()
_LONGEST = 10 * 365 * 86_400.0  # seconds: more is no limit


def told(limit: Limit | None) -> Allowance:
    """What a relay's ``Limit`` allows; 0 or absent is any number."""
    if limit is None:
        return UNLIMITED
    duration = float(limit.duration or inf)
    return Allowance(data=float(limit.data or inf), duration=duration if duration < _LONGEST else inf)


class Meter:
    """Counts one direction of a circuit that began at ``began``."""

    __slots__ = ("_ends", "_most", "used")

    def __init__(self, allowance: Allowance, began: float) -> None:
        self._most = allowance.data
        self._ends = began + allowance.duration
        self.used = 0

    @property
    def left(self) -> float:
        """Bytes that may still flow."""
        return self._most - self.used

    @property
    def ends(self) -> float:
        return self._ends

    def take(self, wanted: int) -> int:
        """Count ``wanted`` more bytes, or as many as are left; how many."""
        granted = wanted if self.used + wanted <= self._most else int(self._most) - self.used
        self.used += granted
        return granted
