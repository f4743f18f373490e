"""The gatekeeper: everything that a swarm asks its firewall, and what it remembers of the answers.

The firewall's rules are pure: ``match`` finds the rule that speaks for an attempt. Most attempts need no more, as the
rule allows or rejects whatever is attempted; so the gatekeeper remembers the matching rule of each name on each
connection until rules change. Only a rule that looks at the request, or that asks, is gone through each time.

* ``may_arrive``, when a socket was accepted: unless its address is banned.
* ``may_connect``, before a dial, and when the peer is proven: at once; ``ASK`` is a no.
* ``admits``, when a peer proposes a protocol: yes, no, or None: ask before it is accepted.
* ``shown_to``, when identify tells what we serve: the protocols that may be allowed.
* ``passes``, for each request, both ways: True: plainly allowed; else ``Approval`` judges it.

When rules change, connections that they do not allow any more are closed, streams for protocols that are not allowed
any more are reset, and dials are looked at again. Requests that wait for an answer notice by themselves (``Approval``).
"""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.codes import GoAway
from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.events.backlog import Backlog
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit, auditing
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS, Decisions, bans_address, has_rules, hooks_of
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Rule, allows
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import Faults, OneLine

LONGEST_NAME: Final = 128  # characters of a name that is remembered
REMEMBERED_NAMES: Final = 64  # per connection and direction; a peer may propose any number of protocols

NO_RULE: Final = (
    "the firewall has no rule, so it refuses everybody, and just now %s for %s: firewall.set(Rule.ALLOW, peer=...) "
    "lets a peer in, firewall.set(Rule.ASK) asks net=%s"
)

log = logging.getLogger("stronghold_p2p.request")


@dataclass(frozen=True, slots=True)
class Served:
    """A handler for one protocol. ``judges``: it asks the firewall itself once it has read the request, so every
    rule that may allow lets the stream pass; otherwise it is judged, and the application asked, before the protocol
    is echoed. ``rule_name``: the protocol id under which rules speak of it.
    """

    handler: Handler
    judges: bool
    rule_name: str


