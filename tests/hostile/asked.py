"""What the programs under test answer requests with, and how they ask: part of what is attacked."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from typing import Any, Final

from stronghold_p2p.errors import LimitExceeded, P2PError
from stronghold_p2p.events.events import Event, RequestFailed
from stronghold_p2p.identity import PeerId
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import JSON
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
from stronghold_p2p.request_response.messages import Request
from stronghold_p2p.request_response.server import Server
from stronghold_p2p.swarm.swarm import Swarm
from tests.hostile.codec import ASK

PROTOCOL: Final[RequestProtocol[Any, Any]] = RequestProtocol(ASK, request=JSON, response=JSON)


KEPT: Final = 200  # futures of requests that are over


class Answering:
    """``{"Hold": n}`` is answered when ``{"Answer": n}`` comes, ``{"Sleep": s}`` later, all else at once."""

    def __init__(self, swarm: Swarm) -> None:
        self._held: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._delivered = self._fresh = self._answered = self._failed = 0
        Server(swarm).serve(PROTOCOL, self._answer)
        swarm.hub.on_event(self._note)

    def state(self) -> dict[str, int]:
        """Requests that came, how many had an id above all before, and how they have ended here."""
        counts = {"delivered": self._delivered, "fresh": self._fresh}
        return {**counts, "answered": self._answered, "failed": self._failed}

    def _note(self, event: Event) -> None:
        self._failed += isinstance(event, RequestFailed)

    async def _answer(self, request: Request[Any]) -> Any:
        self._delivered += 1
        self._fresh += request.id > self._last_id
        self._last_id = max(self._last_id, request.id)
        match request.message:
            case {"Hold": number}:
                if len(self._held) > KEPT:
                    del self._held[next(iter(self._held))]
                self._held[number] = asyncio.get_running_loop().create_future()
                answer = await self._held[number]
            case {"Sleep": seconds}:
                await asyncio.sleep(seconds)
                answer = seconds
            case {"Answer": number, "thread": True}:
                answer = await self._answer_from_a_thread(number)
            case {"Answer": number}:
                answer = [self._answer_once(number, attempt) for attempt in range(2)]
            case answer:
                pass
        self._answered += 1
        return answer

    def _answer_once(self, number: int, attempt: int) -> str:
        try:
            self._held[number].set_result(attempt)
        except asyncio.InvalidStateError as error:
            return type(error).__name__
        return "answered"

    async def _answer_from_a_thread(self, number: int) -> bool:
        loop, held = asyncio.get_running_loop(), self._held[number]
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(held.set_result, "from a thread"))
        thread.start()
        await asyncio.to_thread(thread.join)
        return True


async def ask(
    client: Client, to: PeerId, message: Any, count: int, timeout: float | None, *, insist: bool
) -> dict[str, Any]:
    """``count`` requests at once, and how they end; ``insist``: who is one too many asks again after a while."""
    refused, patience = 0, max(1.0, count / 150)  # fewer refusals a second than ``RESET_RATE``

    async def one() -> str:
        nonlocal refused
        while True:
            try:
                return repr(await client.request(to, (), message, PROTOCOL, timeout=timeout))
            except LimitExceeded as error:
                refused += 1
                if not insist:
                    return f"LimitExceeded {error.remote}"
                await asyncio.sleep(random.uniform(0.1, patience))
            except P2PError as error:
                return type(error).__name__

    outcomes = await asyncio.gather(*(one() for _ in range(count)))
    return {"outcomes": Counter(outcome[:60] for outcome in outcomes), "refused": refused, "taken": client.places.total}
