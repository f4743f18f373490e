"""The rules of one network and the decision that they make. A core: it neither asks the application nor reads files.

``match`` finds the one entry that speaks for an attempt, and ``decide`` makes ``ALLOW``, ``REJECT`` or ``ASK`` of it.

Precedence is total. A ban comes first. Else, of the entries of the attempt's direction whose selectors all match, the
greatest by (names the peer, names the protocol, prefix length of the subnet) speaks; there is at most one such entry,
as scopes are keys, but for a protocol of several ids (``Entries.find``). Peers come before protocols and subnets,
because a peer id is proven and an address is not. Without any entry, outbound passes and inbound has no rule, which
refuses.

Whoever changes something, or goes through whole tables, holds the ``guard``, as threads may do so at once. Who judges
an attempt does not: an entry changes in one step, and a whole file takes its place as one new table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Never, Protocol, TypeAlias, Unpack

from multiaddr import Multiaddr

from stronghold_p2p.arguments import check_function, check_kind, kind_of, shown
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.entries import LEARNED, Entries, Judgement, banned_of, key_of
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Fault, Rule, Scope, Selectors
from stronghold_p2p.firewall.rules import decide as rule_of
from stronghold_p2p.identity import PeerId

AskHook: TypeAlias = Callable[[Attempt], Awaitable[bool | Rule] | bool | Rule]
NoRuleHook: TypeAlias = Callable[[Attempt], Awaitable[Rule | None] | Rule | None]
Observer: TypeAlias = Callable[[PeerId | None], None]

OPEN_PROTOCOLS: Final = frozenset(
    {CONNECTION, "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/libp2p/circuit/relay/0.2.0/stop"}
)
"""What passes unless an entry names it: connecting, identify (specs: identify/README.md), ping (ping/ping.md), and what
a relay offers to those who have a place there (relay/circuit-v2.md): others refuse it themselves.
"""

_NO_RULE: Final = Judgement(None, "none")
_OPEN: Final = Judgement(Rule.ALLOW, "open", implicit=True)
_OUTBOUND: Final = Judgement(Rule.ALLOW, "outbound")
_BANNED: Final = Judgement(Rule.REJECT, "ban")


class Guard(Protocol):
    """A lock, which the thread that has it may take once more."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> object: ...


class Unguarded:
    """Instead of a lock, where one thread alone changes the rules."""

    def __enter__(self) -> None:
        """Nobody has to be waited for."""

    def __exit__(self, *_: object) -> None:
        """Nobody waits."""


@dataclass(slots=True)
class AppHooks:
    """The hooks of the application: what answers for ``Rule.ASK``, and what gives a rule where there is none."""

    ask: AskHook | None = None
    no_rule: NoRuleHook | None = None