class Gatekeeper:
    """Asks the firewall for one swarm, which serves ``services``. ``ask_timeout`` is ``Timeouts.ask``.

    ``remembered[direction][connection][name]`` is the rule that matches there until rules change, or None where no rule
    matches. Of each connection no more than ``REMEMBERED_NAMES`` are kept; the others are matched each time.

    A name that nobody serves is matched and remembered as one that is served: until its answer has left, the same is
    done for it as for one that the rules reject, so the time that this takes tells nothing.
    """

    def __init__(
        self,
        firewall: Decisions,
        approval: Approval,
        audit: Audit,
        services: Mapping[str, Served],
        *,
        backlog: Backlog,
        ask_timeout: float | None,
    ) -> None:
        self._firewall = firewall
        self._hooks = hooks_of(firewall)
        self._approval = approval
        self._audit = audit
        self._services = services
        self._backlog = backlog
        self._ask_timeout = math.inf if ask_timeout is None else ask_timeout
        self.remembered: dict[Direction, dict[LiveConnection, dict[str, Rule | None]]] = {"in": {}, "out": {}}
        self._refused: list[tuple[LiveConnection, Served | None, str]] = []  # of whom nobody was told yet
        self._unserved = Faults(log, audit.net)
        self._net = audit.net
        self._told_bare = False  # that there is no rule

    def forget(self, connection: LiveConnection) -> None:
        for rules in self.remembered.values():
            rules.pop(connection, None)

    def ended(self, connection: LiveConnection) -> None:
        """It is over: nothing is remembered of it any more."""
        self.forget(connection)
        self._tell()
        self._audit.over(connection.peer, connection.remote_address)

    def may_arrive(self, host: str) -> bool:
        """Whether somebody, of whom nothing else is known yet, may begin to connect. ``host`` is as sockets tell it."""
        return not bans_address(self._firewall, host)

    def may_connect(self, peer: PeerId | None, direction: Direction, address: Multiaddr) -> bool:
        """Whether there may be a connection. It is decided at once, without asking the application: ``ASK`` is a no.

        Where ``peer`` is not known yet (None), only a ban of the address speaks against it.
        """
        if peer is None:
            return not bans_address(self._firewall, address)
        attempt = self._connecting(peer, direction, address)
        found = self._firewall.match(attempt)
        return self._audit.record(attempt, found, self._firewall.decide(attempt, found) == Rule.ALLOW)

    def recheck(self, connections: Iterable[LiveConnection], peer: PeerId | None = None) -> None:
        """Rules have changed for ``peer`` (None: for everybody), who has these ``connections``.

        Close those that are not allowed any more, and reset such streams.
        """
        if peer is None:
            for rules in self.remembered.values():
                rules.clear()
        for connection in connections:
            self.forget(connection)
            try:
                self._recheck(connection)
            except Exception as error:  # a fault of ours: this connection pays for it, and the others are looked at
                connection.failed(error)

    def _recheck(self, connection: LiveConnection) -> None:
        attempt = self._connecting(connection.peer, connection.direction, connection.remote_address)
        found = self._firewall.match(attempt)
        if self._firewall.decide(attempt, found) == Rule.ALLOW:
            connection.handlers.recheck(partial(self._may_stay, connection))
            return
        self._audit.record(attempt, found, False)
        connection.shut(GoAway.GATED, kept_out(connection.peer))

    def admits(self, connection: LiveConnection, protocol: str) -> bool | None:
        """Whether the peer may open a stream for ``protocol``; None: the application has to be asked first."""
        service = self._services.get(protocol)
        try:
            rule = self.remembered["in"][connection][protocol]
        except KeyError:
            rule = self._match(connection, protocol, "in", "" if service is None else service.rule_name)
        allowed = self._hooks.no_rule is not None if rule is None else rule.may_allow
        if service is None or not allowed:
            bare = not self._told_bare and not has_rules(self._firewall)  # the same for what nobody serves
            if bare or self._audit.wanted or log.isEnabledFor(logging.INFO):
                if not self._refused:
                    asyncio.get_running_loop().call_soon(self._tell_soon)
                self._refused.append((connection, service, protocol))
            return False
        if service.judges:
            return True
        if rule is None or rule.verdict != "allow":
            return None
        if self._audit.wanted:
            if self._backlog.readers and protocol not in OPEN_PROTOCOLS:
                return None  # a slow reader is told of streams one by one, and not of as many as the peer opens
            # Readers belong to the application: they are called when the session is through with what has arrived.
            connection.turn.add(partial(self._approval.verdict, self.attempt(connection, service.rule_name)))
        return True

    def _tell_soon(self) -> None:
        """Behind what this turn of the loop has yet to flush."""
        asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        """Refusals are told when their answers have left: what that takes is no matter of who was refused."""
        refused, self._refused = self._refused, []
        for connection, service, protocol in refused:
            if service is None:
                about = f": {OneLine(protocol)} for {connection.peer}"
                self._unserved.tell("a protocol is not served here", more=about, level=logging.INFO)
            else:
                self._tell_bare(connection.peer, service.rule_name)
                try:
                    self._approval.verdict(self.attempt(connection, service.rule_name))
                except Exception as error:  # a fault of ours: this connection pays for it
                    connection.failed(error)

    def _tell_bare(self, peer: PeerId, protocol: str) -> None:
        """Once: what is served is served to nobody, which is hardly meant."""
        if not self._told_bare and not has_rules(self._firewall) and self._hooks.no_rule is None:
            self._told_bare = True
            log.warning(NO_RULE, peer, protocol, self._net)

    def shown_to(self, connection: LiveConnection) -> tuple[str, ...]:
        """The protocols that the peer is told we serve: all but those that the rules keep from it in any case."""
        asks = self._hooks.no_rule is not None
        match, attempt = self._firewall.match, self.attempt
        rules = ((name, match(attempt(connection, one.rule_name)).rule) for name, one in list(self._services.items()))
        return tuple(name for name, rule in rules if (asks if rule is None else rule.may_allow))

    def passes(self, connection: LiveConnection, protocol: str, direction: Direction, message: Any = None) -> bool:
        """Whether the rules plainly allow this request for ``protocol``; if not, ``Approval.verdict`` tells.

        ``message`` is what the firewall sees of the request. Never True while somebody wants to know each decision.
        """
        if self._audit.readers or auditing(logging.INFO):  # ``Audit.wanted`` without its call: twice for each request
            return False
        try:
            rule = self.remembered[direction][connection][protocol]
        except KeyError:
            rule = self._match(connection, protocol, direction)
        return rule is not None and (rule.verdict == "allow" or allows(rule, message))

    def attempt(
        self, connection: LiveConnection, protocol: str, direction: Direction = "in", deadline: float | None = None
    ) -> Attempt:
        """A stream as the firewall sees it: nothing of it has been read."""
        due = asyncio.get_running_loop().time() + self._ask_timeout if deadline is None else deadline
        return Attempt(
            peer=connection.peer,
            protocol=protocol,
            direction=direction,
            address=connection.remote_address,
            deadline=due,
        )

    def _match(self, connection: LiveConnection, name: str, direction: Direction, rule_name: str = "") -> Rule | None:
        rule = self._firewall.match(self.attempt(connection, rule_name or name, direction)).rule
        if not connection.closed:  # else ``forget`` has been called, or soon is: what came after it would stay for ever
            rules = self.remembered[direction].setdefault(connection, {})
            if len(rules) < REMEMBERED_NAMES and len(name) <= LONGEST_NAME:
                rules[name] = rule
        return rule

    def _connecting(self, peer: PeerId, direction: Direction, address: Multiaddr) -> Attempt:
        now = asyncio.get_running_loop().time()
        return Attempt(peer=peer, protocol=CONNECTION, direction=direction, address=address, deadline=now)

    def _may_stay(self, connection: LiveConnection, protocol: str) -> bool:
        """Whether a stream that the peer has opened stays: one for requests does, as each request is judged."""
        service = self._services.get(protocol)
        if service is None or service.judges:
            return True
        attempt = self.attempt(connection, service.rule_name)
        stays = self._firewall.decide(attempt) in {Rule.ALLOW, Rule.ASK}
        if not stays and self._audit.wanted:
            connection.turn.add(partial(self._approval.take_back, attempt))
        return stays


def kept_out(whom: PeerId | str) -> ConnectionClosed:
    """The error of a connection that the firewall does not allow, to a peer or from a host."""
    peer = whom if isinstance(whom, PeerId) else None
    return ConnectionClosed(f"the firewall keeps {whom} out", code=GoAway.GATED, peer=peer)
