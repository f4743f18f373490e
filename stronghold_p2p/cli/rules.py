"""``stronghold-p2p rules check``: what a rules file would decide, without a network."""

import argparse
import math
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.cli.output import DONE, printable, show, tell_json
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Rule, Scope
from stronghold_p2p.identity import PeerId
from stronghold_p2p.protocols.perf import PERF
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD

ANYWHERE: Final = parse("/ip4/192.0.2.1/tcp/1")
OURS: Final = (*STRONGHOLD.ids, *sorted(OPEN_PROTOCOLS), PERF)


async def check(options: argparse.Namespace) -> int:
    """Say whether a rules file can be used, and what it would decide."""
    firewall = Firewall.load(options.file)
    doubts = [*_doubts(firewall, options)]
    if options.peer is options.protocol is options.variant is options.address is None:
        value = {"file": options.file, "rules": len(firewall.rules()), "banned": sorted(map(str, firewall.banned))}
        lines = [f"{_who(scope)}: {_said(rule)}" for scope, rule in firewall.rules()]
        lines += [f"{whom}: banned" for whom in sorted(map(str, firewall.banned))]
        show(options, value, *map(printable, lines or ["no rules: nobody gets further than identify and ping"]))
    else:
        _decide(firewall, options)
    for doubt in doubts:
        show(options, {"doubt": doubt}, f"but: {printable(doubt)}")
    return DONE


def _decide(firewall: Firewall, options: argparse.Namespace) -> None:
    protocol = options.protocol or STRONGHOLD.ids[0]
    attempt = Attempt(
        peer=options.peer or _somebody(firewall),
        protocol=protocol,
        direction="in",
        address=options.address or ANYWHERE,
        deadline=math.inf,
        variant=options.variant,
        view=options.variant,
    )
    found = firewall.match(attempt)
    verdict = firewall.decide(attempt, found)
    told = "reject" if verdict is None else str(verdict)
    value = {"verdict": told, "rule": found.source, "protocol": protocol, "variant": options.variant}
    asked = {"allow": "is let in", "reject": "is refused", "ask": "is asked about"}[told]
    who = options.peer or "somebody whom no rule names"
    about = protocol if options.variant is None else f"{options.variant} of {protocol}"
    line = printable(f"{told}: {who} {asked} with {about} (by {found.source})")
    if options.json:
        tell_json({**value, "peer": options.peer})
    else:
        show(options, {}, line)


def _somebody(firewall: Firewall) -> PeerId:
    """A peer of whom no rule speaks."""
    named = {scope.get("peer") for scope, _ in firewall.rules()} | firewall.banned
    number = 0
    while (peer := PeerId(b"\x12\x20" + number.to_bytes(32, "big"))) in named:
        number += 1
    return peer


def _doubts(firewall: Firewall, options: argparse.Namespace) -> Iterator[str]:
    """What the file says, or is asked about, and never comes to anything."""
    scopes = [scope for scope, _ in firewall.rules()]
    for scope in scopes:
        if scope.get("peer") in firewall.banned:
            yield f"the rule for {_who(scope)} never counts: the peer is banned"
    protocols = {scope["protocol"] for scope in scopes if "protocol" in scope}
    for protocol in sorted(protocols - {*OURS}):
        if near := get_close_matches(protocol, OURS, cutoff=0.85):
            yield f"{protocol} is none of the protocols of this package: is {near[0]} meant? Ids match exactly"
    variants = {name for _, rule in firewall.rules() for name in _variants(rule)}
    if options.variant is not None and options.variant not in variants:
        near = get_close_matches(options.variant, variants)
        yield f"no rule names the variant {options.variant}" + (f": is {near[0]} meant?" if near else "")
    if options.protocol is not None and options.protocol not in {*protocols, *OURS}:
        near = get_close_matches(options.protocol, {*protocols, *OURS})
        yield f"no rule names the protocol {options.protocol}" + (f": is {near[0]} meant?" if near else "")
    if options.protocol is not None and options.protocol != CONNECTION and not options.protocol.startswith("/"):
        raise ConfigError(f"--protocol {options.protocol}: ids begin with '/', and there is {CONNECTION}")


def _variants(rule: Rule | None) -> Iterator[str]:
    if rule is not None:
        yield from rule.variants
        yield from _variants(rule.then)
        yield from _variants(rule.otherwise)


def _said(rule: Rule) -> str:
    if rule.verdict is not None:
        return rule.verdict
    said = f"only {', '.join(sorted(rule.variants))}" if rule.predicate is None else f"when {rule.name}"
    if rule.then is not None and rule.then != Rule.ALLOW:
        said += f", of these {_said(rule.then)}"
    if rule.otherwise is not None and rule.otherwise != Rule.REJECT:
        said += f", else {_said(rule.otherwise)}"
    return said


def _who(scope: Scope) -> str:
    named: dict[str, Any] = dict(scope)
    direction = named.pop("direction", "in")
    parts = [f"{name} {value}" for name, value in named.items()]
    return f"{'our own calls: ' if direction == 'out' else ''}{', '.join(parts) or 'everybody'}"
