"""One reservation that is kept, for as long as somebody listens there.

It is renewed before it expires (rust: at three quarters), on the same connection; a relay that refuses to renew keeps
what it has granted, so ours lasts until then. When the connection ends, the relay is dialed again, with back-off. One
task for each.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.backoff import backoff
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import P2PError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import OneLine
from stronghold_p2p.relay.client.asking import Granted, reserve
from stronghold_p2p.swarm.host import Host

RENEW_AT: Final = 0.75  # of the time that a place lasts
SOONEST: Final = 30.0  # seconds until it is renewed: a relay that grants less is not asked more often for that (row 86)
LATEST: Final = 3_600.0  # and one that grants a hundred years is asked nonetheless
FIRST: Final = 1.0  # seconds at most until the first try again (row 87)
LONGEST: Final = 300.0  # and until any other
STEADY: Final = 60.0  # seconds that a place has to last for the next try to come soon

log = logging.getLogger("stronghold_p2p.relay")


class KeptPlace:
    """A place at ``relay``, which is dialed at ``addresses``. ``changed`` is called when ``granted`` has changed."""

    def __init__(self, host: Host, relay: PeerId, addresses: Sequence[Multiaddr]) -> None:
        self.relay = relay
        self.changed: Callable[[], object] = lambda: None
        self.granted: Granted | None = None
        self.error: Exception | None = None
        self.connection: LiveConnection | None = None
        self._host = host
        self._addresses = addresses
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """The first try, whose error is the caller's; from then on it is kept."""
        host = self._host
        self.connection = connection = await host.dial(self.relay, self._addresses)
        self._take(connection, await reserve(connection, host.peer_id))
        self._task = host.loop.create_task(self._keep())

    def disconnected(self, connection: LiveConnection) -> None:
        if connection is self.connection:
            self._drop(connection.error)
            self._lost.set()

    def stop(self) -> asyncio.Task[None] | None:
        """Keep it no longer: the task that ends then."""
        if self._task is not None:
            self._task.cancel()
        self._drop(None)
        return self._task

    def _take(self, connection: LiveConnection, granted: Granted) -> None:
        before, self.granted, self.connection = self.granted, granted, connection
        if before is None or before.addresses != granted.addresses:
            self.changed()

    def _drop(self, error: Exception | None) -> None:
        before, self.granted, self.connection, self.error = self.granted, None, None, error
        if before is not None:
            self.changed()

    async def _keep(self) -> None:
        loop = self._host.loop
        delays, since = backoff(FIRST, LONGEST), loop.time()
        while True:
            if self.granted is not None:
                await self._wait(self.granted)
            try:
                await self._again()
            except P2PError as error:
                self.error = error
                log.info("no place at the relay %s: %s", self.relay, OneLine(error))
            except Exception as error:  # a fault of ours: the next try may do better
                self.error = error
                log.exception("internal error while keeping a place at a relay")
            if self.granted is not None:
                if loop.time() - since >= STEADY:
                    delays = backoff(FIRST, LONGEST)
                since = loop.time()
                continue
            await asyncio.sleep(next(delays))

    async def _wait(self, granted: Granted) -> None:
        """Until it has to be renewed, or the connection has ended."""
        lasts = min(LATEST, max(SOONEST, granted.lasts * RENEW_AT))
        try:
            async with asyncio.timeout(lasts):
                await self._lost.wait()
        except TimeoutError:
            pass

    async def _again(self) -> None:
        """Renew it, or take a new one; what was granted stays while the same connection does."""
        self._lost.clear()
        connection = self.connection
        if connection is None or connection.closed:
            connection = await self._host.dial(self.relay, self._addresses)
        self._take(connection, await reserve(connection, self._host.peer_id))
