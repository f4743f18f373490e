"""Asking the application for a rule: once for each peer that no rule covers, while the peer's attempts wait.

The rule that the application gives becomes the peer's, and the attempts are judged by it. None, silence and every fault
reject the attempts that wait, and no rule is kept: the next attempt asks again. An answer changes nothing when no
attempt waits for it any more, for example because a rule was set meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from stronghold_p2p.firewall.asking.hooks import (
    Hook,
    Hooks,
    Waiting,
    answer_of,
    log,
    word,
)
from stronghold_p2p.firewall.rules import Attempt, Rule

if TYPE_CHECKING:
    from stronghold_p2p.firewall.decisions import Decisions
    from stronghold_p2p.identity import PeerId


class _Question:
    """A hook that was asked for a peer's rule, and the attempts that wait for its answer."""

    __slots__ = ("attempt", "task", "timer", "waiting")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.task: asyncio.Task[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.waiting: set[Waiting] = set()


class Questions:
    """The questions that one firewall has asked and that are not answered yet, at most one for each peer."""

    def __init__(self, firewall: Decisions, hooks: Hooks) -> None:
        self._firewall = firewall
        self._hooks = hooks
        self._open: dict[PeerId, _Question] = {}

    async def ask(self, hook: Hook, attempt: Attempt, due: float) -> bool:
        """Wait until there is a rule for this attempt. False: there is none, and the attempt is rejected.

        The time for the answer runs from the first attempt of the peer. Each attempt that waits counts as a question,
        as a running hook does; one too many is rejected at once.
        """
        if self._hooks.full(attempt.peer):
            return False
        question = self._open.get(attempt.peer)
        joined = question is not None
        if question is None:
            question = self._put(hook, replace(attempt, deadline=due))
        else:
            self._hooks.take(attempt.peer)
        try:
            return await self._wait(question, attempt)
        finally:
            if joined:
                self._hooks.give_back(attempt.peer)

    async def _wait(self, question: _Question, attempt: Attempt) -> bool:
        def still() -> bool:
            return self._firewall.match(attempt).rule is None

        with Waiting(self._firewall, still=still, due=attempt.deadline, late=False) as waiting:
            question.waiting.add(waiting)
            try:
                return bool(await waiting.outcome)
            finally:
                question.waiting.discard(waiting)
                if not question.waiting:
                    self._close(question)

    def _put(self, hook: Hook, attempt: Attempt) -> _Question:
        question = self._open[attempt.peer] = _Question(attempt)
        question.task = self._hooks.start(hook, attempt)
        question.task.add_done_callback(lambda task: self._answered(question, task))
        if attempt.deadline < float("inf"):
            loop = asyncio.get_running_loop()
            question.timer = loop.call_at(attempt.deadline, self._late, question)
        return question

    def _answered(self, question: _Question, task: asyncio.Task[Any]) -> None:
        attempt = question.attempt
        if not self._close(question):
            if not task.cancelled():
                task.exception()  # it fails too late to matter
            return
        answer = answer_of(task, "on_no_rule", attempt, (Rule, NoneType))
        if isinstance(answer, Rule) and any(not waiting.outcome.done() for waiting in question.waiting):
            self._firewall.set(answer, peer=attempt.peer, direction=attempt.direction)
        self._reject(question)

    def _late(self, question: _Question) -> None:
        if self._close(question):
            peer, protocol = question.attempt.peer, word(question.attempt.protocol)
            log.info("on_no_rule gave no answer in time: peer=%s protocol=%s", peer, protocol)
            self._reject(question)

    def _reject(self, question: _Question) -> None:
        for waiting in question.waiting:
            waiting.settle(False)

    def _close(self, question: _Question) -> bool:
        """End the question; whether its answer was still wanted."""
        if self._open.get(question.attempt.peer) is not question:
            return False
        del self._open[question.attempt.peer]
        if question.timer is not None:
            question.timer.cancel()
        if question.task is not None:
            question.task.cancel()
        return True
