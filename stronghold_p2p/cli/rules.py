"""The file of ``listen --rules``: what is decided for good at the terminal is kept in it."""

from __future__ import annotations

import logging
from pathlib import Path

from stronghold_p2p.cli.output import printable
from stronghold_p2p.events.events import RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId


class Kept:
    """The rules at ``path``; a file that is not there is made when the first rule is kept.

    It gets only what is kept: the rules of the command line, as ``--allow`` gives them, stay out of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.firewall = Firewall.load(path, create=True)
        self.new = not path.exists()
        logging.getLogger("stronghold_p2p.network.rules").setLevel(logging.CRITICAL)  # the terminal tells it

    def keep(self, peer: PeerId, protocol: str, rule: Rule) -> None:
        """Add a rule to what the file says now, and let it hold. ``ConfigError``: it cannot be kept."""
        kept = Firewall.load(self._path, create=True)
        if not self._path.exists():
            kept.set(Rule.ASK)
        kept.set(rule, peer=peer, protocol=protocol)
        kept.save()
        self.firewall.reload()


def news(event: RulesLoaded) -> str:
    """What to tell of a change of the file."""
    if event.error is not None:
        return f"the rules stay as they are: {printable(str(event.error))}"
    return f"rules loaded from {printable(str(event.path))}"
