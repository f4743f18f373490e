"""B07: who is asked when its network closes answers, whatever the size of the answer."""

from __future__ import annotations

import asyncio
from typing import Any

from stronghold_p2p import BYTES, Network, P2PError, RequestProtocol, Rule
from tests.field.figure import Figure

BLOB = RequestProtocol("/blob/1", request=BYTES, response=BYTES)
BODIES = {"4 B": 4, "200 KiB": 200 << 10, "5 MiB": 5 << 20}
TIMES = 100


def answers_of_handlers_at_work() -> Figure:
    """So many times for each size, on loopback."""
    answered = {name: asyncio.run(_answered(size, TIMES)) for name, size in BODIES.items()}
    return Figure(
        found=", ".join(f"{count} of {TIMES} for {name}" for name, count in answered.items()),
        bound="all",
        holds=all(count == TIMES for count in answered.values()),
    )


async def _answered(size: int, times: int) -> int:
    return sum([await asked_while_closing(size, turn=number % 2 == 0) for number in range(times)])


async def asked_while_closing(size: int, *, turn: bool) -> bool:
    """Whether one request is answered whose network closes while its handler works; ``turn``: it takes some more."""
    begun = asyncio.Event()
    blob = bytes(size)

    async def answer(_: Any) -> bytes:
        begun.set()
        if turn:
            await asyncio.sleep(0.002)
        return blob

    server = Network(listen=["/ip4/127.0.0.1/tcp/0"])
    server.firewall.set(Rule.ALLOW)
    server.on_request(BLOB)(answer)
    async with Network() as client:
        async with server:
            asked = asyncio.ensure_future(client.request(server.addresses[0], b"?", BLOB))
            await begun.wait()
        try:
            return len(await asked) == size
        except P2PError:
            return False