class Decisions:
    """Rules, bans and the application's hooks: what they say of an attempt, and who observes their changes.

    ``fault(rule, error)`` is called for a predicate that fails, once for each rule until rules change, and
    ``unheard(error)`` for an observer that fails.
    ``open_protocols`` are the names that pass as long as no entry that matches names them. ``version`` counts the
    changes of rules and bans. With a ``guard``, several threads may make them.
    """

    def __init__(
        self,
        fault: Fault | None = None,
        *,
        unheard: Callable[[BaseException], object] | None = None,
        open_protocols: frozenset[str] = OPEN_PROTOCOLS,
        guard: Guard | None = None,
    ) -> None:
        check_kind("open_protocols", open_protocols, (set, frozenset), "take a set of ids")
        self.version = 0
        self._guard: Guard = Unguarded() if guard is None else guard
        self._hooks = AppHooks()
        self._open = open_protocols
        self._entries = Entries()
        self._observers: dict[PeerId | None, dict[object, Observer]] = {None: {}}  # by whom they want to know about
        self._report, self._unheard = fault, unheard
        self._faulty: set[Rule] = set()

    def set(self, rule: Rule, *unnamed: Never, **scope: Unpack[Selectors]) -> None:
        """Make ``rule`` the rule of exactly this scope, in place of an earlier one; without selectors, the default.

        The selectors are ``peer`` (a ``PeerId``, its text, or an address that ends in ``/p2p/`` and it), ``protocol``
        (an id, which matches exactly), ``subnet``, and ``direction`` (``"in"`` unless given). They are given by name.
        ``ConfigError``: not a rule, or a selector that could never match.
        """
        _check_named("set", unnamed)
        if not isinstance(rule, Rule):
            raise ConfigError(f"{rule!r} is no rule: take Rule.ALLOW, Rule.REJECT, Rule.ASK, Rule.only or Rule.when")
        key = key_of(**scope)
        with self._guard:
            self._entries.put(key, rule)
        self._changed(key.peer)

    def remove(self, *unnamed: Never, **scope: Unpack[Selectors]) -> bool:
        """Remove the rule of exactly this scope; whether there was one. ``ConfigError`` as for ``set``."""
        _check_named("remove", unnamed)
        key = key_of(**scope)
        with self._guard:
            removed = self._entries.drop(key)
        if removed:
            self._changed(key.peer)
        return removed

    def rules(self) -> tuple[tuple[Scope, Rule], ...]:
        """All entries by precedence, the strongest first; each can be given to ``set`` again."""
        with self._guard:
            entries = dict(self._entries.rules)
        return tuple((key.scope, entries[key]) for key in sorted(entries, key=lambda key: key.place))

    @property
    def learned(self) -> tuple[Scope, ...]:
        """The scopes of the rules that hooks have returned, the one of longest ago first; ``set`` makes one lasting."""
        with self._guard:
            return tuple(key.scope for key in self._entries.learned)

    @property
    def banned(self) -> frozenset[PeerId | str]:
        """Who is banned: peer ids, and subnets as text."""
        with self._guard:
            return frozenset(whom if isinstance(whom, PeerId) else str(whom) for whom in self._entries.banned)

    def ban(self, whom: PeerId | str) -> None:
        """Refuse a peer, or every address of a subnet, both ways, whatever the rules say.

        Open connections are closed, and what waits on them fails. ``ConfigError``: neither a ``PeerId`` or its text nor
        the text of a subnet.
        """
        banned = banned_of(whom)
        with self._guard:
            self._entries.ban(banned)
        self._changed(banned if isinstance(banned, PeerId) else None)

    def unban(self, whom: PeerId | str) -> None:
        """Take one ban back, if there is one; the rules decide again. ``ConfigError`` as for ``ban``."""
        banned = banned_of(whom)
        with self._guard:
            self._entries.unban(banned)
        self._changed(banned if isinstance(banned, PeerId) else None)

    def match(self, attempt: Attempt) -> Judgement:
        """The entry that speaks for this attempt. Its rule is as it was set: ``only`` and ``when`` have yet to look."""
        entries = self._entries  # one table, also if a file takes its place meanwhile
        places = entries.around(attempt.address)
        if entries.holds_back(attempt.peer, places):
            return _BANNED
        is_open = attempt.protocol in self._open
        found = entries.find(attempt, places, named_only=is_open)
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
        peer's; or an awaitable of that. A plain function has to answer at once. Without a hook, and whenever it raises,
        is late or returns anything else, ``ASK`` rejects. ``ConfigError``: it is no function of an attempt.
        """
        check_function("on_ask", hook, "an Attempt")
        self._hooks.ask = hook
        return hook

    def on_no_rule(self, hook: NoRuleHook) -> NoRuleHook:
        """Let ``hook`` give a rule to peers that none covers (a decorator; the last one counts).

        It is called once for each such peer, with the first of its attempts, while they all wait. The ``Rule`` that
        it returns, or an awaitable gives, becomes the peer's, and they are judged by it. If it returns None, raises, is
        late or returns anything else, they are rejected and nothing is kept. Without a hook a peer without a rule is
        told that nothing is served. ``ConfigError``: it is no function of an attempt.
        """
        check_function("on_no_rule", hook, "an Attempt")
        self._hooks.no_rule = hook
        self._changed()
        return hook

    def watch(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call ``observer`` after each change of rules or bans; returns what ends that.

        What it raises is logged, and keeps the change from nobody.
        """
        if not callable(observer):
            raise ConfigError(f"watch is {kind_of(observer)}: take a function without arguments", where="watch")
        return watch_changes(self, lambda _whom: observer())

    def _fault(self, rule: Rule, error: BaseException) -> None:
        if self._report is not None and rule not in self._faulty:
            if len(self._faulty) >= LEARNED:
                self._faulty.clear()
            self._faulty.add(rule)
            self._report(rule, error)

    def _changed(self, whom: PeerId | None = None) -> None:
        self._faulty.clear()
        self._tell(whom)

    def _tell(self, whom: PeerId | None) -> None:
        """Rules have changed for ``whom`` (None: for everybody). What one peer may do is no matter of all others."""
        with self._guard:
            self.version += 1
            observers = self._observers
            groups = [*observers.values()] if whom is None else [observers[None], observers.get(whom, {})]
            told = [observer for group in groups for observer in group.values()]
        for observer in told:
            try:
                observer(whom)
            except Exception as error:  # the others have to hear of a ban all the same
                if self._unheard is not None:
                    self._unheard(error)


