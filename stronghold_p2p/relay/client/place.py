"""One reservation that is kept, for as long as somebody listens there.

It is renewed before it expires (rust: at three quarters), on the same connection; a relay that refuses to renew keeps
what it has granted, so ours lasts until then, and is asked for again meanwhile. When the connection ends, the relay is
dialed again, with back-off: a relay that grants places and does not keep them is not asked more often than one that
grants none (hostile rows 86 and 87). One task for each.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.backoff import backoff
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed, P2PError, RelayRefused
from stronghold_p2p.events.events import ReservationLost, ReservationMade, ReservationRefused
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import OneLine
from stronghold_p2p.relay.client.asking import Granted, reserve
from stronghold_p2p.swarm.host import Host

RENEW_AT: Final = 0.75  # of the time that a place lasts
SOONEST: Final = 30.0  # seconds until it is renewed: who grants less is not asked more often for that (hostile row 86)
LATEST: Final = 3_600.0  # and one that grants a hundred years is asked nonetheless
FIRST: Final = 1.0  # seconds at most until the first try again (hostile row 87)
LONGEST: Final = 300.0  # and until any other, of a relay that is not there or refuses
SOON_GONE: Final = 10.0  # and of one that has granted places, and lost them soon
STEADY: Final = 5.0  # seconds that a place has to last for the next try to come as after the first loss

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
        self._since = self._until = 0.0  # of what was granted
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """The first try, whose error is the caller's; from then on it is kept."""
        await self._ask(None)
        self._task = self._host.loop.create_task(self._keep())

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

    async def _ask(self, connection: LiveConnection | None) -> None:
        """A place, on ``connection`` if that is still there. It is gone with its connection, and may be at once."""
        host = self._host
        if connection is None or connection.closed:
            connection = await host.dial_directly(self.relay, self._addresses)
        granted = await reserve(connection, host.peer_id)
        if connection.closed:
            raise ConnectionClosed("the relay closed the connection on which it granted a place", peer=self.relay)
        before = self.granted
        if self.connection is not connection:
            self._let_go()
            self.connection = connection
            connection.kept += 1
        self.granted, self.error = granted, None
        self._until = host.loop.time() + granted.lasts
        if before is None:
            self._since = host.loop.time()
            host.hub.emit(ReservationMade(self.relay, host.peer_id, granted.lasts))
        if before is None or before.addresses != granted.addresses:
            self.changed()

    def _let_go(self) -> None:
        if self.connection is not None:
            self.connection.kept -= 1
            self.connection = None

    def _drop(self, error: Exception | None) -> None:
        self._let_go()
        before, self.granted = self.granted, None
        self.error = error or self.error
        if before is not None:
            self.changed()
            self._host.hub.emit(ReservationLost(self.relay, self._host.peer_id, error))

    async def _keep(self) -> None:
        loop = self._host.loop
        failing, losing = backoff(FIRST, LONGEST), backoff(FIRST, SOON_GONE)
        pause = 0.0  # after a try that has failed
        while True:
            if self.granted is not None:
                await self._wait(self._renewal() if not pause else max(SOONEST, pause))
                if self.granted is None:
                    if loop.time() - self._since >= STEADY:
                        losing = backoff(FIRST, SOON_GONE)
                    pause = next(losing)
            if self.granted is None:
                await asyncio.sleep(pause)
            if await self._again():
                failing, pause = backoff(FIRST, LONGEST), 0.0
            else:
                pause = next(failing)

    async def _again(self) -> bool:
        """Renew it, or take a new one; whether that worked."""
        self._lost.clear()
        try:
            await self._ask(self.connection)
        except P2PError as error:
            self._failed(error)
        except Exception as error:  # a fault of ours: the next try may do better
            self.error = error
            log.exception("internal error while keeping a place at a relay")
        else:
            return True
        if self.granted is not None and self._host.loop.time() >= self._until:
            self._drop(self.error)
        return False

    def _failed(self, error: P2PError) -> None:
        self.error = error
        log.info("no place at the relay %s: %s", self.relay, OneLine(error))
        if isinstance(error, RelayRefused):
            self._host.hub.emit(ReservationRefused(self.relay, self._host.peer_id, error))

    def _renewal(self) -> float:
        """Seconds until it has to be renewed."""
        lasts = 0.0 if self.granted is None else self.granted.lasts
        return min(LATEST, max(SOONEST, lasts * RENEW_AT))

    async def _wait(self, seconds: float) -> None:
        """So long, or until the connection has ended."""
        try:
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        except TimeoutError:
            pass
