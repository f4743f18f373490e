"""The peer contract through ``Network``, with the options that a user has who sets none.

Lifted are only the limits that a measurement would run into, and the time after which an idle connection is closed.
The firewall stays closed but for a rule for each protocol. A request is ``Network.request``, which frames it: only ours
understands that. ``ByHand`` makes it as the contract says, over a stream, for a server of another implementation.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

from harness.contract import ECHO, LIFTED, RR, WRONG, answer, answer_echo, timeouts
from stronghold_p2p import BYTES, STRONGHOLD, Network, Request, RequestProtocol, Rule, Stream, WebTLS
from stronghold_p2p.protocols import perf

LIMITS = replace(LIFTED, requests_per_peer=None)
OF_BYTES = RequestProtocol("/bench/request/1", request=BYTES, response=BYTES)


def as_text(body: bytes) -> Any:
    """A message as the Rust crate's peer sends it (harness/crate/src/bench.rs), its text as long as ``body``."""
    return {"Text": body.hex()[: len(body)]}


@asynccontextmanager
async def serving(options: argparse.Namespace, address: str) -> AsyncIterator[str]:
    """A server of the contract, which also answers requests of ``Network.request``; its address."""
    tls = WebTLS(certificate=options.tls_cert, key=options.tls_key) if options.tls_cert else None
    server = Network(listen=[address], limits=LIMITS, timeouts=timeouts(options), tls=tls)
    server.on_stream(perf.PERF)(perf.serve)
    server.on_stream(RR)(answer)
    server.on_stream(ECHO)(answer_echo)

    async def respond(request: Request[Any]) -> Any:
        return request.message

    server.on_request(OF_BYTES)(respond)
    server.on_request(STRONGHOLD)(respond)
    for protocol in (perf.PERF, RR, ECHO, *OF_BYTES.ids, *STRONGHOLD.ids):
        server.firewall.set(Rule.ALLOW, protocol=protocol)
    async with server:
        yield str(server.addresses[0])


class NetworkClient:
    """A fresh network and, once it is connected, the server."""

    def __init__(self, network: Network, *, json: bool = False) -> None:
        self._network = network
        self._protocol: RequestProtocol[Any, Any] = STRONGHOLD if json else OF_BYTES
        self._json = json

    async def connect(self, addr: str) -> None:
        self._peer = (await self._network.connect(addr)).peer

    async def open(self, protocol: str) -> Stream:
        return await self._network.open_stream(self._peer, protocol)

    async def ask(self, body: bytes) -> float:
        message, start = as_text(body) if self._json else body, perf_counter()
        if await self._network.request(self._peer, message, self._protocol) != message:
            raise SystemExit(WRONG)
        return (perf_counter() - start) * 1e3


class ByHand(NetworkClient):
    """Asks over streams of the network."""

    async def ask(self, body: bytes) -> float:
        start = perf_counter()
        async with self._network.open_stream(self._peer, RR) as stream:
            await stream.write(body)
            await stream.close_write()
            if await stream.read_to_end() != body:
                raise SystemExit(WRONG)
        return (perf_counter() - start) * 1e3


@asynccontextmanager
async def calling(options: argparse.Namespace) -> AsyncIterator[NetworkClient]:
    tls = WebTLS(ca=options.ca) if options.ca else None
    async with Network(limits=LIMITS, timeouts=timeouts(options), tls=tls) as network:
        yield ByHand(network) if options.by_hand else NetworkClient(network, json=options.json)
