"""The firewall and the connections of one swarm: who is let in, whose streams, and what a change of the rules ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.codes import GoAway
from stronghold_p2p.connection.owner import Handler
from stronghold_p2p.errors import ConnectionClosed, DialError
from stronghold_p2p.firewall.asking.approval import auditing
from stronghold_p2p.firewall.asking.firewall import OPEN_PROTOCOLS
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Rule, variant_of
from stronghold_p2p.identity import PeerId
from stronghold_p2p.swarm.rules_watch import RulesWatch

if TYPE_CHECKING:
    from stronghold_p2p.connection.live import LiveConnection
    from stronghold_p2p.swarm.swarm import Swarm


REMEMBERED_VERDICTS: Final = 64  # per connection; a peer may try any number of protocol names


@dataclass(frozen=True, slots=True)
class Service:
    """A handler for one protocol. ``judges``: it asks the firewall itself once it has read the request, so every
    rule that may allow lets the stream pass; otherwise it is judged, and the application asked, before the protocol
    is echoed. ``rule_name``: the protocol id under which rules speak of it.
    """

    handler: Handler
    judges: bool
    rule_name: str


class Judging:
    """Asks the firewall for one swarm, from ``start`` to ``stop``. ``verdicts`` are remembered until rules change."""

    def __init__(self, swarm: Swarm, services: Mapping[str, Service]) -> None:
        self._swarm = swarm
        self._services = services
        self._firewall = swarm.firewall
        self._approval = swarm.approval
        self._file = RulesWatch(swarm)
        self._unwatch: Callable[[], None] | None = None
        self.verdicts: dict[LiveConnection, dict[str, bool | None]] = {}

    def start(self) -> None:
        self._unwatch = self._firewall.watch(self._rules_changed)
        self._file.start()

    def stop(self) -> None:
        self._file.stop()
        if self._unwatch is not None:
            self._unwatch()

    def admits(self, connection: LiveConnection, protocol: str) -> bool | None:
        """Whether ``connection``'s peer may open a stream for ``protocol``; None: ask first."""
        service = self._services.get(protocol)
        if service is None:
            return False
        verdicts = self.verdicts.setdefault(connection, {})
        if protocol in verdicts:
            verdict = verdicts[protocol]
            if (verdict and service.judges) or not self._approval.followed:  # else who follows is told, each time
                return verdict
        verdict = self._foreseen(connection, service)
        if verdict and not service.judges and self._swarm.hub.backlog.readers and protocol not in OPEN_PROTOCOLS:
            return None  # who follows is told of it in its turn, and not of as many as the peer likes to open
        if self._approval.followed and (verdict is False or (verdict and not service.judges)):
            # Not from here: the session is still processing, and who follows is the application.
            decided = self._attempt(connection, service.rule_name)
            connection.turn.add(partial(self._approval.verdict, decided))
        elif len(verdicts) < REMEMBERED_VERDICTS:
            verdicts[protocol] = verdict
        return verdict

    def shown(self, connection: LiveConnection) -> tuple[str, ...]:
        """What ``connection``'s peer is told that we serve: nothing that the rules keep from it in any case."""
        return tuple(
            name for name, service in self._services.items() if self._foreseen(connection, service) is not False
        )

    def _foreseen(self, connection: LiveConnection, service: Service) -> bool | None:
        """What the rules say before anything of a stream is read; None: that depends."""
        rule = self._firewall.effective(self._attempt(connection, service.rule_name)).rule
        verdict = rule.may_allow if rule is not None else self._firewall.rule_hook is not None
        return None if verdict and not service.judges and rule != Rule.ALLOW else verdict

    def passes(self, connection: LiveConnection, protocol: str, direction: Direction, message: Any = None) -> bool:
        """Whether the rules plainly allow this request for ``protocol``; else it has to be judged.

        Which rule that is, is remembered until the rules change; never true while somebody follows each judgement.
        ``message`` is what the firewall sees of the request.
        """
        if self._approval.watchers or auditing(logging.INFO):  # ``followed``, without its call: twice for each request
            return False
        passing = connection.passing[direction]
        known = passing.get(protocol)
        if known is None:
            known = self._firewall.effective(self._attempt(connection, protocol, direction)).rule or Rule.REJECT
            if len(passing) < REMEMBERED_VERDICTS and not connection.closed:
                passing[protocol] = known
        return known.verdict == "allow" or (
            known.by_variant and known.allows(variant_of(message), shown=message is not None)
        )

    async def ask(self, connection: LiveConnection, protocol: str) -> bool:
        """Judge a stream before its protocol is echoed; the application may be asked."""
        return await self._approval.judge(self._attempt(connection, protocol))

    def check_dial(self, peer: PeerId | None, address: Multiaddr) -> None:
        """``DialError`` if the firewall keeps us from connecting to ``peer`` (None: not known yet) there."""
        if self._firewall.bans(address) if peer is None else not self.lets_connect(peer, "out", address):
            what = f"our own firewall keeps us from {peer or 'whoever is'} at {address}"
            raise DialError(f"{what}: see firewall.banned and firewall.rules()", peer=peer)

    def lets_connect(self, peer: PeerId, direction: Direction, address: Multiaddr) -> bool:
        """Whether there may be a connection. It is decided at once, so nobody is asked: ``ASK`` is a no."""
        return self._approval.connects(self._connecting(peer, direction, address))

    def _connecting(self, peer: PeerId, direction: Direction, address: Multiaddr) -> Attempt:
        now = self._swarm.loop.time()
        return Attempt(peer=peer, protocol=CONNECTION, direction=direction, address=address, deadline=now)

    def _attempt(self, connection: LiveConnection, protocol: str, direction: Direction = "in") -> Attempt:
        ask = self._swarm.timeouts.ask
        return Attempt(
            peer=connection.peer,
            protocol=protocol,
            direction=direction,
            address=connection.remote_address,
            deadline=float("inf") if ask is None else self._swarm.loop.time() + ask,
        )

    def _rules_changed(self) -> None:
        self.verdicts.clear()
        for connection in self._swarm.connections():
            connection.passing = {"in": {}, "out": {}}
            kept = self._connecting(connection.peer, connection.direction, connection.remote_address)
            if self._firewall.decide(kept) != Rule.ALLOW:
                self._approval.connects(kept)
                connection.shut(GoAway.GATED, kept_out(connection.peer))
            else:
                connection.recheck(partial(self._keeps, connection))
        self._swarm.dialer.recheck()

    def _keeps(self, connection: LiveConnection, protocol: str) -> bool:
        """Whether a stream that the peer has opened stays: one for requests does, each of them is judged anew."""
        service = self._services.get(protocol)
        if service is None or service.judges:
            return True
        attempt = self._attempt(connection, service.rule_name)
        kept = self._firewall.decide(attempt) in {Rule.ALLOW, Rule.ASK}
        if not kept and self._approval.followed:
            connection.turn.add(partial(self._approval.take_back, attempt))
        return kept


def kept_out(peer: PeerId) -> ConnectionClosed:
    """Why a connection is closed that the firewall does not want."""
    error = ConnectionClosed(f"the firewall keeps {peer} out", code=GoAway.GATED)
    error.peer = peer
    return error
