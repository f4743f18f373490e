"""The decision as the documents word it, over a plain list: the independent reference for the firewall."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS
from stronghold_p2p.firewall.rules import Attempt, Direction, Rule, Scope
from stronghold_p2p.identity import PeerId

Selectors = tuple[PeerId | None, str | None, str | None, Direction]
# A rule as a test writes it down: a verdict, or what it looks at, and the two rules behind that.
Predicate = Callable[[Attempt], Any]
Tree = Rule | tuple[frozenset[str] | Predicate, Any, Any]
Holds = Callable[[Predicate], bool | None]


def built(tree: Tree) -> Rule:
    if isinstance(tree, Rule):
        return tree
    look, then, otherwise = tree
    make: Any = Rule.only if isinstance(look, frozenset) else Rule.when
    return make(look, then=built(then), otherwise=built(otherwise))  # type: ignore[no-any-return]


def leaves(tree: Tree) -> set[Rule]:
    return {tree} if isinstance(tree, Rule) else leaves(tree[1]) | leaves(tree[2])


def says(tree: Tree, variant: str | None, holds: Holds) -> Rule:
    """A variant of None: there is no request to look at. ``holds`` is None for a predicate that fails."""
    if isinstance(tree, Rule):
        return tree
    look, then, otherwise = tree
    found = holds(look) if callable(look) else None if variant is None else variant in look
    return Rule.REJECT if found is None else says(then if found else otherwise, variant, holds)


def scope_of(selectors: Selectors) -> Scope:
    names = zip(("peer", "protocol", "subnet", "direction"), selectors, strict=True)
    return {name: part for name, part in names if part is not None}  # type: ignore[return-value]


def within(subnet: str, host: str) -> bool:
    network, address = ip_network(subnet), ip_address(host)
    return network.version == address.version and address in network


class Model:
    def __init__(self) -> None:
        self.entries: dict[Selectors, Tree] = {}
        self.banned: set[PeerId | str] = set()

    def find(self, peer: PeerId, protocol: str, host: str, direction: Direction = "in") -> Tree | None:
        """The strongest entry that matches: one of the peer, then of the protocol, then the narrowest."""

        def matches(its: Selectors) -> bool:
            named = its[0] in (None, peer) and its[1] in (None, protocol) and its[3] == direction
            return (
                named and (its[2] is None or within(its[2], host)) and (protocol not in OPEN_PROTOCOLS or bool(its[1]))
            )

        found = [its for its in self.entries if matches(its)]
        return self.entries[max(found, key=rank)] if found else None

    def decide(
        self, peer: PeerId, protocol: str, host: str, direction: Direction, variant: str | None, holds: Holds
    ) -> Rule | None:
        if peer in self.banned or any(within(ban, host) for ban in self.banned if isinstance(ban, str)):
            return Rule.REJECT
        tree = self.find(peer, protocol, host, direction)
        if tree is not None:
            return says(tree, variant, holds)
        return Rule.ALLOW if direction == "out" or protocol in OPEN_PROTOCOLS else None


def rank(its: Selectors) -> tuple[bool, bool, int]:
    return its[0] is not None, its[1] is not None, ip_network(its[2]).prefixlen if its[2] else -1
