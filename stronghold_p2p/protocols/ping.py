"""ping: 32 random bytes there, the same 32 back, as often as one likes on one stream (ping/ping.md)."""

from __future__ import annotations

import asyncio
import os
from time import perf_counter
from typing import Final

from stronghold_p2p.codes import Reset
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import Malformed, StreamEnded, StreamReset
from stronghold_p2p.identity import PeerId
from stronghold_p2p.per_peer import PerPeer
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.host import Host, Service

PING: Final = "/ipfs/ping/1.0.0"
SIZE: Final = 32
STREAMS_IN: Final = 2  # of one peer (ping/ping.md: the listener SHOULD allow two)
IDLE: Final = 30.0  # seconds that an inbound stream may be silent; rust pings every 15
TOGETHER: Final = 64  # pings that are answered in one go, half a millisecond, before other tasks run
KEEP: Final = 10.0  # seconds that our own stream stays open for another ping; then the connection may become idle


class IdlePingStream:
    """Our ping stream on one connection, which waits for the next ping; ``lock`` lets one ping at a time use it."""

    __slots__ = ("lock", "stream", "timer")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.stream: LiveStream | None = None
        self.timer: asyncio.TimerHandle | None = None

    def take(self) -> LiveStream | None:
        stream, self.stream = self.stream, None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return stream

    def close(self) -> None:
        stream = self.take()
        if stream is not None:
            stream.close()


class Ping(Service):
    """ping in both roles for one swarm."""

    def __init__(self, swarm: Host) -> None:
        self._swarm = swarm
        self._serving: PerPeer[PeerId] = PerPeer(STREAMS_IN)
        self._idle_streams: dict[LiveConnection, IdlePingStream] = {}
        swarm.handle(PING, self._answer)
        swarm.add(self)

    async def ping(self, connection: LiveConnection, *, timeout: float | None = 10.0) -> float:
        """One round trip to the peer's ping handler, in seconds.

        Pings on one connection wait for each other and share a stream. ``DeadlineExceeded`` after ``timeout``
        seconds, ``Malformed`` if other bytes come back, ``UnsupportedProtocol`` if the peer does not serve ping.
        """
        idle = self._idle_streams.setdefault(connection, IdlePingStream())
        try:
            async with Deadline(timeout, "ping", peer=connection.peer), idle.lock:
                return await self._ping(connection, idle)
        finally:
            if connection.closed:
                self._idle_streams.pop(connection, None)

    async def _ping(self, connection: LiveConnection, idle: IdlePingStream) -> float:
        stream = idle.take()
        try:
            return await self._measure(connection, idle, stream)
        except (StreamEnded, StreamReset) as error:
            # go ends a ping stream after 30 s, whatever happens on it; that is no failure of the peer.
            if stream is None or (isinstance(error, StreamEnded) and error.partial):
                raise
        return await self._measure(connection, idle, None)

    async def _measure(self, connection: LiveConnection, idle: IdlePingStream, stream: LiveStream | None) -> float:
        if stream is None:
            stream = await connection.open_stream(PING)
        message = os.urandom(SIZE)
        try:
            start = perf_counter()
            await stream.write(message)
            answer = await stream.readexactly(SIZE)
            took = perf_counter() - start
            if answer != message:
                raise Malformed("the ping came back as other bytes", peer=connection.peer)
        except BaseException:
            stream.reset()  # or the next ping would be given the answer to this one
            raise
        if connection.closed:
            return took
        idle.stream = stream
        idle.timer = self._swarm.loop.call_later(KEEP, idle.close)
        return took

    async def _answer(self, stream: LiveStream) -> None:
        """Answer pings until the peer ends the stream or is silent for too long."""
        peer = stream.peer
        if not self._serving.take(peer):
            stream.reset(Reset.RESOURCE_LIMIT)
            return
        served = 0
        try:
            while True:  # js ends its side with a last ping
                async with asyncio.timeout(IDLE):
                    await stream.write(await stream.readexactly(SIZE))
                served += 1
                if not served % TOGETHER:
                    await asyncio.sleep(0)
        except (StreamEnded, TimeoutError):
            pass
        finally:
            self._serving.give_back(peer)

    def disconnected(self, connection: LiveConnection) -> None:
        idle = self._idle_streams.pop(connection, None)
        if idle is not None:
            idle.close()
