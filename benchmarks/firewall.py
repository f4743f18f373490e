"""What a rule for one peer costs: processor time per request, compared with a firewall that allows everybody.

    python -m benchmarks.firewall [--pairs N] [--requests N]

Client and server run in this process, so its processor time is that of both ends; other programs on the machine take
no part in it. Each pair measures the default of allow and the rule, one right after the other; the figure is the
median of the differences. One JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
from dataclasses import dataclass
from time import process_time
from typing import Any

from stronghold_p2p import STRONGHOLD, Limits, Network, Request, Rule, Timeouts

MESSAGE = "Ping"
MOST = 0.05
RULES = {"allow": Rule.ALLOW, "only": Rule.only([MESSAGE])}


@dataclass(frozen=True)
class Cost:
    """``extra`` is a share: 0.05 is five per cent more than under a default of allow."""

    rule: str
    base: float  # microseconds per request
    extra: float

    @property
    def met(self) -> bool:
        return self.extra <= MOST


class Pair:
    """A server and its client, connected."""

    def __init__(self, server: Network, client: Network) -> None:
        self._server = server
        self._client = client

    async def under_default(self, requests: int) -> float:
        self._server.firewall.remove(peer=self._client.peer_id)
        self._server.firewall.set(Rule.ALLOW)
        return await self._measure(requests)

    async def under_peer_rule(self, rule: Rule, requests: int) -> float:
        self._server.firewall.remove()
        self._server.firewall.set(rule, peer=self._client.peer_id)
        return await self._measure(requests)

    async def _measure(self, requests: int) -> float:
        """Seconds of processor time for one request."""
        start = process_time()
        for _ in range(requests):
            if await self._client.request(self._server.peer_id, MESSAGE) != MESSAGE:
                raise SystemExit("wrong answer")
        return (process_time() - start) / requests


async def measure(pairs: int, requests: int) -> list[Cost]:
    limits, timeouts = Limits(requests_per_peer=None), Timeouts(idle=None)
    server = Network(listen=["/ip4/127.0.0.1/tcp/0"], limits=limits, timeouts=timeouts)

    @server.on_request(STRONGHOLD)
    async def answer(request: Request[Any]) -> Any:
        return request.message

    async with server, Network(limits=limits, timeouts=timeouts) as client:
        await client.connect(server.addresses[0])
        pair = Pair(server, client)
        await pair.under_default(requests)  # warms up
        return [await _compare(pair, name, rule, pairs, requests) for name, rule in RULES.items()]


async def _compare(pair: Pair, name: str, rule: Rule, pairs: int, requests: int) -> Cost:
    bases, extras = [], []
    for _ in range(pairs):
        base = await pair.under_default(requests)
        extras.append(await pair.under_peer_rule(rule, requests) / base - 1)
        bases.append(base)
    return Cost(name, statistics.median(bases) * 1e6, statistics.median(extras))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.firewall", description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--requests", type=int, default=1_500, help="for each half of a pair")
    options = parser.parse_args()
    gc.freeze()
    costs = asyncio.run(measure(options.pairs, options.requests))
    print(json.dumps([vars(cost) for cost in costs]), flush=True)


if __name__ == "__main__":
    main()
