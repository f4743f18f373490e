"""The tables of rules and bans: each stands under its key, and is found by peer, protocol and address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, cast

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.rules import CONNECTION, Direction, Rule, Scope
from stronghold_p2p.firewall.subnets import Address, Network, SubnetMap, parse_subnet
from stronghold_p2p.identity import PeerId

Banned: TypeAlias = PeerId | Network


@dataclass(frozen=True, slots=True)
class Judgement:
    """The rule that speaks for an attempt (None: no rule does), and its ``source``, one word for the audit log.

    ``implicit``: the protocol is open to everybody, and no entry speaks of it.
    """

    rule: Rule | None
    source: str
    implicit: bool = False


class Key(NamedTuple):
    """The scope of an entry, in one form for each scope."""

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
        """The selectors that are given."""
        subnet = None if self.network is None else str(self.network)
        named = {"direction": self.direction, "peer": self.peer, "protocol": self.protocol, "subnet": subnet}
        return cast("Scope", {name: value for name, value in named.items() if value is not None})

    def source(self, rule: Rule) -> str:
        """What the audit log calls an entry under this key."""
        parts = ["peer"] if self.peer is not None else []
        parts += ["protocol"] if self.protocol is not None else []
        parts += [f"subnet:{self.network}"] if self.network is not None else []
        return f"{rule}@{'+'.join(parts) or 'default'}"


def key_of(
    peer: PeerId | None = None, protocol: str | None = None, subnet: str | None = None, direction: Direction = "in"
) -> Key:
    """The key of a scope; ``ConfigError`` for a selector that could never match."""
    # A selector of the wrong type would match nothing: a rejecting rule would silently let everything through.
    for name, value, kind in (("peer", peer, PeerId), ("protocol", protocol, str)):
        if value is not None and not (isinstance(value, kind) and value):
            raise ConfigError(f"{name} {value!r}: take a {kind.__name__}")
    if protocol is not None and not (protocol.startswith("/") or protocol == CONNECTION):
        raise ConfigError(f"protocol {protocol!r}: ids begin with '/', and there is {CONNECTION!r}")
    if direction not in ("in", "out"):
        raise ConfigError(f"direction {direction!r}: take 'in' or 'out'")
    return Key(direction, peer, protocol, None if subnet is None else parse_subnet(subnet))


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


class Entries:
    """Rules by key. ``find`` costs the same however many there are."""

    __slots__ = ("_tables", "rules", "with_subnet")

    def __init__(self) -> None:
        self.rules: dict[Key, Rule] = {}
        self.with_subnet = 0  # how many name a subnet; at 0 no address has to be parsed
        self._tables: dict[Direction, dict[PeerId | None, dict[str | None, _Slot]]] = {"in": {}, "out": {}}

    def put(self, key: Key, rule: Rule) -> None:
        """Keep ``rule`` under exactly this key, in place of an earlier one."""
        if key not in self.rules and key.network is not None:
            self.with_subnet += 1
        self.rules[key] = rule
        slot = self._tables[key.direction].setdefault(key.peer, {}).setdefault(key.protocol, _Slot())
        slot.put(key.network, Judgement(rule, key.source(rule)))

    def drop(self, key: Key) -> bool:
        """Forget the rule under exactly this key; whether there was one."""
        if self.rules.pop(key, None) is None:
            return False
        if key.network is not None:
            self.with_subnet -= 1
        table = self._tables[key.direction]
        if table[key.peer][key.protocol].drop(key.network):
            del table[key.peer][key.protocol]
        if not table[key.peer]:
            del table[key.peer]
        return True

    def find(
        self, direction: Direction, peer: PeerId, protocol: str, host: Address | None, *, named_only: bool
    ) -> Judgement | None:
        """The strongest entry that matches; ``named_only``: of those that name the protocol."""
        table = self._tables[direction]
        for whose in (peer, None):
            slots = table.get(whose, {})
            for named in (protocol,) if named_only else (protocol, None):
                slot = slots.get(named)
                found = None if slot is None else slot.find(host)
                if found is not None:
                    return found
        return None


class Bans:
    """Who is banned: peers, and networks."""

    __slots__ = ("_subnets", "all")

    def __init__(self) -> None:
        self.all: set[Banned] = set()
        self._subnets: SubnetMap[bool] = SubnetMap()

    @property
    def with_subnet(self) -> bool:
        """Whether a subnet is among them."""
        return bool(self._subnets)

    def add(self, whom: Banned) -> None:
        self.all.add(whom)
        if not isinstance(whom, PeerId):
            self._subnets.set(whom, True)

    def drop(self, whom: Banned) -> None:
        """Take one ban back, if there is one."""
        if whom in self.all:
            self.all.remove(whom)
            if not isinstance(whom, PeerId):
                self._subnets.remove(whom)

    def hold(self, peer: PeerId | None, host: Address | None) -> bool:
        """Whether this peer, or where it is, is banned; None: not known."""
        return peer in self.all or (host is not None and bool(self._subnets) and self._subnets.find(host) is not None)


def banned_of(whom: PeerId | str) -> Banned:
    """A ban in one form; ``ConfigError``: neither a ``PeerId`` nor the text of a subnet."""
    return whom if isinstance(whom, PeerId) else parse_subnet(whom)
