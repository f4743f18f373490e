"""Alice, who asks, and Bob, who answers: a client and a server over one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import JSON
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.request_response.server import Server
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import connect, swarm, until

ID = STRONGHOLD.ids[0]
# Lengths that could be shorter. D32: the crate's reader ran past its buffer of ten bytes and took the task down.
NOT_MINIMAL = b"\x80\x00", b"\x81\x00", b"\x84\x80\x80\x00", b"\x80" * 9 + b"\x00"


def json(*ids: str, **options: Any) -> RequestProtocol[Any, Any]:
    """A protocol whose messages are any JSON."""
    return RequestProtocol(*ids, request=JSON, response=JSON, **options)


@dataclass
class Requests:
    alice: Swarm
    bob: Swarm
    client: Client
    server: Server
    connection: LiveConnection
    ends: bool = False  # the test ends the connection

    async def ask(
        self, message: Any = "Ping", timeout: float | None = 5.0, protocol: RequestProtocol[Any, Any] = STRONGHOLD
    ) -> Any:
        return await self.client.request(self.bob.peer_id, self.bob.addresses, message, protocol, timeout=timeout)

    def asking(self, message: Any = "Ping", timeout: float | None = None) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.ask(message, timeout))

    async def raw(self, data: bytes, *, end: bool = False) -> bytes:
        """What comes back for ``data``, up to the end."""
        async with await self.connection.open_stream(ID) as stream:
            await stream.write(data)
            if end:
                stream.finish()
            return await stream.read_to_end()


@asynccontextmanager
async def requests(
    answer: Any = None,
    rule: Rule | None = Rule.ALLOW,
    *,
    stream: Handler | None = None,
    protocol: RequestProtocol[Any, Any] = STRONGHOLD,
    alice: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Requests]:
    """Both, connected. Bob answers requests, or treats their streams by hand, and has the ``options``.

    Afterwards nothing of any request is left, and none has cost its connection.
    """
    async with swarm(1, **alice or {}) as one, swarm(2, rule, **options) as other:
        server, client = Server(other), Client(one)
        if answer is not None:
            server.serve(protocol, answer)
        if stream is not None:
            other.handle(ID, stream)
        on = Requests(one, other, client, server, await connect(one, other))
        yield on
        await until(lambda: not any(each.streams for each in (*one.connections(), *other.connections())))
        await until(lambda: server.places.total == client.places.total == 0)
        await until(lambda: not any(other.approval.snapshot().values()))
        assert on.connection.closed is on.ends
