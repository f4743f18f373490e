"""The same requests as a user makes them: ``Network.request`` behind a firewall with a rule for the one client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter

from stronghold_p2p import BYTES, Identity, Limits, Network, Request, RequestProtocol, Rule, Timeouts

PROTOCOL: RequestProtocol[bytes, bytes] = RequestProtocol("/bench/rr/1", request=BYTES, response=BYTES)
CLIENT = Identity.from_seed(b"the client of the benchmark, 32 B"[:32])

Ask = Callable[[bytes], Awaitable[float]]


def serving(limits: Limits, address: str) -> Network:
    """A server that answers the client and nobody else."""
    server = Network(listen=[address], limits=_lifted(limits), timeouts=Timeouts(idle=None))
    server.firewall.set(Rule.ALLOW, peer=CLIENT.peer_id, protocol=PROTOCOL.ids[0])

    @server.on_request(PROTOCOL)
    async def answer(request: Request[bytes]) -> bytes:
        return request.message

    return server


@asynccontextmanager
async def asking(limits: Limits, address: str) -> AsyncIterator[Ask]:
    """The client: what asks once, and tells how many milliseconds that took."""
    async with Network(identity=CLIENT, limits=_lifted(limits), timeouts=Timeouts(idle=None)) as client:
        peer = (await client.connect(address)).peer

        async def ask(body: bytes) -> float:
            start = perf_counter()
            if await client.request(peer, body, PROTOCOL) != body:
                raise SystemExit("wrong answer")
            return (perf_counter() - start) * 1e3

        yield ask


def _lifted(limits: Limits) -> Limits:
    return replace(limits, requests_per_peer=None)
