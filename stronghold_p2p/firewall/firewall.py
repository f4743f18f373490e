"""The rules of one network and the one decision that they make.

Precedence is total. A ban comes first. Else, of the entries of the attempt's direction whose selectors all
match, the greatest by (names the peer, names the protocol, prefix length of the subnet) speaks; there is at
most one such entry, as scopes are keys. Peers come before protocols and subnets, because a peer id is proven
and an address is not. Without any entry, outbound passes and inbound has no rule, which refuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Rule, Scope
from stronghold_p2p.firewall.subnets import Address, Network, SubnetMap, host_of, parse_subnet
from stronghold_p2p.identity import PeerId

AskHook: TypeAlias = Callable[[Attempt], Awaitable[bool | Rule]]
Listener: TypeAlias = Callable[[], None]

OPEN_PROTOCOLS = frozenset({CONNECTION, "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"})
"""What passes unless an entry names it: connecting, identify (specs: identify/README.md) and ping."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision and where it comes from: ``source`` is one word for the audit log."""

    rule: Rule | None
    source: str


class _Key(NamedTuple):
    direction: Direction
    peer: PeerId | None
    protocol: str | None
    network: Network | None

    @property
    def place(self) -> tuple[bool, bool, int, list[str]]:
        """Sorts the strongest first; the texts only make the order of equals the same each time."""
        prefix = -1 if self.network is None else self.network.prefixlen
        return self.peer is None, self.protocol is None, -prefix, [str(part) for part in self]

    @property
    def scope(self) -> Scope:
        scope = Scope(direction=self.direction)
        if self.peer is not None:
            scope["peer"] = self.peer
        if self.protocol is not None:
            scope["protocol"] = self.protocol
        if self.network is not None:
            scope["subnet"] = str(self.network)
        return scope


@dataclass(slots=True)
class _Slot:
    """The entries that name the same peer and protocol."""

    anywhere: Judgement | None = None
    subnets: SubnetMap[Judgement] = field(default_factory=SubnetMap)

    def find(self, host: Address | None) -> Judgement | None:
        if host is not None and self.subnets:
            return self.subnets.find(host) or self.anywhere
        return self.anywhere

    def put(self, network: Network | None, judgement: Judgement) -> None:
        if network is None:
            self.anywhere = judgement
        else:
            self.subnets.set(network, judgement)

    def drop(self, network: Network | None) -> bool:
        """Forget one entry; whether the slot is empty now."""
        if network is None:
            self.anywhere = None
        else:
            self.subnets.remove(network)
        return self.anywhere is None and not self.subnets


_Protocols: TypeAlias = dict[str | None, _Slot]

_NONE = Judgement(None, "none")
_OPEN = Judgement(Rule.ALLOW, "open")
_OUTBOUND = Judgement(Rule.ALLOW, "outbound")
_BANNED = Judgement(Rule.REJECT, "ban")


