"""The rules of one network and the decision that they make. A core: it neither asks the application nor reads files.

``match`` finds the one entry that speaks for an attempt, and ``decide`` makes ``ALLOW``, ``REJECT`` or ``ASK`` of it.

Precedence is total. A ban comes first. Else, of the entries of the attempt's direction whose selectors all match, the
greatest by (names the peer, names the protocol, prefix length of the subnet) speaks; there is at most one such entry,
as scopes are keys. Peers come before protocols and subnets, because a peer id is proven and an address is not. Without
any entry, outbound passes and inbound has no rule, which refuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, Unpack

from multiaddr import Multiaddr

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.entries import Entries, Judgement, banned_of, key_of
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Fault, Rule, Scope
from stronghold_p2p.firewall.rules import decide as rule_of
from stronghold_p2p.identity import PeerId

AskHook: TypeAlias = Callable[[Attempt], Awaitable[bool | Rule]]
NoRuleHook: TypeAlias = Callable[[Attempt], Awaitable[Rule | None]]

OPEN_PROTOCOLS: Final = frozenset({CONNECTION, "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"})
"""What passes unless an entry names it: connecting, identify (specs: identify/README.md) and ping (ping/ping.md)."""

_NO_RULE: Final = Judgement(None, "none")
_OPEN: Final = Judgement(Rule.ALLOW, "open", implicit=True)
_OUTBOUND: Final = Judgement(Rule.ALLOW, "outbound")
_BANNED: Final = Judgement(Rule.REJECT, "ban")


@dataclass(slots=True)
class AppHooks:
    """The hooks of the application: what answers for ``Rule.ASK``, and what gives a rule where there is none."""

    ask: AskHook | None = None
    no_rule: NoRuleHook | None = None


class Decisions:
    """Rules, bans and the application's hooks: what they say of an attempt, and who observes their changes.

    ``fault(rule, error)`` is called for a predicate that fails, once for each rule until rules change.
    ``open_protocols`` are the names that pass as long as no entry that matches names them. ``version`` counts the
    changes of rules and bans.
    """

    def __init__(self, fault: Fault | None = None, *, open_protocols: frozenset[str] = OPEN_PROTOCOLS) -> None:
        self.version = 0
        self._hooks = AppHooks()
        self._open = open_protocols
        self._entries = Entries()
        self._observers: dict[object, Callable[[], None]] = {}
        self._report = fault
        self._faulty: set[Rule] = set()

    def set(self, rule: Rule, **scope: Unpack[Scope]) -> None:
        """Make ``rule`` the rule of exactly this scope, in place of an earlier one; without selectors, the default.

        The selectors are ``peer``, ``protocol`` (an id, which matches exactly), ``subnet``, and ``direction`` (``"in"``
        unless given). ``ConfigError``: not a rule, or a selector that could never match.
        """
        if not isinstance(rule, Rule):
            raise ConfigError(f"{rule!r} is no rule: take Rule.ALLOW, Rule.REJECT, Rule.ASK, Rule.only or Rule.when")
        self._entries.put(key_of(**scope), rule)
        self._changed()

    def remove(self, **scope: Unpack[Scope]) -> bool:
        """Remove the rule of exactly this scope; whether there was one. ``ConfigError`` as for ``set``."""
        removed = self._entries.drop(key_of(**scope))
        if removed:
            self._changed()
        return removed

    def rules(self) -> tuple[tuple[Scope, Rule], ...]:
        """All entries by precedence, the strongest first; each can be given to ``set`` again."""
        entries = self._entries.rules
        return tuple((key.scope, entries[key]) for key in sorted(entries, key=lambda key: key.place))

    @property
    def banned(self) -> frozenset[PeerId | str]:
        """Who is banned: peer ids, and subnets as text."""
        return frozenset(whom if isinstance(whom, PeerId) else str(whom) for whom in self._entries.banned)

    def ban(self, whom: PeerId | str) -> None:
        """Refuse a peer, or every address of a subnet, both ways, whatever the rules say.

        Open connections are closed, and what waits on them fails. ``ConfigError``: neither a ``PeerId`` nor the text
        of a subnet.
        """
        self._entries.ban(banned_of(whom))
        self._changed()

    def unban(self, whom: PeerId | str) -> None:
        """Take one ban back, if there is one; the rules decide again. ``ConfigError`` as for ``ban``."""
        self._entries.unban(banned_of(whom))
        self._changed()

    def match(self, attempt: Attempt) -> Judgement:
        """The entry that speaks for this attempt. Its rule is as it was set: ``only`` and ``when`` have yet to look."""
        places = self._entries.around(attempt.address)
        if self._entries.holds_back(attempt.peer, places):
            return _BANNED
        is_open = attempt.protocol in self._open
        found = self._entries.find(attempt, places, named_only=is_open)
        if found is not None:
            return found
        if is_open:
            return _OPEN
        return _OUTBOUND if attempt.direction == "out" else _NO_RULE

    def decide(self, attempt: Attempt, found: Judgement | None = None) -> Rule | None:
        """``ALLOW``, ``REJECT`` or ``ASK``; None: no rule matches. The application is not asked.

        ``found`` is what ``match`` says of the attempt, for callers that know it.
        """
        rule = (found or self.match(attempt)).rule
        return rule if rule is None or rule.verdict is not None else rule_of(rule, attempt, self._fault)

    def on_ask(self, hook: AskHook) -> AskHook:
        """Let ``hook`` answer for ``Rule.ASK`` (a decorator; the last one counts).

        It is called with each attempt and returns True (this once), False, or a ``Rule``, which becomes the
        peer's. Without a hook, and whenever it raises, is late or returns anything else, ``ASK`` rejects.
        """
        self._hooks.ask = hook
        return hook

    def on_no_rule(self, hook: NoRuleHook) -> NoRuleHook:
        """Let ``hook`` give a rule to peers that none covers (a decorator; the last one counts).

        It is called once for each such peer, with the first of its attempts, while they all wait. The ``Rule`` that
        it returns becomes the peer's, and they are judged by it. If it returns None, raises, is late or returns
        anything else, they are rejected and nothing is kept. Without a hook a peer without a rule is told that
        nothing is served.
        """
        self._hooks.no_rule = hook
        self._changed()
        return hook

    def watch(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call ``observer`` after each change of rules or bans; returns what ends that. It must not raise."""
        token = object()
        self._observers[token] = observer

        def unwatch() -> None:
            self._observers.pop(token, None)

        return unwatch

    def _fault(self, rule: Rule, error: BaseException) -> None:
        if self._report is not None and rule not in self._faulty:
            self._faulty.add(rule)
            self._report(rule, error)

    def _changed(self) -> None:
        self.version += 1
        self._faulty.clear()
        for observer in tuple(self._observers.values()):
            observer()


def hooks_of(firewall: Decisions) -> AppHooks:
    """The hooks that the application has set, as they are at any time."""
    return firewall._hooks  # noqa: SLF001 - ours, and no part of what users see


def bans_address(firewall: Decisions, address: Multiaddr) -> bool:
    """Whether a banned subnet holds this address, whoever is there."""
    entries = firewall._entries  # noqa: SLF001 - as above
    return entries.holds_back(None, entries.around(address))
