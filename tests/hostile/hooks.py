"""Predicates and hooks as no application should have them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from stronghold_p2p import Attempt, Network, Rule
from stronghold_p2p.firewall.rules import Predicate

Hook = Callable[[Attempt], Awaitable[Any]]


def raises(*_: object) -> bool:
    raise RuntimeError("broken")


def cancels(attempt: Attempt) -> bool:
    raise asyncio.CancelledError


async def says(answer: Any, *_: object) -> Any:
    return answer


PREDICATES: Final[dict[str, Predicate]] = {
    "raises": raises,
    "cancels": cancels,
    "number": lambda attempt: 1,  # type: ignore[dict-item,return-value]
    "coroutine": lambda attempt: says(True),  # type: ignore[dict-item,return-value]
}


async def _never(*_: object) -> Any:
    await asyncio.Event().wait()


async def _cancelled(*_: object) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _stubborn(*_: object) -> Any:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0.2)
        return True  # too late


async def _node(network: Network, attempt: Attempt) -> Any:
    """Changes the rules twice, the second time about what it was asked, and says yes."""
    network.firewall.set(Rule.REJECT, peer=attempt.peer, protocol="/another/1.0.0")
    await network.connect(attempt.peer, timeout=1)
    network.firewall.set(Rule.REJECT, peer=attempt.peer)
    return True


HOOKS: Final[dict[str, Callable[..., Any]]] = {
    "allow": partial(says, Rule.ALLOW),
    "none": partial(says, None),
    "number": partial(says, 1),
    "text": partial(says, "yes"),
    "raises": raises,
    "never": _never,
    "cancelled": _cancelled,
    "stubborn": _stubborn,
    "node": _node,
}


def hook(name: str, network: Network) -> Hook:
    """By its name in ``HOOKS``."""
    return partial(HOOKS[name], network)