class Firewall:
    """The rules, the bans and the ask hook of one network. Nothing is let in that no rule allows.

    Rules may change at any time; a change takes effect at once, also on attempts that wait for an answer.
    ``open_protocols`` are the names that pass as long as no entry that matches names them: by default
    ``CONNECTION``, identify and ping. Not for use from several threads.
    """

    def __init__(self, *, open_protocols: frozenset[str] = OPEN_PROTOCOLS) -> None:
        self._open = open_protocols
        self._entries: dict[_Key, Rule] = {}
        self._tables: dict[Direction, dict[PeerId | None, _Protocols]] = {"in": {}, "out": {}}
        self._with_subnet = 0
        self._banned_peers: set[PeerId] = set()
        self._banned_networks: set[Network] = set()
        self._banned_subnets: SubnetMap[Judgement] = SubnetMap()
        self._listeners: dict[object, Listener] = {}
        self._ask_hook: AskHook | None = None

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
            raise ConfigError(f"{rule!r} is no rule: take Rule.ALLOW, Rule.REJECT or Rule.ASK")
        key = _key(peer, protocol, subnet, direction)
        if key not in self._entries and key.network is not None:
            self._with_subnet += 1
        self._entries[key] = rule
        slot = self._tables[direction].setdefault(peer, {}).setdefault(protocol, _Slot())
        slot.put(key.network, Judgement(rule, _source(rule, key)))
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
        key = _key(peer, protocol, subnet, direction)
        if self._entries.pop(key, None) is None:
            return False
        if key.network is not None:
            self._with_subnet -= 1
        table = self._tables[direction]
        if table[peer][protocol].drop(key.network):
            del table[peer][protocol]
        if not table[peer]:
            del table[peer]
        self._changed()
        return True

    def rules(self) -> tuple[tuple[Scope, Rule], ...]:
        """All entries by precedence, the strongest first; each can be given to ``set`` again."""
        ordered = sorted(self._entries, key=lambda key: key.place)
        return tuple((key.scope, self._entries[key]) for key in ordered)

    def decide(self, attempt: Attempt) -> Rule | None:
        """What the rules say: allow, reject, ask; None: nothing. Asks nobody."""
        return self.judgement(attempt).rule

    def judgement(self, attempt: Attempt) -> Judgement:
        """``decide``, with the name of the entry that spoke."""
        host = host_of(attempt.address) if self._with_subnet or self._banned_networks else None
        if self._is_banned(attempt.peer, host):
            return _BANNED
        table = self._tables[attempt.direction]
        is_open = attempt.protocol in self._open
        for peer in (attempt.peer, None):
            protocols = table.get(peer)
            if protocols is None:
                continue
            found = _find(protocols, attempt.protocol, host)
            if found is None and not is_open:
                found = _find(protocols, None, host)
            if found is not None:
                return found
        if is_open:
            return _OPEN
        return _OUTBOUND if attempt.direction == "out" else _NONE

    @property
    def banned(self) -> frozenset[PeerId | str]:
        """Who is banned: peer ids, and subnets as text."""
        return frozenset({*self._banned_peers, *map(str, self._banned_networks)})

    def ban(self, whom: PeerId | str) -> None:
        """Refuse a peer, or every address of a subnet, both ways, whatever the rules say.

        ``ConfigError``: neither a ``PeerId`` nor the text of a subnet.
        """
        if isinstance(whom, PeerId):
            self._banned_peers.add(whom)
        else:
            network = parse_subnet(whom)
            self._banned_networks.add(network)
            self._banned_subnets.set(network, _BANNED)
        self._changed()

    def unban(self, whom: PeerId | str) -> None:
        """Take one ban back; the rules decide again. Nothing happens if there is none."""
        if isinstance(whom, PeerId):
            self._banned_peers.discard(whom)
        elif (network := parse_subnet(whom)) in self._banned_networks:
            self._banned_networks.remove(network)
            self._banned_subnets.remove(network)
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

    def watch(self, listener: Listener) -> Listener:
        """Call ``listener`` after each change of rules or bans; returns what ends that. It must not raise."""
        token = object()
        self._listeners[token] = listener

        def unwatch() -> None:
            self._listeners.pop(token, None)

        return unwatch

    def _is_banned(self, peer: PeerId, host: Address | None) -> bool:
        if peer in self._banned_peers:
            return True
        return host is not None and bool(self._banned_subnets) and self._banned_subnets.find(host) is not None

    def _changed(self) -> None:
        for listener in tuple(self._listeners.values()):
            listener()


def _find(protocols: _Protocols, protocol: str | None, host: Address | None) -> Judgement | None:
    slot = protocols.get(protocol)
    return None if slot is None else slot.find(host)


def _key(peer: PeerId | None, protocol: str | None, subnet: str | None, direction: Direction) -> _Key:
    # A selector of the wrong type would match nothing: a rejecting rule would silently let everything through.
    for name, value, kind in (("peer", peer, PeerId), ("protocol", protocol, str)):
        if value is not None and not (isinstance(value, kind) and value):
            raise ConfigError(f"{name} {value!r}: take a {kind.__name__}")
    if direction not in ("in", "out"):
        raise ConfigError(f"direction {direction!r}: take 'in' or 'out'")
    return _Key(direction, peer, protocol, None if subnet is None else parse_subnet(subnet))


def _source(rule: Rule, key: _Key) -> str:
    parts = ["peer"] if key.peer is not None else []
    parts += ["protocol"] if key.protocol is not None else []
    parts += [f"subnet:{key.network}"] if key.network is not None else []
    return f"{rule}@{'+'.join(parts) or 'default'}"
