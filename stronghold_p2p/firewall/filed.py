"""What a firewall has from its file: what the file says next replaces that, and nothing that the program has set."""

from __future__ import annotations

from stronghold_p2p.firewall.entries import Banned, Bans, Entries, Key
from stronghold_p2p.firewall.toml import Content


class Filed:
    """The part of ``entries`` and ``bans`` that comes from a file.

    ``rules`` and ``banned`` are those; whoever sets, removes, bans or unbans one of them takes it out of there.
    """

    def __init__(self, entries: Entries, bans: Bans) -> None:
        self._entries = entries
        self._bans = bans
        self._content = Content()
        self.rules: set[Key] = set()
        self.banned: set[Banned] = set()

    @property
    def all(self) -> Content:
        """Everything that there is, the program's own included."""
        return Content(frozenset(self._bans.all), dict(self._entries.rules))

    def saved(self, content: Content) -> None:
        """The file says this now, and so does the firewall."""
        self._content = content
        self.rules, self.banned = set(content.rules), set(content.banned)

    def replace(self, content: Content) -> None:
        """The file says this now: do what has changed in it, except where the program has its own rule or ban."""
        before, self._content = self._content, content
        for key in before.rules.keys() | content.rules.keys():
            if before.rules.get(key) != content.rules.get(key):
                self._change(key)
        for whom in content.banned - before.banned:
            if whom not in self._bans.all:
                self._bans.add(whom)
                self.banned.add(whom)
        for whom in self.banned - content.banned:
            self._bans.drop(whom)
            self.banned.discard(whom)

    def _change(self, key: Key) -> None:
        rule = self._content.rules.get(key)
        if key in self._entries.rules and key not in self.rules:
            return  # the program's own, also where both say the same: it stays when the file drops it
        if rule is None:
            self._entries.drop(key)
            self.rules.discard(key)
        else:
            self._entries.put(key, rule)
            self.rules.add(key)
