"""A firewall whose hooks are answered by the test, and the attempts that wait for those answers."""

from __future__ import annotations

import asyncio
from typing import Any

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.asking.questions import Refusal
from stronghold_p2p.firewall.rules import Attempt, Rule
from tests.firewall.attempts import attempt


class Asked:
    """A hook whose answers the test gives, in the order of the questions."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.answers: list[asyncio.Future[Any]] = []

    async def __call__(self, asked: Attempt) -> Any:
        self.attempts.append(asked)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


def approving(firewall: Firewall, audit: Audit | None = None, ask: float | None = 8.0, **limits: Any) -> Approval:
    return Approval(firewall, audit or Audit(), Timeouts(ask=ask), Limits(**limits))


def asking(rule: Rule | None = Rule.ASK, **options: Any) -> tuple[Firewall, Approval, Asked]:
    """``rule`` for everybody, or none, and one hook for both kinds of questions."""
    firewall, asked = Firewall(), Asked()
    if rule is not None:
        firewall.set(rule)
    hooked(firewall, asked)
    return firewall, approving(firewall, **options), asked


def hooked(firewall: Firewall, hook: Any) -> None:
    firewall.on_ask(hook)
    firewall.on_no_rule(hook)


def requests(count: int) -> list[Attempt]:
    return [attempt(variant=str(number)) for number in range(count)]


async def begin(approval: Approval, *attempts: Attempt) -> list[asyncio.Task[bool | Refusal]]:
    tasks = [asyncio.ensure_future(approval.ask(each)) for each in attempts]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def nothing_left(approval: Approval) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert approval.snapshot() == {"asks": 0, "asking_peers": 0, "ask_memory": 0}
    assert (approval.hooks, approval._open) == (frozenset(), {})
