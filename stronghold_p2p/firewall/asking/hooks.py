"""Hooks of the application: each runs as a task, counted until it has really ended."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from stronghold_p2p.firewall.rules import Attempt

if TYPE_CHECKING:
    from stronghold_p2p.firewall.asking.firewall import Firewall
    from stronghold_p2p.identity import PeerId

Hook: TypeAlias = Callable[[Attempt], Awaitable[Any]]

_MAX_WORD = 128

log = logging.getLogger("stronghold_p2p.request")


class Hooks:
    """Places for questions: at most ``asks`` at once and ``asks_per_peer`` about one peer (None: any number).

    A running hook has a place until it ends, also one that was cancelled and takes its time.
    """

    def __init__(self, asks: int | None, asks_per_peer: int | None) -> None:
        self._asks = math.inf if asks is None else asks
        self._asks_per_peer = math.inf if asks_per_peer is None else asks_per_peer
        self._running: dict[asyncio.Task[Any], PeerId] = {}
        self._places: Counter[PeerId] = Counter()
        self._taken = 0

    def full(self, peer: PeerId) -> bool:
        """Whether there is no place for one more question about ``peer``."""
        return self._taken >= self._asks or self._places[peer] >= self._asks_per_peer

    def take(self, peer: PeerId) -> None:
        """Take a place without a hook: for an attempt that waits for the same answer as another."""
        self._taken += 1
        self._places[peer] += 1

    def give_back(self, peer: PeerId) -> None:
        self._taken -= 1
        self._places[peer] -= 1
        if not self._places[peer]:
            del self._places[peer]

    def start(self, hook: Hook, attempt: Attempt) -> asyncio.Task[Any]:
        """Run ``hook(attempt)``; its place is free again before any other callback of the task is called."""
        task = asyncio.get_running_loop().create_task(_run(hook, attempt))
        self._running[task] = attempt.peer
        self.take(attempt.peer)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.give_back(self._running.pop(task))

    def snapshot(self) -> Mapping[str, int]:
        """How many places are taken, and about how many peers."""
        return {"asks": self._taken, "asking_peers": len(self._places)}

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """The hooks that have not ended."""
        return frozenset(self._running)


class Waiting:
    """An attempt that waits, inside ``with``: ``outcome`` is what it is settled with first; what comes later is lost.

    True when rules or bans have changed so that ``still`` holds no more; ``late`` when the time ``due`` has come
    (of the event loop's clock; infinite: never).
    """

    __slots__ = ("_due", "_firewall", "_late", "_still", "_timer", "_unwatch", "outcome")

    def __init__(self, firewall: Firewall, *, still: Callable[[], bool], due: float, late: object) -> None:
        self._firewall = firewall
        self._still = still
        self._due = due
        self._late = late
        self._timer: asyncio.TimerHandle | None = None
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, answer: object) -> None:
        if not self.outcome.done():
            self.outcome.set_result(answer)

    def __enter__(self) -> Self:
        self._unwatch = self._firewall.watch(self._changed)
        if not math.isinf(self._due):
            self._timer = asyncio.get_running_loop().call_at(self._due, self.settle, self._late)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()

    def _changed(self) -> None:
        if not self.outcome.done() and not self._still():
            self.outcome.set_result(True)


async def _run(hook: Hook, attempt: Attempt) -> Any:
    # A hook that raises before its first await, or is no coroutine function, fails inside the task.
    return await hook(attempt)


def answer_of(task: asyncio.Task[Any], name: str, attempt: Attempt, kinds: tuple[type, ...]) -> Any:
    """The answer of the hook called ``name``; None, with one log line, if it failed or gave none of these ``kinds``."""
    if task.cancelled():
        return None
    if (error := task.exception()) is not None:
        protocol = word(attempt.protocol)
        log.error("%s failed, so it rejects: peer=%s protocol=%s", name, attempt.peer, protocol, exc_info=error)
        return None
    answer = task.result()
    if isinstance(answer, kinds):
        return answer
    wanted = " or ".join(kind.__name__ for kind in kinds)
    log.error("%s returned %s, not %s, so it rejects", name, type(answer).__name__, wanted)
    return None


def word(text: str) -> str:
    """Text from a peer as one word of a log line: no spaces, no control characters, not long."""
    if len(text) > _MAX_WORD:
        text = text[:_MAX_WORD] + "\N{HORIZONTAL ELLIPSIS}"
    return "".join(char if char.isprintable() and char != " " else f"\\u{ord(char):04x}" for char in text)
