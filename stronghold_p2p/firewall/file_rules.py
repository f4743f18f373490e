"""The part of the rules and bans that comes from a file, kept apart from what the program has set by itself.

A file that has changed replaces what it said before. It never touches a rule or a ban of the program's own, also where
both say the same.
"""

from __future__ import annotations

from stronghold_p2p.firewall.entries import Banned, Bans, Entries, Key
from stronghold_p2p.firewall.toml import Content


class FileRules:
    """Which of ``entries`` and ``bans`` a file has put there: their keys are ``rules``, and ``banned``.

    A rule or a ban that the program changes by itself is discarded from there: from then on it is the program's own.
    """

    def __init__(self, entries: Entries, bans: Bans) -> None:
        self._entries = entries
        self._bans = bans
        self._content = Content()
        self.rules: set[Key] = set()
        self.banned: set[Banned] = set()

    @property
    def everything(self) -> Content:
        """All rules and bans as a file would say them, the program's own included."""
        return Content(frozenset(self._bans.all), dict(self._entries.rules))

    def written(self, content: Content) -> None:
        """The file has been made to say ``content``, which is everything: nothing is the program's own any more."""
        self._content = content
        self.rules, self.banned = set(content.rules), set(content.banned)

    def replace(self, content: Content) -> None:
        """The file says ``content`` now: follow what has changed in it, except where the program has its own."""
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
            return  # it is the program's own, and stays when the file drops it
        if rule is None:
            self._entries.drop(key)
            self.rules.discard(key)
        else:
            self._entries.put(key, rule)
            self.rules.add(key)
