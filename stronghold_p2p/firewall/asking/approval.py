"""Asking the application: ``Rule.ASK`` becomes a yes or a no within a deadline, and a no without an answer.

An attempt waits for whatever comes first: the answer of the hook, the deadline, or a change of the rules after which
they no longer ask. What comes later changes nothing. A hook that raises, is late, is cancelled or returns no answer
rejects.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.asking.hooks import (
    Hooks,
    Waiting,
    answer_of,
    log,
    word,
)
from stronghold_p2p.firewall.asking.questions import Questions
from stronghold_p2p.firewall.decisions import AskHook, Decisions
from stronghold_p2p.firewall.entries import Judgement
from stronghold_p2p.firewall.rules import Attempt, Rule


class Approval:
    """Judges attempts by the rules of one firewall, asks the application where they say so, and tells ``audit``.

    ``ask`` is how long a hook may take, in seconds (None: until the attempt's own deadline), ``asks`` and
    ``asks_per_peer`` how many questions there are at once, ``ask_memory`` how many bytes of requests wait meanwhile
    (``config.Timeouts.ask``, ``config.Limits``); what comes beyond is rejected at once. A hook counts until it has
    really ended.
    """

    def __init__(
        self,
        firewall: Decisions,
        audit: Audit,
        *,
        ask: float | None = 8.0,
        asks: int | None = 256,
        asks_per_peer: int | None = 16,
        ask_memory: int | None = 32 << 20,
    ) -> None:
        self._firewall = firewall
        self._audit = audit
        self._ask = math.inf if ask is None else ask
        self._hooks = Hooks(asks, asks_per_peer)
        self._memory = math.inf if ask_memory is None else ask_memory
        self._waiting = 0  # bytes
        self._questions = Questions(firewall, self._hooks)

    @staticmethod
    def configured(firewall: Decisions, audit: Audit, timeouts: Timeouts, limits: Limits) -> Approval:
        """An approval with the limits of a configuration."""
        return Approval(
            firewall,
            audit,
            ask=timeouts.ask,
            asks=limits.asks,
            asks_per_peer=limits.asks_per_peer,
        )

    def verdict(self, attempt: Attempt) -> bool | None:
        """The answer if the rules alone give it; None: the application has to be asked, so await ``ask``."""
        found = self._firewall.match(attempt)
        rule = self._firewall.decide(attempt, found)
        if rule is None:
            if self._firewall.rule_hook is not None:
                return None
        elif rule.verdict == "ask":
            return None
        return self._audit.tell(attempt, found, rule is not None and rule.verdict == "allow")

    async def ask(self, attempt: Attempt, size: int = 0) -> bool:
        """Whether the attempt is allowed, after asking the application if need be; it waits with ``size`` bytes.

        The answer is never later than ``attempt.deadline`` and the ask timeout, which is one for all that is asked.
        Cancelling the caller cancels the hook.
        """
        if self._waiting + size > self._memory:
            return self._audit.tell(attempt, self._firewall.match(attempt), False)
        self._waiting += size
        try:
            return await self._settle(attempt)
        finally:
            self._waiting -= size

    def take_back(self, attempt: Attempt) -> None:
        """Tell that the rules have changed since ``attempt`` was allowed, and allow it no longer."""
        self._audit.tell(attempt, self._firewall.match(attempt), False)

    def snapshot(self) -> Mapping[str, int]:
        """How many questions there are, about how many peers, and how many bytes wait for an answer."""
        return {**self._hooks.snapshot(), "ask_memory": self._waiting}

    @property
    def hooks(self) -> frozenset[asyncio.Task[Any]]:
        """The hooks that have not ended, also those that were cancelled and take their time."""
        return self._hooks.tasks

    async def _settle(self, attempt: Attempt) -> bool:
        due = min(attempt.deadline, asyncio.get_running_loop().time() + self._ask)
        while True:  # each round but the last one ends with a change of the rules
            found = self._firewall.match(attempt)
            rule = self._firewall.decide(attempt, found)
            if rule == Rule.ASK:
                allowed = await self._approve(attempt, due)
            elif rule is None and (hook := self._firewall.rule_hook) is not None:
                allowed = None if await self._questions.ask(hook, attempt, due) else False
            else:
                allowed = rule == Rule.ALLOW
            if allowed is not None:
                return self._audit.tell(attempt, found, allowed)

    async def _approve(self, attempt: Attempt, due: float) -> bool | None:
        """What the hook says of this attempt; None: the rules have changed and no longer ask."""
        hook = self._firewall.ask_hook
        if hook is None or self._hooks.full(attempt.peer):
            return False
        version = self._firewall.version
        answer = await self._wait(hook, replace(attempt, deadline=due))
        # The answer and a change of the rules may both have come before this line was reached.
        if self._firewall.version != version and self._firewall.decide(attempt) != Rule.ASK:
            return None
        if isinstance(answer, Rule):
            # For what was asked about, and nothing else: a yes to one protocol opens no other.
            self._firewall.set(answer, peer=attempt.peer, protocol=attempt.protocol, direction=attempt.direction)
            return self._firewall.decide(attempt, Judgement(answer, "answer")) == Rule.ALLOW
        if answer == "late":
            log.info("on_ask gave no answer in time: peer=%s protocol=%s", attempt.peer, word(attempt.protocol))
        return answer is True

    async def _wait(self, hook: AskHook, attempt: Attempt) -> object:
        def still() -> bool:
            return self._firewall.decide(attempt) == Rule.ASK

        def ended(task: asyncio.Task[Any]) -> None:
            if not waiting.outcome.done():
                waiting.settle(answer_of(task, "on_ask", attempt, (bool, Rule)))
            elif not task.cancelled():
                task.exception()  # it fails too late to matter

        with Waiting(self._firewall, still=still, due=attempt.deadline, late="late") as waiting:
            task = self._hooks.start(hook, attempt)
            task.add_done_callback(ended)
            try:
                return await waiting.outcome
            finally:
                task.cancel()
