"""The same requests as a user makes them: ``Network.request`` behind a firewall with a rule for the one client.

Two kinds: bytes under a protocol of the benchmark's own, and JSON under the protocol of the Rust crate, ``STRONGHOLD``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from stronghold_p2p import BYTES, STRONGHOLD, Identity, Limits, Network, Request, RequestProtocol, Rule, Timeouts

CLIENT = Identity.from_seed(b"the client of the benchmark, 32 B"[:32])

Ask = Callable[[bytes], Awaitable[float]]


@dataclass(frozen=True)
class Kind:
    """``message`` is what is sent for so many bytes."""

    protocol: RequestProtocol[Any, Any]
    message: Callable[[bytes], Any]


def _text(body: bytes) -> Any:
    """As the crate's peer sends it (harness/crate/src/bench.rs), the text as long as ``body``."""
    return {"Text": body.hex()[: len(body)]}


OF_BYTES = Kind(RequestProtocol("/bench/rr/1", request=BYTES, response=BYTES), lambda body: body)
OF_JSON = Kind(STRONGHOLD, _text)


def serving(limits: Limits, address: str, kind: Kind) -> Network:
    """A server that answers the client and nobody else."""
    server = Network(listen=[address], limits=_lifted(limits), timeouts=Timeouts(idle=None))
    server.firewall.set(Rule.ALLOW, peer=CLIENT.peer_id, protocol=kind.protocol.ids[0])

    @server.on_request(kind.protocol)
    async def answer(request: Request[Any]) -> Any:
        return request.message

    return server


@asynccontextmanager
async def asking(limits: Limits, address: str, kind: Kind) -> AsyncIterator[Ask]:
    """The client: what asks once, and tells how many milliseconds that took."""
    async with Network(identity=CLIENT, limits=_lifted(limits), timeouts=Timeouts(idle=None)) as client:
        peer = (await client.connect(address)).peer

        async def ask(body: bytes) -> float:
            message, start = kind.message(body), perf_counter()
            if await client.request(peer, message, kind.protocol) != message:
                raise SystemExit("wrong answer")
            return (perf_counter() - start) * 1e3

        yield ask


def _lifted(limits: Limits) -> Limits:
    return replace(limits, requests_per_peer=None)
