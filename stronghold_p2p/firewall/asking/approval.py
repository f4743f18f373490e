"""Asking the application: ``Rule.ASK``, or no rule at all, becomes a yes or a no within a deadline.

An attempt waits for whatever comes first: the answer of the hook, the deadline, or a change of the rules after which
they no longer ask. What comes later changes nothing. A hook that raises, is late, is cancelled or returns no answer
rejects.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.asking.questions import CHANGED, Hook, Hooks, Question, Refusal
from stronghold_p2p.firewall.decisions import Decisions, hooks_of, learn
from stronghold_p2p.firewall.entries import Judgement
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.per_peer import Memory

ASK_MEMORY: Final = 32 << 20  # bytes of requests that wait for an answer
ASK_SHARE: Final = ASK_MEMORY // 4  # of these, of one peer (hostile row 132)

_HANDLER: Final = Judgement(Rule.REJECT, "handler")

log = logging.getLogger("stronghold_p2p.request")


class Approval:
    """Judges attempts by the rules of one firewall, asks the application where they say so, and tells ``audit``.

    What comes beyond ``asks`` and ``asks_per_peer``, or beyond ``ASK_MEMORY`` and ``ASK_SHARE``, is rejected at once;
    the last quarter of what all have is for attempts of peers that a rule names, and for our own. A hook counts until
    it has really ended, and each attempt that waits for the answer to another one's question counts as well.
    """

    def __init__(self, firewall: Decisions, audit: Audit, timeouts: Timeouts, limits: Limits) -> None:
        self._firewall = firewall
        self._app = hooks_of(firewall)
        self._audit = audit
        self._ask = math.inf if timeouts.ask is None else timeouts.ask
        self._hooks = Hooks(limits.asks, limits.asks_per_peer)
        self._memory: Memory[PeerId] = Memory(ASK_MEMORY, ASK_SHARE)
        self._told = False  # that there is no more room
        # The swarm sets it: whom a limit has refused is told of.
        self.refused: Callable[[object, LimitExceeded], None] = lambda _whom, _error: None
        self._told_missing = False  # that there is nobody to ask
        self._open: dict[PeerId, Question] = {}  # for peers without a rule

    def verdict(self, attempt: Attempt) -> bool | None:
        """The answer if the rules alone give it; None: the application has to be asked, so await ``ask``."""
        found = self._firewall.match(attempt)
        rule = self._firewall.decide(attempt, found)
        if (self._app.no_rule is not None) if rule is None else rule.verdict == "ask":
            return None
        return self._audit.tell(attempt, found, rule is not None and rule.verdict == "allow")

    async def ask(self, attempt: Attempt, size: int = 0) -> bool | Refusal:
        """Whether the attempt is allowed, after asking the application if need be; it waits with ``size`` bytes.

        A ``Refusal`` is a no with a reason.

        The answer is never later than ``attempt.deadline`` and the ask timeout, which is one for all that is asked.
        Cancelling the caller cancels the hook.
        """
        preferred = self._prefers(attempt)
        if size and not self._memory.take(attempt.peer, size, preferred=preferred):
            if size > ASK_SHARE:  # as it would be at any time
                told = f": it takes {size} bytes, {ASK_SHARE} allowed; {attempt.peer}"
                self._hooks.faults.tell("a request is too large to be asked about", more=told, level=logging.WARNING)
            elif self._memory.size(attempt.peer) + size <= ASK_SHARE:
                self._tell_full("of their memory", self._memory.total, ASK_MEMORY)
            return self._audit.tell(attempt, self._firewall.match(attempt), False)
        try:
            return await self._settle(attempt, preferred=preferred)
        finally:
            if size:
                self._memory.give_back(attempt.peer, size)
            if self._told and not self._hooks.running:
                self._told = False

    def _prefers(self, attempt: Attempt) -> bool:
        return attempt.direction == "out" or self._firewall.match(attempt).named

    def _full(self, peer: PeerId, *, preferred: bool) -> bool:
        if not self._hooks.crowded(preferred=preferred):
            if full := self._hooks.full(peer):
                told = "asks_per_peer: as many questions about it wait as may: raise it in Limits"
                self.refused(peer, LimitExceeded(told, limit="asks_per_peer", peer=peer))
            return full
        self._tell_full("asks", self._hooks.total, self._hooks.asks)
        return True

    def _tell_full(self, what: str, taken: int, maximum: float) -> None:
        """Once, until nobody is asked about any more."""
        if not self._told:
            self._told = True
            log.warning("questions to hooks have %d of %.0f %s: what comes is refused unheard", taken, maximum, what)

    def take_back(self, attempt: Attempt) -> None:
        """Tell that the rules have changed since ``attempt`` was allowed, and allow it no longer."""
        self._audit.tell(attempt, self._firewall.match(attempt), False)

    def refused_by_handler(self, attempt: Attempt) -> None:
        """What was let in and was then refused by the application's handler: for the log, as readers saw it let in."""
        self._audit.record(attempt, _HANDLER, False)

    def snapshot(self) -> Mapping[str, int]:
        """How many questions there are, about how many peers, and how many bytes wait for an answer."""
        return {"asks": self._hooks.total, "asking_peers": len(self._hooks), "ask_memory": self._memory.total}

    @property
    def hooks(self) -> frozenset[asyncio.Task[Any]]:
        """The hooks that have not ended, also those that were cancelled and take their time."""
        return frozenset(self._hooks.running)

    async def _settle(self, attempt: Attempt, *, preferred: bool) -> bool | Refusal:
        due = min(attempt.deadline, asyncio.get_running_loop().time() + self._ask)
        while True:  # each round but the last one ends with a change of the rules
            found = self._firewall.match(attempt)
            rule = self._firewall.decide(attempt, found)
            allowed: bool | Refusal | None
            if rule == Rule.ASK:
                allowed = await self._approve(self._app.ask, replace(attempt, deadline=due), preferred)
            elif rule is None:
                allowed = await self._introduce(self._app.no_rule, attempt, due, preferred)
            else:
                allowed = rule == Rule.ALLOW
            if allowed is not None:
                return self._audit.tell(attempt, found, bool(allowed)) or allowed

    async def _approve(self, hook: Hook | None, attempt: Attempt, preferred: bool) -> bool | Refusal | None:
        """What ``on_ask`` says of this attempt; None: the rules have changed and no longer ask."""
        if hook is None and not self._told_missing:
            self._told_missing = True
            log.warning("a rule says ASK, and nobody is registered with on_ask: what would be asked about is refused")
        if hook is None or self._full(attempt.peer, preferred=preferred):
            return False
        firewall, version = self._firewall, self._firewall.version
        question = Question(firewall, self._hooks, hook, attempt)
        answer = await question.wait(lambda: firewall.decide(attempt) == Rule.ASK, attempt.deadline)
        # The answer and a change of the rules may both have come before this line was reached.
        if answer is CHANGED or (firewall.version != version and firewall.decide(attempt) != Rule.ASK):
            return None
        if isinstance(answer, Rule):
            # For what was asked about, and nothing else: a yes to one protocol opens no other.
            learn(firewall, answer, peer=attempt.peer, protocol=attempt.protocol, direction=attempt.direction)
            return firewall.decide(attempt, Judgement(answer, "answer")) == Rule.ALLOW
        return answer if isinstance(answer, Refusal) else answer is True

    async def _introduce(self, hook: Hook | None, attempt: Attempt, due: float, preferred: bool) -> bool | None:
        """Have ``on_no_rule`` asked for a rule of the peer, once for all its attempts. None: there is one now.

        The time for the answer runs from the first attempt of the peer.
        """
        if hook is None or self._full(attempt.peer, preferred=preferred):
            return False
        question = self._open.get(attempt.peer)
        joined = question is not None
        if question is None:
            question = Question(self._firewall, self._hooks, hook, replace(attempt, deadline=due), self._open)
        else:
            self._hooks.take(attempt.peer)
        try:
            answer = await question.wait(lambda: self._firewall.match(attempt).rule is None, attempt.deadline)
            return None if answer is CHANGED else False
        finally:
            if joined:
                self._hooks.give_back(attempt.peer)
