"""Predicates and hooks as no application should have them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from stronghold_p2p import Attempt, Network, Rule
from stronghold_p2p.firewall.rules import Predicate

Hook = Callable[[Attempt], Awaitable[Any]]


def raises(attempt: Attempt) -> bool:
    raise RuntimeError("broken")


def cancels(attempt: Attempt) -> bool:
    raise asyncio.CancelledError


def number(attempt: Attempt) -> bool:
    return 1  # type: ignore[return-value]


async def _later() -> bool:
    return True


def coroutine(attempt: Attempt) -> bool:
    return _later()  # type: ignore[return-value]


PREDICATES: Final[dict[str, Predicate]] = {
    "raises": raises,
    "cancels": cancels,
    "number": number,
    "coroutine": coroutine,
}


def _saying(answer: Any) -> Callable[[Network], Hook]:
    def make(network: Network) -> Hook:
        async def hook(attempt: Attempt) -> Any:
            return answer

        return hook

    return make


def _raising(network: Network) -> Hook:
    async def hook(attempt: Attempt) -> Any:
        raise RuntimeError("broken")

    return hook


def _never(network: Network) -> Hook:
    async def hook(attempt: Attempt) -> Any:
        await asyncio.Event().wait()

    return hook


def _cancelled(network: Network) -> Hook:
    async def hook(attempt: Attempt) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    return hook


def _stubborn(network: Network) -> Hook:
    async def hook(attempt: Attempt) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)
            return True  # too late

    return hook


def _plain(network: Network) -> Hook:
    return lambda attempt: True  # type: ignore[return-value]


def _node(network: Network) -> Hook:
    async def hook(attempt: Attempt) -> Any:
        """Changes the rules twice, the second time about what it was asked, and says yes."""
        network.firewall.set(Rule.REJECT, peer=attempt.peer, protocol="/another/1.0.0")
        await network.connect(attempt.peer, timeout=1)
        network.firewall.set(Rule.REJECT, peer=attempt.peer)
        return True

    return hook


HOOKS: Final[dict[str, Callable[[Network], Hook]]] = {
    "yes": _saying(True),
    "no": _saying(False),
    "none": _saying(None),
    "number": _saying(1),
    "text": _saying("yes"),
    "allow": _saying(Rule.ALLOW),
    "raises": _raising,
    "never": _never,
    "cancelled": _cancelled,
    "stubborn": _stubborn,
    "plain": _plain,
    "node": _node,
}
