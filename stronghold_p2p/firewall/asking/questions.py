"""A question to the application: a hook that runs, and the attempts that wait for its answer.

It ends with what comes first: the answer, its deadline, or the last attempt that waits gives up; then its hook is
cancelled. An attempt is told ``CHANGED`` as soon as the rules do not ask about it any more. What a hook says after the
end of its question changes nothing.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from types import NoneType
from typing import Any, Final, TypeAlias

from stronghold_p2p.firewall.asking.audit import word
from stronghold_p2p.firewall.decisions import Decisions, learn, watch_changes
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import Faults
from stronghold_p2p.loops import at_home
from stronghold_p2p.per_peer import PerPeer

Hook: TypeAlias = Callable[[Attempt], Awaitable[Any] | Any]

log = logging.getLogger("stronghold_p2p.request")

CHANGED: Final = object()
"""Instead of an answer: rules or bans have changed, and decide by themselves."""


class Hooks(PerPeer[PeerId]):
    """The questions that the application is asked: at most ``asks`` at once (None: any number), and so many of a peer.

    Ask ``crowded`` and ``full`` before ``take`` or ``start``: ``take`` counts an attempt that waits for another one's
    answer. A running hook counts until it ends, also one that was cancelled and takes its time.
    """

    __slots__ = ("_common", "asks", "faults", "running")

    def __init__(self, asks: int | None, per_peer: int | None) -> None:
        super().__init__(per_peer)
        self.asks = math.inf if asks is None else asks
        self._common = math.inf if asks is None else asks - asks // 4
        self.faults = Faults(log)
        self.running: dict[asyncio.Task[Any], PeerId] = {}

    def crowded(self, *, preferred: bool) -> bool:
        """Whether there is no place for anybody more: the last quarter is for those who are preferred."""
        return self.total >= (self.asks if preferred else self._common)

    def start(self, hook: Hook, attempt: Attempt) -> asyncio.Task[Any]:
        """Run ``hook(attempt)`` as a task, which is no longer counted when its other done callbacks are called."""
        task = asyncio.get_running_loop().create_task(_run(hook, attempt))
        self.running[task] = attempt.peer
        self.take(attempt.peer)
        task.add_done_callback(lambda ended: self.give_back(self.running.pop(ended)))
        return task


async def _run(hook: Hook, attempt: Attempt) -> Any:
    outcome = hook(attempt)  # what it raises before its first await fails inside the task, too
    return await outcome if hasattr(outcome, "__await__") else outcome


class Question:
    """``hook`` is asked about ``attempt``, whose deadline is that of the answer.

    Without ``shared`` it is an ``on_ask`` hook, for one attempt. With ``shared``, the open questions by peer, it is an
    ``on_no_rule`` hook for all attempts of the peer, and the rule that it returns becomes the peer's.
    """

    __slots__ = ("_attempt", "_faults", "_firewall", "_over", "_shared", "_task", "_timer", "_unwatch", "_waiting")

    def __init__(
        self,
        firewall: Decisions,
        hooks: Hooks,
        hook: Hook,
        attempt: Attempt,
        shared: dict[PeerId, "Question"] | None = None,
    ) -> None:
        self._firewall = firewall
        self._attempt = attempt
        self._faults = hooks.faults
        self._shared = shared
        self._over = False
        self._waiting: dict[asyncio.Future[object], Callable[[], bool]] = {}
        if shared is not None:
            shared[attempt.peer] = self
        self._unwatch = watch_changes(firewall, at_home(self._rules_changed), attempt.peer)
        self._timer: asyncio.TimerHandle | None = None
        if attempt.deadline < math.inf:
            self._timer = asyncio.get_running_loop().call_at(attempt.deadline, self._late)
        self._task = hooks.start(hook, attempt)
        self._task.add_done_callback(self._answered)

    async def wait(self, asks: Callable[[], bool], due: float) -> object:
        """The answer, or ``CHANGED`` once ``asks`` is not true any more. None: a fault, or nothing came by ``due``."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[object] = loop.create_future()
        self._waiting[outcome] = asks
        timer = loop.call_at(due, _settle, outcome, None) if due < self._attempt.deadline else None
        try:
            return await outcome
        finally:
            if timer is not None:
                timer.cancel()
            del self._waiting[outcome]
            if not self._waiting:
                self._end(None)

    def _rules_changed(self, _: PeerId | None) -> None:
        for outcome, asks in self._waiting.items():
            if not outcome.done() and not asks():
                outcome.set_result(CHANGED)

    def _late(self) -> None:
        hook, about = self._told
        self._faults.tell("%s gave no answer in time", hook, more=f": {about}", level=logging.INFO)
        self._end(None)

    def _answered(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()  # looked at also where it comes too late to matter
        if self._over:
            return
        answer = None if task.cancelled() or error is not None else task.result()
        kinds = (bool, Rule) if self._shared is None else (Rule, NoneType)
        if error is not None:
            hook, about = self._told
            self._faults.tell("%s failed, so it rejects", hook, error, more=f": {about}")
        elif not task.cancelled() and not isinstance(answer, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            told = f"{self._told[0]} returned {type(answer).__name__}, not {wanted}"
            self._faults.tell("%s, so it rejects", told)
            answer = None
        if self._shared is not None:
            if isinstance(answer, Rule) and not all(outcome.done() for outcome in self._waiting):
                learn(self._firewall, answer, peer=self._attempt.peer, direction=self._attempt.direction)
            answer = None  # whom the new rule does not cover is rejected
        self._end(answer)

    @property
    def _told(self) -> tuple[str, str]:
        """The hook and what it is asked about, for the log."""
        about = f"peer={self._attempt.peer} protocol={word(self._attempt.protocol)}"
        return "on_ask" if self._shared is None else "on_no_rule", about

    def _end(self, answer: object) -> None:
        if self._over:
            return
        self._over = True
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
        self._task.cancel()
        if self._shared is not None:
            del self._shared[self._attempt.peer]
        for outcome in self._waiting:
            _settle(outcome, answer)


def _settle(outcome: asyncio.Future[object], answer: object) -> None:
    if not outcome.done():
        outcome.set_result(answer)
