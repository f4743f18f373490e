"""The rules of one network and the one decision that they make.

Precedence is total. A ban comes first. Else, of the entries of the attempt's direction whose selectors all
match, the greatest by (names the peer, names the protocol, prefix length of the subnet) speaks; there is at
most one such entry, as scopes are keys. Peers come before protocols and subnets, because a peer id is proven
and an address is not. Without any entry, outbound passes and inbound has no rule, which refuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall import toml
from stronghold_p2p.firewall.asking import rules_file as storage
from stronghold_p2p.firewall.entries import Bans, Entries, Judgement, banned_of, key_of
from stronghold_p2p.firewall.filed import Filed
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Fault, Predicate, Rule, Scope
from stronghold_p2p.firewall.subnets import host_of
from stronghold_p2p.identity import PeerId

if TYPE_CHECKING:
    from multiaddr import Multiaddr

AskHook: TypeAlias = Callable[[Attempt], Awaitable[bool | Rule]]
RuleHook: TypeAlias = Callable[[Attempt], Awaitable[Rule | None]]
Listener: TypeAlias = Callable[[], None]

OPEN_PROTOCOLS = frozenset({CONNECTION, "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"})
"""What passes unless an entry names it: connecting, identify (specs: identify/README.md) and ping."""

_NONE = Judgement(None, "none")
_OPEN = Judgement(Rule.ALLOW, "open", nobodys=True)
_OUTBOUND = Judgement(Rule.ALLOW, "outbound")
_BANNED = Judgement(Rule.REJECT, "ban")


class Firewall:
    """The rules, the bans and the ask hook of one network. Nothing is let in that no rule allows.

    Rules may change at any time; a change takes effect at once, also on attempts that wait for an answer.
    ``open_protocols`` are the names that pass as long as no entry that matches names them: by default
    ``CONNECTION``, identify and ping. Not for use from several threads.
    """

    def __init__(self, *, open_protocols: frozenset[str] = OPEN_PROTOCOLS) -> None:
        self.version = 0  # how often rules and bans have changed
        self._open = open_protocols
        self._entries = Entries()
        self._bans = Bans()
        self._filed = Filed(self._entries, self._bans)
        self.file: storage.RulesFile | None = None
        self._listeners: dict[object, Listener] = {}
        self._ask_hook: AskHook | None = None
        self._rule_hook: RuleHook | None = None
        self.report: Fault | None = None  # is told of a predicate that failed: once for each rule until rules change
        self._faulty: set[Rule] = set()

    @staticmethod
    def load(
        path: Path | str, *, predicates: Mapping[str, Predicate] | None = None, watch: bool = True, create: bool = False
    ) -> Firewall:
        """The firewall that a TOML file describes (docs/firewall.md, "Rules in a file").

        ``predicates`` are those that it may name. With ``watch`` a network that uses the firewall follows changes of
        the file while it is open: ``RulesLoaded`` tells of each, a file that cannot be used changes nothing. With
        ``create`` a file that is not there is an empty one, made by the first ``save``. ``ConfigError``, whose
        ``where`` tells file and line: it cannot be read, or not be understood.
        """
        firewall = Firewall()
        firewall.file = storage.RulesFile(Path(path), predicates or {}, watch=watch)
        firewall._filed.replace(firewall.file.read(create=create))
        return firewall

    def save(self, path: Path | str | None = None) -> None:
        """Write all rules and bans to the file that they were loaded from, or to ``path``; comments are not kept.

        The file is replaced in one step and keeps its mode; a new one is readable by its owner only. Predicates need
        names. ``ConfigError``: no file, a predicate without a name, or it cannot be written.
        """
        content = self._filed.all
        if self.file is not None and path in (None, str(self.file.path), self.file.path):
            self.file.write(content)
            self._filed.saved(content)
        elif path is not None:
            storage.write(Path(path), toml.dumps(content))
        else:
            raise ConfigError("these rules come from no file: give save(path) one")

    def reload(self) -> None:
        """Read the file of these rules again, now. ``ConfigError`` as for ``load``: then nothing has changed."""
        if self.file is None:
            raise ConfigError("these rules come from no file: take Firewall.load")
        self._filed.replace(self.file.read())
        self._changed()

    def refresh(self, now: float) -> None:
        """Follow the file, if it has changed and been at rest since an earlier call; ``now`` is on any clock."""
        content = None if self.file is None else self.file.read_again(now)
        if content is not None:
            self._filed.replace(content)
            self._changed()

    def set(
        self,
        rule: Rule,
        *,
        peer: PeerId | None = None,
        protocol: str | None = None,
        subnet: str | None = None,
        direction: Direction = "in",
    ) -> None:
        """Make ``rule`` the rule of exactly this scope, in place of an earlier one; without selectors, the default.

        A protocol id matches exactly. ``ConfigError``: not a rule, or a selector that could never match.
        """
        if not isinstance(rule, Rule):
            raise ConfigError(f"{rule!r} is no rule: take Rule.ALLOW, Rule.REJECT, Rule.ASK, Rule.only or Rule.when")
        key = key_of(peer, protocol, subnet, direction)
        self._entries.put(key, rule)
        self._filed.rules.discard(key)
        self._changed()

    def remove(
        self,
        *,
        peer: PeerId | None = None,
        protocol: str | None = None,
        subnet: str | None = None,
        direction: Direction = "in",
    ) -> bool:
        """Remove the rule of exactly this scope; whether there was one. ``ConfigError`` as for ``set``."""
        key = key_of(peer, protocol, subnet, direction)
        if not self._entries.drop(key):
            return False
        self._filed.rules.discard(key)
        self._changed()
        return True

    def rules(self) -> tuple[tuple[Scope, Rule], ...]:
        """All entries by precedence, the strongest first; each can be given to ``set`` again."""
        entries = self._entries.rules
        return tuple((key.scope, entries[key]) for key in sorted(entries, key=lambda key: key.place))

    def decide(self, attempt: Attempt) -> Rule | None:
        """What the rules say of this attempt: ``ALLOW``, ``REJECT``, ``ASK``; None: no rule matches. Asks nobody."""
        return self.judgement(attempt).rule

    def judgement(self, attempt: Attempt) -> Judgement:
        """``decide``, with the name of the entry that spoke."""
        found = self.effective(attempt)
        if found.rule is None or found.rule.verdict is not None:
            return found
        return Judgement(self.resolve(found.rule, attempt), found.source)

    def effective(self, attempt: Attempt) -> Judgement:
        """The rule that matches, as it was set: one that has yet to look at the request is not asked to."""
        with_subnet = self._entries.with_subnet or self._bans.with_subnet
        host = host_of(attempt.address) if with_subnet else None
        if self._bans.hold(attempt.peer, host):
            return _BANNED
        is_open = attempt.protocol in self._open
        found = self._entries.find(attempt.direction, attempt.peer, attempt.protocol, host, named_only=is_open)
        if found is not None:
            return found
        if is_open:
            return _OPEN
        return _OUTBOUND if attempt.direction == "out" else _NONE

    def resolve(self, rule: Rule, attempt: Attempt) -> Rule:
        """What ``rule`` says of this attempt: ``ALLOW``, ``REJECT`` or ``ASK``."""
        return rule.resolve(attempt, self._fault)

    def bans(self, address: Multiaddr) -> bool:
        """Whether a banned subnet holds this address, whoever is there."""
        return self._bans.with_subnet and self._bans.hold(None, host_of(address))

    @property
    def banned(self) -> frozenset[PeerId | str]:
        """Who is banned: peer ids, and subnets as text."""
        return frozenset(whom if isinstance(whom, PeerId) else str(whom) for whom in self._bans.all)

    def ban(self, whom: PeerId | str) -> None:
        """Refuse a peer, or every address of a subnet, both ways, whatever the rules say.

        Open connections are closed, and what waits on them fails. ``ConfigError``: neither a ``PeerId`` nor the text
        of a subnet.
        """
        self._bans.add(banned_of(whom))
        self._filed.banned.discard(banned_of(whom))
        self._changed()

    def unban(self, whom: PeerId | str) -> None:
        """Take one ban back, if there is one; the rules decide again. ``ConfigError`` as for ``ban``."""
        self._bans.drop(banned_of(whom))
        self._filed.banned.discard(banned_of(whom))
        self._changed()

    @property
    def ask_hook(self) -> AskHook | None:
        """The hook that ``on_ask`` registered last."""
        return self._ask_hook

    def on_ask(self, hook: AskHook) -> AskHook:
        """Let ``hook`` answer for ``Rule.ASK`` (a decorator; the last one counts).

        It is called with each attempt and returns True (this once), False, or a ``Rule``, which becomes the
        peer's. Without a hook, and whenever it raises, is late or returns anything else, ``ASK`` rejects.
        """
        self._ask_hook = hook
        return hook

    @property
    def rule_hook(self) -> RuleHook | None:
        """The hook that ``on_no_rule`` registered last."""
        return self._rule_hook

    def on_no_rule(self, hook: RuleHook) -> RuleHook:
        """Let ``hook`` give a rule to peers that none covers (a decorator; the last one counts).

        It is called once for each such peer, with the first of its attempts, while they all wait. The ``Rule`` that
        it returns becomes the peer's, and they are judged by it. If it returns None, raises, is late or returns
        anything else, they are rejected and nothing is kept. Without a hook a peer without a rule is told that
        nothing is served.
        """
        self._rule_hook = hook
        self._changed()
        return hook

    def watch(self, listener: Listener) -> Listener:
        """Call ``listener`` after each change of rules or bans; returns what ends that. It must not raise."""
        token = object()
        self._listeners[token] = listener

        def unwatch() -> None:
            self._listeners.pop(token, None)

        return unwatch

    def _fault(self, rule: Rule, error: BaseException) -> None:
        if self.report is not None and rule not in self._faulty:
            self._faulty.add(rule)
            self.report(rule, error)

    def _changed(self) -> None:
        self.version += 1
        self._faulty.clear()
        for listener in tuple(self._listeners.values()):
            listener()
