"""Addresses at which a dial has failed lately. They are dialed behind all others, for longer after each failure.

Nothing is kept from whoever asks for a dial: what waits is only tried last, so a peer that is back is found at once.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from stronghold_p2p.identity import PeerId

FIRST: Final = 5.0  # seconds, and a second for the square of the failures before (go)
LONGEST: Final = 300.0  # (go)
REMEMBERED: Final = 1_024  # addresses: peers tell them, so they come without end

_Key = tuple[PeerId | None, bytes]


@dataclass(frozen=True, slots=True)
class _Failed:
    times: int
    until: float


class Failures:
    """By peer and address, as one address may be right for one peer and wrong for another."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, _Failed] = OrderedDict()

    def add(self, peer: PeerId | None, address: bytes, now: float) -> None:
        """A dial has failed there. What is ``LONGEST`` beyond its time is forgotten."""
        before = self._known.pop((peer, address), None)
        times = 0 if before is None or before.until + LONGEST < now else before.times
        until = now + min(FIRST + times**2, LONGEST)
        self._known[peer, address] = _Failed(times + 1, until)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def forget(self, peer: PeerId | None, address: bytes) -> None:
        """Somebody was there."""
        if self._known:
            self._known.pop((peer, address), None)

    def waits(self, peer: PeerId | None, address: bytes, now: float) -> bool:
        """The address is still to be tried behind others."""
        known = self._known.get((peer, address))
        return known is not None and now < known.until
