"""The firewall of one network: the decisions of its rules, and the file that these may come from."""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from stronghold_p2p import files
from stronghold_p2p.arguments import check_kind
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall import toml
from stronghold_p2p.firewall.asking import rules_file
from stronghold_p2p.firewall.asking.rules_file import RulesFile
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS, Decisions
from stronghold_p2p.firewall.entries import Content
from stronghold_p2p.firewall.rules import Predicate, Rule
from stronghold_p2p.logs import Faults

log = logging.getLogger("stronghold_p2p.request")


class Firewall(Decisions):
    """The rules, the bans and the hooks of one network. Nothing is let in that no rule allows.

    Rules may change at any time; a change takes effect at once, also on attempts that wait for an answer.
    ``open_protocols`` are the names that pass as long as no entry that matches names them: by default
    ``CONNECTION``, identify and ping. Every method may be called from any thread, with or without an event loop.
    """

    def __init__(self, *, open_protocols: frozenset[str] = OPEN_PROTOCOLS) -> None:
        super().__init__(
            self._log_fault, unheard=self._log_unheard, open_protocols=open_protocols, guard=threading.RLock()
        )
        self._file: RulesFile | None = None
        self._faults = Faults(log)

    @staticmethod
    def load(
        path: Path | str, *, predicates: Mapping[str, Predicate] | None = None, watch: bool = True, create: bool = False
    ) -> "Firewall":
        """The firewall that a TOML file describes ("Rules in a file" of the guide to the firewall).

        ``predicates`` are those that it may name. With ``watch`` a network that uses the firewall follows changes of
        the file while it is open: ``RulesLoaded`` tells of each, a file that cannot be used changes nothing. With
        ``create`` a file that is not there is an empty one, made by the first ``save``. ``ConfigError``, whose
        ``where`` tells file and line: it cannot be read, or not be understood.
        """
        check_kind("predicates", predicates or {}, Mapping, "take a dict of functions by their names")
        for name, predicate in (predicates or {}).items():
            Rule.when(predicate, name=name)  # what it refuses is no predicate
        firewall = Firewall()
        firewall._file = RulesFile(files.located(path), predicates or {}, firewall._follow, watch=watch)
        firewall._entries.replace(firewall._file.read(create=create))
        return firewall

    def save(self, path: Path | str | None = None) -> None:
        """Write all rules and bans to the file that they were loaded from, or to ``path``; comments are not kept.

        The file is replaced in one step and keeps its mode; a new one is readable by its owner only. Predicates need
        names. ``ConfigError``: no file, a predicate without a name, or it cannot be written.
        """
        with self._guard:
            content = self._entries.everything
        if self._file is not None and path in (None, str(self._file.path), self._file.path):
            self._file.write(content)
            with self._guard:
                self._entries.written(content)
        elif path is not None:
            rules_file.write(files.located(path), toml.dumps(content))
        else:
            raise ConfigError("these rules come from no file: give save(path) one")

    def reload(self) -> None:
        """Read the file of these rules again, now. ``ConfigError`` as for ``load``: then nothing has changed."""
        if self._file is None:
            raise ConfigError("these rules come from no file: take Firewall.load")
        self._follow(self._file.read())

    def _follow(self, content: Content) -> None:
        """The whole file at once. What somebody has read or written since then is newer."""
        with self._guard:
            if self._file is not None and self._file.latest is not content:
                return
            entries = self._entries.copy()
            entries.replace(content)
            self._entries = entries
        self._changed()

    def _log_unheard(self, error: BaseException) -> None:
        self._faults.tell("who was to hear of a change of the rules failed", error=error)

    def _log_fault(self, rule: Rule, error: BaseException) -> None:
        self._faults.tell("a predicate failed, so it rejects (told once)", error=error, more=f": {rule!r}")


def file_of(firewall: Firewall) -> RulesFile | None:
    """The file that the rules were loaded from."""
    return firewall._file  # noqa: SLF001 - ours, and no part of what users see