def _check_named(call: str, unnamed: tuple[object, ...]) -> None:
    if unnamed:
        told = "takes its selectors by name: peer=, protocol=, subnet=, direction="
        raise ConfigError(f"firewall.{call} {told}, not {shown(unnamed[0])}", where=call)


def has_rules(firewall: Decisions) -> bool:
    """Whether there is any rule."""
    return bool(firewall._entries.rules)  # noqa: SLF001 - as below


def hooks_of(firewall: Decisions) -> AppHooks:
    """The hooks that the application has set, as they are at any time."""
    return firewall._hooks  # noqa: SLF001 - ours, and no part of what users see


def watch_changes(firewall: Decisions, observer: Observer, peer: PeerId | None = None) -> Callable[[], None]:
    """``Decisions.watch``, with whom it concerns (None: everybody); if ``peer`` is given, of its changes alone."""
    observers, token, guard = firewall._observers, object(), firewall._guard  # noqa: SLF001 - as above
    with guard:
        observers.setdefault(peer, {})[token] = observer

    def unwatch() -> None:
        with guard:
            group = observers.get(peer, {})
            group.pop(token, None)
            if not group and peer is not None:
                observers.pop(peer, None)

    return unwatch


def learn(firewall: Decisions, rule: Rule, **scope: Unpack[Scope]) -> None:
    """A hook has returned ``rule`` for a peer: keep it, and forget others where ``LEARNED`` are kept.

    In the place of a rule that is not learned it is not, either: forgotten, it would leave less than there was.
    """
    key = key_of(**scope)
    with firewall._guard:  # noqa: SLF001 - as above
        entries = firewall._entries  # noqa: SLF001 - as above
        if entries.rules.get(key) == rule:
            return
        entries.put(key, rule, learned=key not in entries.rules or key in entries.learned)
        forgotten = entries.make_room()
    for whom in dict.fromkeys(one.peer for one in (key, *forgotten)):
        firewall._tell(whom)  # noqa: SLF001 - as above


def hold(firewall: Decisions, peers: Container[PeerId]) -> Callable[[], None]:
    """Never forget what was learned of a peer that ``peers`` contains at the time; returns what ends that."""
    held = firewall._entries.held  # noqa: SLF001 - as above
    held.append(peers)

    def let_go() -> None:
        held[:] = [one for one in held if one is not peers]

    return let_go


def know_ids(firewall: Decisions, ids: tuple[str, ...]) -> None:
    """The protocol with these ``ids`` is judged under the first; a rule that names another one speaks for it, too."""
    first = ids[0]
    with firewall._guard:  # noqa: SLF001 - as above
        same = firewall._entries.same  # noqa: SLF001 - as above
        more = [name for name in ids[1:] if name not in same.get(first, ())]
        same[first] = (*same.get(first, ()), *more)
        named = any(key.protocol in more for key in firewall._entries.rules)  # noqa: SLF001 - as above
    if named:
        firewall._changed()  # noqa: SLF001 - as above


def bans_address(firewall: Decisions, address: Multiaddr | str) -> bool:
    """Whether a banned subnet holds this address, whoever is there; text is a host as a socket tells it."""
    entries = firewall._entries  # noqa: SLF001 - as above
    return entries.holds_back(None, entries.around(address))
