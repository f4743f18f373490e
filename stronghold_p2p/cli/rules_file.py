"""The file of ``listen --rules``, which gets what is answered at the terminal with always or never."""

from __future__ import annotations

import logging
from pathlib import Path

from stronghold_p2p.cli.output import printable
from stronghold_p2p.events.events import RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId


class SavedRules:
    """The rules at ``path``; a missing file is made when the first rule is saved.

    Only answers are saved: the rules of the command line, as ``--allow`` gives them, stay out of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.firewall = Firewall.load(path, create=True)
        self.new = not path.exists()
        logging.getLogger("stronghold_p2p.network.rules").setLevel(logging.CRITICAL)  # the terminal tells it

    def save(self, peer: PeerId, protocol: str, rule: Rule) -> None:
        """Add a rule to what the file says now, and apply it. ``ConfigError``: it cannot be written."""
        saved = Firewall.load(self._path, create=True)
        if not self._path.exists():
            saved.set(Rule.ASK)
        saved.set(rule, peer=peer, protocol=protocol)
        saved.save()
        self.firewall.reload()


def news(event: RulesLoaded) -> str:
    """The line that tells of a change of the file."""
    if event.error is not None:
        return f"the rules stay as they are: {printable(str(event.error))}"
    return f"rules loaded from {printable(str(event.path))}"
