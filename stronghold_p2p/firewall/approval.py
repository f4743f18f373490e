"""Asking the application: ``Rule.ASK`` becomes a yes or a no, within a deadline, or else a no.

An attempt that waits for its answer is settled by whatever comes first: the answer of the hook, the
deadline, or a change of the rules after which they no longer ask. What comes later changes nothing. Every
fault of the hook rejects: that it raises, is late, is cancelled, or returns something that is no answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from stronghold_p2p.firewall.entries import Judgement
from stronghold_p2p.firewall.firewall import AskHook, Firewall
from stronghold_p2p.firewall.rules import Attempt, Rule

if TYPE_CHECKING:
    from stronghold_p2p.identity import PeerId

AUDIT_FORMAT = "verdict=%s peer=%s protocol=%s variant=%s from=%s rule=%s"
_MAX_WORD = 128

_audit = logging.getLogger("stronghold_p2p.audit")
_log = logging.getLogger("stronghold_p2p.request")

_Answer: TypeAlias = bool | Rule | Literal["changed", "late"] | None


class Approval:
    """Judges attempts for one firewall, and asks where it says so.

    ``ask`` is how long the hook may take, in seconds (None: until the attempt's own deadline), ``asks`` and
    ``asks_per_peer`` how many hooks run at once (``config.Timeouts.ask``, ``config.Limits``); what comes
    beyond is rejected at once. A hook counts until it has really ended. ``watchers`` are called with each attempt
    and what became of it; they must not raise.
    """

    def __init__(
        self, firewall: Firewall, *, ask: float | None = 8.0, asks: int | None = 256, asks_per_peer: int | None = 16
    ) -> None:
        self._firewall = firewall
        self._ask = math.inf if ask is None else ask
        self._asks = math.inf if asks is None else asks
        self._asks_per_peer = math.inf if asks_per_peer is None else asks_per_peer
        self.watchers: list[Callable[[Attempt, Rule], None]] = []
        self._running: dict[asyncio.Task[bool | Rule], PeerId] = {}
        self._per_peer: Counter[PeerId] = Counter()
        firewall.report = _report

    @property
    def followed(self) -> bool:
        """Whether somebody wants to know each judgement: the audit log or one of ``watchers``."""
        return bool(self.watchers) or _audit.isEnabledFor(logging.INFO)

    def verdict(self, attempt: Attempt) -> bool | None:
        """The answer if the rules alone give it; None: the application has to be asked, so await ``judge``."""
        judgement = self._firewall.judgement(attempt)
        if judgement.rule == Rule.ASK:
            return None
        return self._settle(attempt, judgement, judgement.rule == Rule.ALLOW)

    async def judge(self, attempt: Attempt) -> bool:
        """Whether the attempt is allowed, after asking if need be.

        Never later than ``attempt.deadline`` and the ask timeout. Cancelling the caller cancels the hook.
        """
        judgement = self._firewall.judgement(attempt)
        if judgement.rule != Rule.ASK:
            return self._settle(attempt, judgement, judgement.rule == Rule.ALLOW)
        hook = self._firewall.ask_hook
        if hook is None or self._full(attempt.peer):
            return self._settle(attempt, judgement, False)
        answer = await self._wait(hook, attempt)
        # The answer and a change of the rules may both have come before this line was reached.
        now = self._firewall.judgement(attempt)
        if now.rule != Rule.ASK:
            return self._settle(attempt, now, now.rule == Rule.ALLOW)
        if isinstance(answer, Rule):
            self._firewall.set(answer, peer=attempt.peer, direction=attempt.direction)
            answer = self._firewall.resolve(answer, attempt) == Rule.ALLOW
        elif answer == "late":
            _log.info("on_ask gave no answer in time: peer=%s protocol=%s", attempt.peer, _word(attempt.protocol))
        return self._settle(attempt, judgement, answer is True)

    def snapshot(self) -> Mapping[str, int]:
        """How many hooks are running, and for how many peers."""
        return {"asks": len(self._running), "asking_peers": len(self._per_peer)}

    @property
    def hooks(self) -> frozenset[asyncio.Task[bool | Rule]]:
        """The hooks that have not ended, also those that were cancelled and take their time."""
        return frozenset(self._running)

    def _full(self, peer: PeerId) -> bool:
        return len(self._running) >= self._asks or self._per_peer[peer] >= self._asks_per_peer

    async def _wait(self, hook: AskHook, attempt: Attempt) -> _Answer:
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[_Answer] = loop.create_future()

        def settle(answer: _Answer) -> None:
            if not settled.done():
                settled.set_result(answer)

        def rules_changed() -> None:
            if self._firewall.decide(attempt) != Rule.ASK:
                settle("changed")

        deadline = min(attempt.deadline, loop.time() + self._ask)
        timer = None if math.isinf(deadline) else loop.call_at(deadline, settle, "late")
        unwatch = self._firewall.watch(rules_changed)
        task = self._start(hook, replace(attempt, deadline=deadline))
        task.add_done_callback(lambda ended: settle(_answer_of(ended, attempt, late=settled.done())))
        try:
            return await settled
        finally:
            unwatch()
            if timer is not None:
                timer.cancel()
            task.cancel()

    def _start(self, hook: AskHook, attempt: Attempt) -> asyncio.Task[bool | Rule]:
        task = asyncio.get_running_loop().create_task(_run(hook, attempt))
        self._running[task] = attempt.peer
        self._per_peer[attempt.peer] += 1
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[bool | Rule]) -> None:
        peer = self._running.pop(task)
        self._per_peer[peer] -= 1
        if not self._per_peer[peer]:
            del self._per_peer[peer]

    def _settle(self, attempt: Attempt, judgement: Judgement, allowed: bool) -> bool:
        for watcher in self.watchers:
            watcher(attempt, Rule.ALLOW if allowed else Rule.REJECT)
        if _audit.isEnabledFor(logging.INFO):
            variant = "-" if attempt.variant is None else _word(attempt.variant)
            verdict = "allow" if allowed else "reject"
            protocol = _word(attempt.protocol)
            source = _word(judgement.source)  # the name of a predicate may hold anything
            _audit.info(AUDIT_FORMAT, verdict, attempt.peer, protocol, variant, attempt.address, source)
        return allowed


def _report(rule: Rule, error: BaseException) -> None:
    _log.error("the predicate of %r failed, so it rejects (told once)", rule, exc_info=error)


async def _run(hook: AskHook, attempt: Attempt) -> bool | Rule:
    # A hook that raises before its first await, or is no coroutine function, fails inside the task.
    return await hook(attempt)


def _answer_of(task: asyncio.Task[bool | Rule], attempt: Attempt, *, late: bool) -> bool | Rule | None:
    """The hook's answer; None, with one log line unless it is late anyway, if it gave none."""
    error = None if task.cancelled() else task.exception()
    if late or task.cancelled():
        return None
    if error is not None:
        _log.error(
            "on_ask failed, so it rejects: peer=%s protocol=%s", attempt.peer, _word(attempt.protocol), exc_info=error
        )
        return None
    answer: object = task.result()
    if isinstance(answer, (bool, Rule)):
        return answer
    _log.error("on_ask returned %s, neither a bool nor a Rule, so it rejects", type(answer).__name__)
    return None


def _word(text: str) -> str:
    """Text from a peer as one word of a log line: no spaces, no control characters, not long."""
    if len(text) > _MAX_WORD:
        text = text[:_MAX_WORD] + "\N{HORIZONTAL ELLIPSIS}"
    return "".join(char if char.isprintable() and char != " " else f"\\u{ord(char):04x}" for char in text)
