"""The audit: a firewall's decisions go to the audit log and to the application's readers of events.

What is open to everybody is no decision as long as no entry speaks of it.

A line of the log is longer than what a peer sends for it, and a peer sends as much as it likes. So of one connection
each protocol and verdict has one line; the next ones are counted, and told when there are ten of them, a hundred, and
so on, and when the connection is over. Refusals have ``REFUSALS`` lines at once and ``REFUSALS_EACH_SECOND`` more, for
all peers together, as whoever is refused may come again with another identity; the next line tells how many had none.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.firewall.entries import Judgement
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import escaped
from stronghold_p2p.token_bucket import TokenBucket

AuditReader: TypeAlias = Callable[[Attempt, Rule], None]
_Place: TypeAlias = tuple[PeerId, Multiaddr]
_What: TypeAlias = tuple[Direction, str, bool, bool]  # protocol, whether it was allowed, and whether a handler says so

_MAX_WORD: Final = 128
UNRULED: Final = "outbound"  # the source of what we do and no entry speaks of
REFUSALS: Final = 200
REFUSALS_EACH_SECOND: Final = 10.0
PLACES: Final = 4_096  # connections whose decisions are counted; what comes late, or from more, begins anew

AUDIT_FORMAT: Final = "net=%s verdict=%s peer=%s protocol=%s variant=%s %s=%s rule=%s"

_log = logging.getLogger("stronghold_p2p.audit")
auditing = _log.isEnabledFor
"""Whether the audit log takes lines of a level."""


class Audit:
    """The decisions of one network, which the log calls ``net``.

    ``readers`` are called with each attempt and what became of it; they must not raise.
    """

    def __init__(self, net: str = "-") -> None:
        self.net = word(net)
        self.readers: list[AuditReader] = []
        self._counts: OrderedDict[_Place, dict[_What, tuple[int, str]]] = OrderedDict()
        self._refusals = TokenBucket(REFUSALS_EACH_SECOND, REFUSALS)
        self._without = 0  # lines that were not written

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to know each decision, also those that were made before and are remembered."""
        return bool(self.readers) or auditing(logging.INFO)

    def tell(self, attempt: Attempt, found: Judgement, allowed: bool) -> bool:
        """Tell everybody of a decision, and return it."""
        if not found.implicit:
            for reader in tuple(self.readers):
                reader(attempt, Rule.ALLOW if allowed else Rule.REJECT)
        return self.record(attempt, found, allowed)

    def record(self, attempt: Attempt, found: Judgement, allowed: bool) -> bool:
        """Tell the log only, of a decision that has events of its own, and return it.

        What we do ourselves, and no entry speaks of, was nobody's decision.
        """
        if not found.implicit and found.source != UNRULED and auditing(logging.INFO):
            what, count = (attempt.direction, attempt.protocol, allowed, found.source == "handler"), 1
            if attempt.protocol != CONNECTION:  # that is decided once
                if (place := (attempt.peer, attempt.address)) not in self._counts and len(self._counts) >= PLACES:
                    self._counts.popitem(last=False)
                counts = self._counts.setdefault(place, {})
                count += counts.get(what, (0, ""))[0]
                counts[what] = count, found.source
            if str(count).strip("0") == "1":  # 1, 10, 100
                self._write((attempt.peer, attempt.address), what, count, found.source, attempt.variant)
        return allowed

    def over(self, peer: PeerId, address: Multiaddr) -> None:
        """The connection has ended: tell how many decisions there were."""
        place = peer, address
        for what, (count, source) in self._counts.pop(place, {}).items():
            if count > 1 and auditing(logging.INFO):
                self._write(place, what, count, source)

    def _write(self, place: _Place, what: _What, count: int, source: str, variant: str | None = None) -> None:
        (peer, address), (direction, protocol, allowed, _) = place, what
        if not allowed and not self._refusals.take(time.monotonic()):
            self._without += 1
            return
        shown = "-" if variant is None else word(variant)
        # The name of a predicate may hold anything.
        verdict, way = "allow" if allowed else "reject", "from" if direction == "in" else "to"
        given = (self.net, verdict, peer, word(protocol), shown, way, address, word(source))
        text = AUDIT_FORMAT if count == 1 else f"{AUDIT_FORMAT} count={count}"
        if not allowed and self._without:
            text += f" without={self._without}"
            self._without = 0
        _log.info(text, *given)


def word(text: str) -> str:
    """Text that may come from a peer as one word of a log line: without spaces and control characters, and not long."""
    return escaped(text, _MAX_WORD, kept="")
