"""The decision table of the firewall, written down once more: it shares no code with the package.

A rule is a word, or a tuple of a test and two rules: ``(("Ping", "Say"), "allow", "reject")`` looks at the variant,
``("short", "allow", "ask")`` at the text. A scope is (peer, protocol, subnet), each of which may be None.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

Rule = Any
Scope = tuple[Any, str | None, str | None]


def speaks(entries: dict[Scope, Rule], peer: Any, protocol: str, host: str) -> Rule:
    """The rule of the strongest entry that matches: one of the peer, then of the protocol, then the narrowest."""

    def matches(scope: Scope) -> bool:
        inside = scope[2] is None or ip_address(host) in ip_network(scope[2])
        return scope[0] in (None, peer) and scope[1] in (None, protocol) and inside

    def strength(scope: Scope) -> tuple[bool, bool, int]:
        return scope[0] is not None, scope[1] is not None, ip_network(scope[2]).prefixlen if scope[2] else -1

    found = [scope for scope in entries if matches(scope)]
    return entries[max(found, key=strength)] if found else None


def leaves(rule: Rule) -> set[str]:
    return {rule} if isinstance(rule, str) else leaves(rule[1]) | leaves(rule[2])


def word(rule: Rule, variant: str, text: str) -> str:
    while not isinstance(rule, str):
        test, then, otherwise = rule
        rule = then if (len(text) < 5 if test == "short" else variant in test) else otherwise
    return str(rule)


def outcome(rule: Rule, variant: str, text: str, *, yes: bool) -> str:
    """What the requester gets; ``yes``: the application says True when it is asked, and not anything else."""
    if rule is None or leaves(rule) == {"reject"}:
        return "UnsupportedProtocol"
    said = word(rule, variant, text)
    return "answer" if said == "allow" or (said == "ask" and yes) else "Rejected"


def asked(rule: Rule, variant: str, text: str) -> bool:
    return rule is not None and word(rule, variant, text) == "ask"
