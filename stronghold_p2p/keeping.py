"""Staying connected: whoever the application wants to keep is dialed again whenever the connection has ended.

One task for each ``Keeping``. It dials as every call does, so it takes what is open, and shares the dial of others.
While it is connected it pings often enough that neither side takes the connection for idle.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import EllipsisType
from typing import Any, Final, Self

from multiaddr import Multiaddr

from stronghold_p2p.backoff import backoff
from stronghold_p2p.connection.live import Connection, LiveConnection
from stronghold_p2p.errors import ConfigError, ConnectionClosed, DeadlineExceeded, P2PError, UsageError
from stronghold_p2p.events.events import Retrying
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import OneLine
from stronghold_p2p.loops import at_home, check_home
from stronghold_p2p.streams.deadline import Deadline, late
from stronghold_p2p.swarm.host import Host, Service
from stronghold_p2p.targets import Target, resolved

FIRST: Final = 0.25  # seconds at most until the first try again
STEADY: Final = 10.0  # seconds that a connection has to last, or the next try comes as late as if it had failed
# Seconds between two pings, at most: peers close what is idle, rust after 60 s if so configured, ours after 120.
PING_EVERY: Final = 45.0
OFTEN: Final = 1.0  # seconds between two pings, at least
PER_IDLE: Final = 3  # pings in the time after which we ourselves would take the connection for idle

log = logging.getLogger("stronghold_p2p.network")


class Keeping:
    """What keeps a connection, from ``Network.keep`` until ``stop``, the end of its ``async with`` or of the network.

    ``error`` is why the last connection has ended, or the last dial has failed; None before.
    """

    def __init__(self, keeper: "Keeper", to: Any, peer: PeerId | None, addresses: Sequence[Multiaddr]) -> None:
        self.error: Exception | None = None
        self._keeper = keeper
        self._to, self._peer, self._addresses = to, peer, addresses
        self._live: LiveConnection | None = None
        self._up = asyncio.Event()  # or stopped
        self._task = keeper.swarm.loop.create_task(self._run())

    def __repr__(self) -> str:
        return f"<Keeping {self._to} {'connected' if self.connection else 'not connected'}>"

    @property
    def connection(self) -> Connection | None:
        """The open connection; None: there is none at the moment."""
        return None if self._live is None or self._live.closed else self._live.face

    async def connected(self, *, timeout: float | EllipsisType | None = ...) -> Connection:
        """The open connection, as soon as there is one. ``timeout``: by default ``timeouts.dial``.

        ``DeadlineExceeded``: there was none in time, and ``error`` is its cause; the tries go on. ``UsageError``: it
        was stopped. ``ConnectionClosed``: the network has closed.
        """
        swarm = self._keeper.swarm
        check_home(swarm.loop)
        limit = swarm.timeouts.dial if isinstance(timeout, EllipsisType) else timeout
        try:
            async with Deadline(limit, "dial", peer=self._peer):
                while (connection := self.connection) is None:
                    if self._task.done() or self._task.cancelling():
                        raise self._keeper.over()
                    self._up.clear()
                    await self._up.wait()
                return connection
        except DeadlineExceeded as error:  # more time may help, and may not: why there is none says more
            why = "" if self.error is None else OneLine(self.error)
            raise late(error.timeout or 0.0, "dial", self._peer, sent=False, setting="", why=why) from self.error

    def stop(self) -> None:
        """Dial no more; a connection that is open stays. As often as you like, from any thread."""
        at_home(self._stop, self._keeper.swarm.loop)()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        check_home(self._keeper.swarm.loop)
        self._stop()
        await asyncio.wait([self._task])

    def _stop(self) -> None:
        self._task.cancel()
        self._up.set()

    async def _run(self) -> None:
        keeper, loop = self._keeper, self._keeper.swarm.loop
        delays = backoff(FIRST, keeper.longest(self))
        while True:
            began = loop.time()
            try:
                self._live = await keeper.swarm.dial(self._peer, self._addresses)
                began = loop.time()
                self._up.set()
                self.error = await self._stay(self._live)
            except P2PError as error:
                self.error = error
            except Exception as error:  # a fault of ours: the next try may do better
                log.exception("internal error while keeping a connection")
                self.error = error
            if self._live is not None and loop.time() - began >= STEADY:
                delays = backoff(FIRST, keeper.longest(self))
            self._live = None
            delay = next(delays)
            log.info("not connected to %s, next try in %.1f s: %s", self._to, delay, OneLine(self.error))
            keeper.swarm.hub.emit(Retrying(self._to, self.error, delay))
            await asyncio.sleep(delay)

    async def _stay(self, connection: LiveConnection) -> Exception:
        """Return why ``connection`` is over, when it is."""
        while connection.error is None:
            if not await self._keeper.ends(connection):
                try:
                    await self._keeper.ping(connection)
                except P2PError as error:  # whether it has ended is told by the connection itself
                    log.debug("ping of a connection that is kept: %s", OneLine(error))
        return connection.error


class Keeper(Service):
    """Everything that one network keeps. ``ping`` is one round trip on a connection, with a deadline of its own."""

    def __init__(self, swarm: Host, ping: Callable[[LiveConnection], Awaitable[float]]) -> None:
        self.swarm = swarm
        self.ping = ping
        idle = swarm.timeouts.idle
        self.ping_every = PING_EVERY if idle is None else min(PING_EVERY, max(OFTEN, idle / PER_IDLE))
        self._all: dict[Keeping, float] = {}  # with the most seconds between two tries
        self._over: dict[LiveConnection, asyncio.Event] = {}
        self._closed = False
        swarm.add(self)

    def keep(self, to: Target, longest: float) -> Keeping:
        """As ``Network.keep``."""
        peer, addresses = resolved(to)
        if peer == self.swarm.peer_id:
            raise ConfigError("that is our own peer id", where="to")
        number: object = longest
        if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
            raise ConfigError(f"longest is {number!r}: take seconds, more than 0", where="longest")
        one = Keeping(self, to, peer, addresses)
        self._all[one] = max(longest, FIRST)
        one._task.add_done_callback(lambda _: self._all.pop(one, None))  # noqa: SLF001 - its own
        return one

    def longest(self, one: Keeping) -> float:
        return self._all[one]

    def over(self) -> P2PError:
        """Why there will be no connection any more."""
        if self._closed:
            return ConnectionClosed("the network is closing")
        return UsageError("it was stopped: call keep again")

    async def ends(self, connection: LiveConnection) -> bool:
        """Whether it ends before the next ping is due, or has ended; returns when that is known."""
        if connection.closed:
            return True
        over = self._over.setdefault(connection, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(self.ping_every):
                await over.wait()
        return over.is_set()

    def disconnected(self, connection: LiveConnection) -> None:
        over = self._over.pop(connection, None)
        if over is not None:
            over.set()

    async def close(self) -> None:
        self._closed = True
        kept = list(self._all)
        for one in kept:
            one.stop()
        await asyncio.gather(*(one._task for one in kept), return_exceptions=True)  # noqa: SLF001 - as above
