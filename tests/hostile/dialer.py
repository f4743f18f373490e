"""The program under test as a dialer: does what JSON lines on its standard input say, and tells how that ended.

    python -m tests.hostile.dialer [settings]

The settings are those of tests/hostile/settings.py. Beside ``target``, this is what imports the package: it is what is
attacked.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
from typing import Any

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.events.events import Event
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.protocols.ping import Ping
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests.hostile import settings
from tests.hostile.asked import ask

Result = dict[str, Any]


class Dialer:
    """One swarm, and a method for each command."""

    def __init__(self, timeouts: Timeouts, limits: Limits) -> None:
        firewall = Firewall()
        firewall.set(Rule.ALLOW)
        self.swarm = Swarm(Identity(), firewall=firewall, timeouts=timeouts, limits=limits)
        self.identify = Identify(self.swarm, "dialer")
        self.ping_service = Ping(self.swarm)
        self.client = Client(self.swarm)
        self.events: list[str] = []
        self.streams: list[LiveStream] = []
        self.swarm.start()
        self.swarm.hub.on_event(self._note)

    def _note(self, event: Event) -> None:
        self.events.append(type(event).__name__)

    async def dial(self, addrs: list[str], peer: str | None = None) -> Result:
        found = await self.swarm.dial(None if peer is None else PeerId(peer), [parse(text) for text in addrs])
        return {"peer": str(found.peer), "remote": str(found.remote_address), "early": found.early_muxer}

    async def request(
        self, protocols: list[str], write: str = "", *, fin: bool = True, maximum: int = 1 << 20, close: bool = False
    ) -> Result:
        """A stream, ``write``, and all that comes back; ``close``: closed at once instead."""
        stream = await self._connection().open_stream(*protocols)
        async with stream:
            await stream.write(write.encode())
            if close:
                stream.close()
                return {}
            if fin:
                stream.finish()
            return {"got": (await stream.read_to_end(maximum)).hex()}

    async def opens(self, protocol: str, count: int, timeout: float) -> Result:
        """``count`` streams, kept; how many could be opened in time, and what kept the others."""

        async def one() -> str:
            try:
                async with asyncio.timeout(timeout):
                    stream = await self._connection().open_stream(protocol)
                    await stream.write(b"x")
                    self.streams.append(stream)
            except Exception as error:
                return type(error).__name__
            return "ok"

        outcomes = await asyncio.gather(*(one() for _ in range(count)))
        return {name: outcomes.count(name) for name in set(outcomes)}

    async def forget(self) -> Result:
        """Close the streams that are kept."""
        for stream in self.streams:
            stream.close()
        self.streams.clear()
        return {}

    async def ask(
        self, message: Any, count: int = 1, timeout: float | None = 5.0, *, times: int = 1, insist: bool = False
    ) -> Result:
        """``count`` requests at once, each of ``times`` the text ``message``, and how they have ended."""
        message = message * times if times > 1 else message
        return await ask(self.client, self._connection().peer, message, count, timeout, insist=insist)

    async def ping(self, timeout: float = 2.0) -> Result:
        return {"took": await self.ping_service.ping(self._connection(), timeout=timeout)}

    async def info(self) -> Result:
        """What the peer has told, and what is stored about others."""
        peer = self._connection().peer
        told = self.identify.info(peer)
        return {
            "known": told is not None,
            "agent": "" if told is None else told.agent,
            "protocols": 0 if told is None else len(told.protocols),
            "addresses": [] if told is None else [str(address) for address in told.addresses],
            "record": told is not None and told.record is not None,
            "book": {str(other): list(map(str, self.swarm.book.addresses(other))) for other in self.swarm.book.peers()},
        }

    async def state(self) -> Result:
        """What is left: connections, sockets, tasks, counts; and the events since the last time."""
        gc.collect()
        events, self.events = self.events, []
        return {
            "connections": len(self.swarm.connections()),
            "tasks": len(asyncio.all_tasks()),
            "files": len(os.listdir("/proc/self/fd")),
            "gate": sum(self.swarm.gate.snapshot().values()),
            "events": events,
        }

    async def hang_up(self) -> Result:
        """Close all connections."""
        for connection in self.swarm.connections():
            await connection.close()
        return {}

    def _connection(self) -> Any:
        return self.swarm.connections()[0]

    async def close(self) -> None:
        await self.identify.close()
        await self.swarm.close()


async def main(options: argparse.Namespace) -> None:
    dialer = Dialer(settings.timeouts(options, Timeouts()), settings.limits(options, Limits()))
    await settings.obey(dialer, peer=str(dialer.swarm.peer_id))
    await dialer.close()


if __name__ == "__main__":
    asyncio.run(main(settings.weakened("dialer")))
