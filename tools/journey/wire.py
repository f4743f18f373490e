"""A wire whose two ends record what each side writes, and when, in one-way trips.

Time on it stands still while the sides work: a segment arrives after both have said all that they could say without
it. So the recording shows what waits for what, and is the same in each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from multiaddr import Multiaddr

from stronghold_p2p.seams import NOBODY, WireUser

T = TypeVar("T")

TURNS: Final = 64
"""Turns of the event loop that the sides get before anything arrives: far more than any answer takes."""


class Side(Enum):
    """Who speaks."""

    DIALER = "dialer"
    LISTENER = "listener"

    @property
    def other(self) -> Side:
        """The side that hears it."""
        return Side.LISTENER if self is Side.DIALER else Side.DIALER


@dataclass(frozen=True, slots=True)
class Segment:
    """What one write put on the wire. ``sent`` counts one-way trips since the dialer's first byte."""

    number: int
    sender: Side
    sent: int
    data: bytes


class Wire:
    """Two ends and what is under way between them."""

    def __init__(self) -> None:
        self.now = 0
        self.segments: list[Segment] = []
        self._under_way: list[tuple[Side, bytes | None]] = []
        self._ends: dict[Side, End] = {}

    def end(self, side: Side, local: Multiaddr, remote: Multiaddr, host: str) -> End:
        """The end of one side."""
        self._ends[side] = End(self, side, local, remote, host)
        return self._ends[side]

    def send(self, sender: Side, data: bytes | None) -> None:
        """Put a segment under way; None: the end of this direction."""
        if data is not None:
            self.segments.append(Segment(len(self.segments) + 1, sender, self.now, data))
        self._under_way.append((sender.other, data))

    async def carry(self, talk: Coroutine[Any, Any, T]) -> T:
        """Run ``talk`` and deliver what it writes, until it ends."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(talk)
        try:
            while not task.done():
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                loop.call_soon(self._deliver)  # as from a socket: from the loop itself, not from a task
            return await task
        finally:
            task.cancel()

    def _deliver(self) -> None:
        arriving, self._under_way = self._under_way, []
        self.now += bool(arriving)
        for receiver, data in arriving:
            self._ends[receiver].arrived(data)


class End:
    """What one side has of it (``seams.Wire``). Nothing is ever buffered on the way."""

    congested = False
    unsent = delivered = 0

    def __init__(self, wire: Wire, side: Side, local: Multiaddr, remote: Multiaddr, host: str) -> None:
        self._wire = wire
        self._side = side
        self._kept = b""
        self._paused = self._finished = False
        self.lost = False
        self.local, self.remote = local, remote
        self.host: str | None = host
        self.user: WireUser = NOBODY

    @property
    def partial(self) -> bool:
        return bool(self._kept)

    def arrived(self, data: bytes | None) -> None:
        """Hand what arrived to the user, as a socket would."""
        if data is None:
            self.abort()
        else:
            self._kept += data
            self._deliver()

    def _deliver(self) -> None:
        while self._kept and not self._paused and not self.lost:
            user = self.user
            self._kept = self._kept[user.received(memoryview(self._kept)) :]
            if self.user is user:
                break

    def write(self, data: bytes | memoryview) -> None:
        if data and not self.lost:
            self._wire.send(self._side, bytes(data))

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        asyncio.get_running_loop().call_soon(self._deliver)

    def finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._wire.send(self._side, None)

    def abort(self) -> None:
        if not self.lost:
            self.lost = True
            self.finish()
            user, self.user = self.user, NOBODY
            asyncio.get_running_loop().call_soon(user.ended, None)
