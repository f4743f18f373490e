"""Hooks of the application: each runs as a task, counted until it has really ended."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from stronghold_p2p.firewall.rules import Attempt
from stronghold_p2p.identity import PeerId
from stronghold_p2p.per_peer import PerPeer

Hook: TypeAlias = Callable[[Attempt], Awaitable[Any]]

_MAX_WORD = 128

log = logging.getLogger("stronghold_p2p.request")


class Hooks:
    """The questions that the application is asked: at most ``asks`` at once, and so many ``per_peer`` about one peer.

    None is any number. Ask ``full`` before ``take`` or ``start``. A running hook counts until it ends, also one that
    was cancelled and takes its time.
    """

    def __init__(self, asks: int | None, per_peer: int | None) -> None:
        self._asks = math.inf if asks is None else asks
        self._running: dict[asyncio.Task[Any], PeerId] = {}
        self._counts: PerPeer[PeerId] = PerPeer(per_peer)

    def full(self, peer: PeerId) -> bool:
        """Whether there is no place for one more question about ``peer``."""
        return self._counts.total >= self._asks or self._counts.full(peer)

    def take(self, peer: PeerId) -> None:
        """Count a question without a hook: an attempt that waits for the same answer as another."""
        self._counts.take(peer)

    def give_back(self, peer: PeerId) -> None:
        """A question about ``peer`` is over."""
        self._counts.give_back(peer)

    def start(self, hook: Hook, attempt: Attempt) -> asyncio.Task[Any]:
        """Run ``hook(attempt)`` as a task, which is no longer counted when its other done callbacks are called."""
        task = asyncio.get_running_loop().create_task(_run(hook, attempt))
        self._running[task] = attempt.peer
        self.take(attempt.peer)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.give_back(self._running.pop(task))

    def snapshot(self) -> Mapping[str, int]:
        """How many questions there are, and about how many peers."""
        return {"asks": self._counts.total, "asking_peers": len(self._counts)}

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        return frozenset(self._running)


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
    """Text that may come from a peer as one word of a log line: without spaces and control characters, and not long."""
    if len(text) > _MAX_WORD:
        text = text[:_MAX_WORD] + "\N{HORIZONTAL ELLIPSIS}"
    return "".join(char if char.isprintable() and char != " " else f"\\u{ord(char):04x}" for char in text)
