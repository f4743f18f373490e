"""The gatekeeper: everything that a swarm asks its firewall, and what it remembers of the answers.

The firewall's rules are pure: ``match`` finds the rule that speaks for an attempt. Most attempts need no more, as the
rule allows or rejects whatever is attempted; so the gatekeeper remembers the matching rule of each name on each
connection until rules change. Only a rule that looks at the request, or that asks, is gone through each time.

=================  =============================================  ==========================================
question           asked                                          answer
=================  =============================================  ==========================================
``may_connect``    before a dial, and when the peer is proven     at once; ``ASK`` is a no
``admits``         when a peer proposes a protocol                yes, no, or None: ask before it is accepted
``shown_to``       when identify tells what we serve              the protocols that may be allowed
``passes``         for each request, both ways                    True: plainly allowed; else take ``verdict``
``verdict``        for a request that has been read               yes, no, or None: ``ask``
``ask``            where ``verdict`` or ``admits`` said None      after the application's hook, or a timeout
=================  =============================================  ==========================================

When rules change, connections that they do not allow any more are closed, streams for protocols that are not allowed
any more are reset, and dials are looked at again. Requests that wait for an answer notice by themselves (``Approval``).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.codes import GoAway
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.connection.owner import Handler
from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.events.backlog import Backlog
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit, auditing
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS, Decisions, bans_address, hooks_of
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Rule, allows
from stronghold_p2p.identity import PeerId

REMEMBERED_NAMES: Final = 64  # per connection and direction; a program may serve any number of protocols


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
    """Asks the firewall for one swarm. ``start`` and ``stop`` are the time in which it follows changes of the rules.

    ``services`` are the protocols that are served, and ``connections`` tells the open connections. ``recheck_dials``
    is called when rules have changed. ``ask_timeout`` is ``Timeouts.ask``.

    ``remembered[direction][connection][name]`` is the rule that matches there until rules change, or None where no rule
    matches. Of each connection no more than ``REMEMBERED_NAMES`` are kept; the others are matched each time.
    """

    _loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        firewall: Decisions,
        approval: Approval,
        audit: Audit,
        services: Mapping[str, Served],
        *,
        connections: Callable[[], Iterable[LiveConnection]],
        recheck_dials: Callable[[], None],
        backlog: Backlog,
        ask_timeout: float | None,
    ) -> None:
        self._firewall = firewall
        self._hooks = hooks_of(firewall)
        self._approval = approval
        self._audit = audit
        self._services = services
        self._connections = connections
        self._recheck_dials = recheck_dials
        self._backlog = backlog
        self._ask_timeout = math.inf if ask_timeout is None else ask_timeout
        self._unwatch: Callable[[], None] | None = None
        self.remembered: dict[Direction, dict[LiveConnection, dict[str, Rule | None]]] = {"in": {}, "out": {}}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._unwatch = self._firewall.watch(self._rules_changed)

    def stop(self) -> None:
        if self._unwatch is not None:
            self._unwatch()

    def forget(self, connection: LiveConnection) -> None:
        for rules in self.remembered.values():
            rules.pop(connection, None)

    # ------------------------------------------------------------------ connections

    def may_connect(self, peer: PeerId | None, direction: Direction, address: Multiaddr) -> bool:
        """Whether there may be a connection. It is decided at once, without asking the application: ``ASK`` is a no.

        Where ``peer`` is not known yet (None), only a ban of the address speaks against it.
        """
        if peer is None:
            return not bans_address(self._firewall, address)
        attempt = self._connecting(peer, direction, address)
        found = self._firewall.match(attempt)
        return self._audit.record(attempt, found, self._firewall.decide(attempt, found) == Rule.ALLOW)

    # ------------------------------------------------------------------ streams

    def admits(self, connection: LiveConnection, protocol: str) -> bool | None:
        """Whether the peer may open a stream for ``protocol``; None: the application has to be asked first."""
        service = self._services.get(protocol)
        if service is None:
            return False
        try:
            rule = self.remembered["in"][connection][service.rule_name]
        except KeyError:
            rule = self._match(connection, service.rule_name, "in")
        allowed = self._hooks.no_rule is not None if rule is None else rule.may_allow
        if allowed:
            if service.judges:
                return True
            if rule is None or rule.verdict != "allow":
                return None
        if self._audit.wanted:
            if allowed and self._backlog.readers and protocol not in OPEN_PROTOCOLS:
                return None  # a slow reader is told of streams one by one, and not of as many as the peer opens
            # Readers belong to the application: they are called when the session is through with what has arrived.
            connection.turn.add(partial(self._approval.verdict, self.attempt(connection, service.rule_name)))
        return allowed

    def shown_to(self, connection: LiveConnection) -> tuple[str, ...]:
        """The protocols that the peer is told we serve: all but those that the rules keep from it in any case."""
        asks = self._hooks.no_rule is not None
        shown = []
        for protocol, service in self._services.items():
            rule = self._firewall.match(self.attempt(connection, service.rule_name)).rule
            if asks if rule is None else rule.may_allow:
                shown.append(protocol)
        return tuple(shown)

    # ------------------------------------------------------------------ requests

    def passes(self, connection: LiveConnection, protocol: str, direction: Direction, message: Any = None) -> bool:
        """Whether the rules plainly allow this request for ``protocol``; if not, ``verdict`` tells.

        ``message`` is what the firewall sees of the request. Never True while somebody wants to know each decision.
        """
        if self._audit.readers or auditing(logging.INFO):  # ``Audit.wanted`` without its call: twice for each request
            return False
        try:
            rule = self.remembered[direction][connection][protocol]
        except KeyError:
            rule = self._match(connection, protocol, direction)
        return rule is not None and (rule.verdict == "allow" or allows(rule, message))

    def verdict(self, attempt: Attempt) -> bool | None:
        """The answer if the rules alone give it; None: the application has to be asked, so await ``ask``."""
        return self._approval.verdict(attempt)

    async def ask(self, attempt: Attempt, size: int = 0) -> bool:
        """Whether the attempt is allowed, after asking the application if need be; it waits with ``size`` bytes."""
        return await self._approval.ask(attempt, size)

    def decide(self, attempt: Attempt) -> Rule | None:
        """What the rules say now, without asking the application, and without a line in the audit."""
        return self._firewall.decide(attempt)

    def take_back(self, attempt: Attempt) -> None:
        """Tell that the rules have changed since ``attempt`` was allowed, and allow it no longer."""
        self._approval.take_back(attempt)

    def attempt(self, connection: LiveConnection, protocol: str, direction: Direction = "in") -> Attempt:
        """A stream as the firewall sees it: nothing of it has been read."""
        return Attempt(
            peer=connection.peer,
            protocol=protocol,
            direction=direction,
            address=connection.remote_address,
            deadline=self._loop.time() + self._ask_timeout,
        )

    # ------------------------------------------------------------------ inside

    def _match(self, connection: LiveConnection, name: str, direction: Direction) -> Rule | None:
        rule = self._firewall.match(self.attempt(connection, name, direction)).rule
        if not connection.closed:  # else ``forget`` has been called, or soon is: what came after it would stay for ever
            rules = self.remembered[direction].setdefault(connection, {})
            if len(rules) < REMEMBERED_NAMES:
                rules[name] = rule
        return rule

    def _connecting(self, peer: PeerId, direction: Direction, address: Multiaddr) -> Attempt:
        now = self._loop.time()
        return Attempt(peer=peer, protocol=CONNECTION, direction=direction, address=address, deadline=now)

    def _rules_changed(self) -> None:
        for rules in self.remembered.values():
            rules.clear()
        for connection in self._connections():
            attempt = self._connecting(connection.peer, connection.direction, connection.remote_address)
            found = self._firewall.match(attempt)
            if self._firewall.decide(attempt, found) == Rule.ALLOW:
                connection.recheck(partial(self._may_stay, connection))
            else:
                self._audit.record(attempt, found, False)
                connection.shut(GoAway.GATED, kept_out(connection.peer))
        self._recheck_dials()

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


def kept_out(peer: PeerId) -> ConnectionClosed:
    """The error of a connection that the firewall does not allow."""
    error = ConnectionClosed(f"the firewall keeps {peer} out", code=GoAway.GATED)
    error.peer = peer
    return error
