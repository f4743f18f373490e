"""The audit: a firewall's decisions go to the audit log and to the application's readers of events.

What is open to everybody is no decision as long as no entry speaks of it.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from stronghold_p2p.firewall.entries import Judgement
from stronghold_p2p.firewall.rules import Attempt, Rule

AuditReader: TypeAlias = Callable[[Attempt, Rule], None]

_MAX_WORD: Final = 128

AUDIT_FORMAT: Final = "net=%s verdict=%s peer=%s protocol=%s variant=%s from=%s rule=%s"

_log = logging.getLogger("stronghold_p2p.audit")
auditing = _log.isEnabledFor
"""Whether the audit log takes lines of a level."""


class Audit:
    """The decisions of one network, which the log calls ``net``.

    ``readers`` are called with each attempt and what became of it; they must not raise.
    """

    def __init__(self, net: str = "-") -> None:
        self._net = word(net)
        self.readers: list[AuditReader] = []

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
        """Tell the log only, of a decision that has events of its own, and return it."""
        if not found.implicit and auditing(logging.INFO):
            variant = "-" if attempt.variant is None else word(attempt.variant)
            verdict, protocol = "allow" if allowed else "reject", word(attempt.protocol)
            source = word(found.source)  # the name of a predicate may hold anything
            _log.info(AUDIT_FORMAT, self._net, verdict, attempt.peer, protocol, variant, attempt.address, source)
        return allowed


def word(text: str) -> str:
    """Text that may come from a peer as one word of a log line: without spaces and control characters, and not long."""
    if len(text) > _MAX_WORD:
        text = text[:_MAX_WORD] + "\N{HORIZONTAL ELLIPSIS}"
    return "".join(char if char.isprintable() and char != " " else f"\\u{ord(char):04x}" for char in text)
