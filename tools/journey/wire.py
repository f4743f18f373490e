"""A wire between two links that records what each side writes, and when, in one-way trips.

Time on it stands still while the sides work: a segment arrives after both have said all that they could say without
it. So the recording shows what waits for what, and is the same in each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from stronghold_p2p.transport.socket_wire import Inbox, Link

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

    def link(self, side: Side, address: tuple[str, int], remote: tuple[str, int]) -> Link:
        """The link of one side, connected."""
        link = Link(Inbox(), lambda _: None)
        self._ends[side] = End(self, side, link, address, remote)
        link.connection_made(self._ends[side])
        return link

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


class End(asyncio.Transport):
    """One side's transport."""

    def __init__(self, wire: Wire, side: Side, link: Link, address: tuple[str, int], remote: tuple[str, int]) -> None:
        super().__init__({"sockname": address, "peername": remote})
        self._wire = wire
        self._side = side
        self._link = link
        self._finished = False
        self._closing = False

    def arrived(self, data: bytes | None) -> None:
        """Hand what arrived to the link, as a socket would."""
        if self._closing:
            return
        if data is None:
            self._link.eof_received()
            self.close()
            return
        self._link.get_buffer(len(data))[: len(data)] = data
        self._link.buffer_updated(len(data))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self._wire.send(self._side, bytes(data))

    def write_eof(self) -> None:
        if not self._finished:
            self._finished = True
            self._wire.send(self._side, None)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.write_eof()
            asyncio.get_running_loop().call_soon(self._link.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nobody is flooded here."""

    def resume_reading(self) -> None:
        """Reading is never paused."""
