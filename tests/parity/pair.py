"""A responder whose rules change, and a requester that tells how its requests end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stronghold_p2p import JSON, Event, Judged, Network, Rejected, Request, RequestProtocol, UnsupportedProtocol
from stronghold_p2p.yamux import session
from tests.peers import LOOPBACK, until

PROTOCOL = RequestProtocol("/parity/1", request=JSON, response=JSON)


class Two:
    """A responder whose rules change, a requester, and what the responder has seen."""

    def __init__(self, bob: Network, alice: Network) -> None:
        self.bob = bob
        self.alice = alice
        self.handled: list[Any] = []
        self.questions: list[str] = []
        self.judged: list[tuple[str | None, str]] = []
        self.unfollow: Callable[[], None] | None = None

    async def ask(self, message: Any) -> str:
        """The outcome at the requester, in a word."""
        try:
            answer = await self.alice.request(self.bob.peer_id, message, PROTOCOL)
        except (Rejected, UnsupportedProtocol) as error:
            return type(error).__name__
        assert answer == ["yes", message]
        return "answer"

    def note(self, event: Event) -> None:
        if isinstance(event, Judged):
            assert event.attempt.peer == self.alice.peer_id
            self.judged.append((event.attempt.variant, str(event.rule)))

    def follow(self, following: bool) -> None:
        """Whether somebody wants to know each judgement: if nobody does, some are not made."""
        if following and self.unfollow is None:
            self.unfollow = self.bob._swarm.hub.follow(self.note)
        elif not following and self.unfollow is not None:
            self.unfollow()
            self.unfollow = None

    async def told(self, count: int) -> None:
        """So many judgements have come, if anybody follows them: the requester may be told a turn earlier."""
        if self.unfollow is not None:
            await until(lambda: len(self.judged) >= count)

    def forget(self) -> None:
        """Until the next configuration."""
        for scope, _ in self.bob.firewall.rules():
            assert self.bob.firewall.remove(**scope)
        self.handled.clear()
        self.questions.clear()
        self.judged.clear()


@asynccontextmanager
async def two() -> AsyncIterator[Two]:
    with pytest.MonkeyPatch.context() as patch:  # more requests are refused than a peer may have reset
        patch.setattr(session, "RESET_BURST", 1 << 20)
        async with Network(listen=[LOOPBACK]) as bob, Network() as alice:
            pair = Two(bob, alice)

            @bob.on_request(PROTOCOL)
            async def answer(request: Request[Any]) -> Any:
                pair.handled.append(request.message)
                return ["yes", request.message]

            await alice.connect(bob.addresses[0])
            await alice.identify(bob.peer_id)
            yield pair
