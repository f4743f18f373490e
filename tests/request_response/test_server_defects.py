"""What attackers and slow applications found in the responder."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.events.events import Dropped, Judged
from stronghold_p2p.events.hub import Events
from stronghold_p2p.request_response.codecs.codec import JSON, frame, weight
from stronghold_p2p.request_response.server import Request
from tests.peers import mirror, now, until
from tests.support.requests import ID, requests
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "wait"])
@pytest.mark.parametrize("limit", ["request_memory", "request_memory_per_peer"])
async def test_no_request_is_refused_for_events_that_may_be_lost(overflow: Any, limit: str) -> None:
    size = weight(JSON, JSON.encode("y" * 1_000))
    own, most = (None, 8 * size) if limit == "request_memory" else (6 * size, None)
    async with requests(mirror, limits=Limits(request_memory=most, request_memory_per_peer=own)) as on:
        events = Events(on.bob.hub, 64, overflow)
        for number in range(6):
            assert await on.ask(f"{number}" * 1_000)
        if overflow == "wait":
            with pytest.raises(LimitExceeded):
                await on.ask("6" * 1_000)
        else:
            for number in range(6, 10):
                assert await on.ask(f"{number}" * 1_000)
        assert on.server.memory.total == 6 * size
        events.close()
        kept = [event async for event in events]
        told = [event.attempt.view[0] for event in kept if isinstance(event, Judged)]
        lost = sum(event.count for event in kept if isinstance(event, Dropped))
        expected = {"wait": ("012345", 0), "drop_oldest": ("456789", 4), "drop_newest": ("012349", 4)}
        assert ("".join(told), lost) == expected[overflow]
        assert on.server.memory.total == 0


async def test_who_leaves_before_the_handler_has_begun_is_not_waited_for() -> None:
    """The request, the end and the reset come together: neither that nor the time-out would ever end the handler."""
    seen: list[str] = []

    async def wait(request: Request[Any]) -> None:
        seen.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    async with requests(wait, timeouts=Timeouts(request=2.0)) as on:
        begun = now()
        for _ in range(3):
            stream = await on.connection.open_stream(ID)
            await stream.write(frame(b'"Ping"'))
            stream.finish()
            stream.reset()
        await asyncio.sleep(0.5)
        await until(lambda: on.server.places.total == 0, 5)
        assert seen.count("begun") == seen.count("ended")
        assert now() - begun < 2.0
