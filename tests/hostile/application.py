"""The program under test as an application: a ``Network`` that serves, and whose reader of events does as it is told.

    python -m tests.hostile.application [settings]

JSON lines on its standard input are the commands, each a method of ``Application``; each is answered by one line. The
settings are those of tests/hostile/settings.py. Beside ``target`` and ``dialer``, this is what imports the package.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
from collections import Counter
from typing import Any

from stronghold_p2p import Dropped, Event, Events, Limits, Network, Rule, Stream, Timeouts
from tests.hostile import settings
from tests.hostile.codec import RR

Result = dict[str, Any]


class Application:
    """It echoes requests, and, for the honest user beside a row, streams."""

    def __init__(self, timeouts: Timeouts, limits: Limits) -> None:
        self.network = Network(listen=["/ip4/127.0.0.1/tcp/0"], timeouts=timeouts, limits=limits)
        self.network.firewall.set(Rule.ALLOW)
        self.network.on_request(lambda request: request.message)
        self.network.on_stream(RR)(self._echo)
        self.network.on_event(self._note)
        self.emitted = 0
        self.most = 0
        self.kept: Events | None = None
        self.seen: Counter[str] = Counter()

    async def _echo(self, stream: Stream) -> None:
        await stream.write(await stream.read_to_end())

    def _note(self, _: Event) -> None:
        if self.kept is not None:
            self.emitted += 1
            self.most = max(self.most, len(self.kept._waiting))

    async def events(self, overflow: str, buffer: int = 256) -> Result:
        """From now on events are kept, and not read."""
        self.emitted = self.most = 0
        self.seen.clear()
        self.kept = self.network.events(buffer=buffer, overflow=overflow)  # type: ignore[arg-type]
        return {}

    async def read(self, seconds: float) -> Result:
        """Read what waits, and what comes in this time; and then no more."""
        assert self.kept is not None
        try:
            async with asyncio.timeout(seconds):
                async for event in self.kept:
                    self.seen[type(event).__name__] += event.count if isinstance(event, Dropped) else 1
        except TimeoutError:
            pass
        return {"seen": self.seen, "emitted": self.emitted}

    async def forget(self) -> Result:
        """No reader any more."""
        if self.kept is not None:
            self.kept.close()
        self.kept = None
        return {}

    async def ask(self) -> Result:
        """A request of the application itself, to a peer of its own."""
        async with Network(listen=["/ip4/127.0.0.1/tcp/0"]) as friend:
            friend.firewall.set(Rule.ALLOW)
            friend.on_request(lambda request: request.message)
            return {"answer": await self.network.request(friend.addresses[0], "mine", timeout=5)}

    async def state(self) -> Result:
        gc.collect()
        tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        waiting = 0 if self.kept is None else len(self.kept._waiting)
        counts = self.network.stats()
        return {"tasks": tasks, "files": files, "waiting": waiting, "most": self.most, **counts}


async def main(options: argparse.Namespace) -> None:
    application = Application(settings.timeouts(options, Timeouts()), settings.limits(options, Limits()))
    async with application.network as network:
        await settings.obey(application, peer=str(network.peer_id), addr=str(network.addresses[0]))
        await application.forget()


if __name__ == "__main__":
    asyncio.run(main(settings.weakened("application")))
