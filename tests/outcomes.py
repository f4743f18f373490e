"""Hostile row 70: two peers ask each other while their connection is killed; who is told what, in any order of events.

    python -m tests.outcomes [seed]

kills the connection in each way at each step of 100 requests in flight; tests/test_outcomes.py does so in one way
after the other. Every request has exactly one end at its requester, and exactly one at its responder
if it came there.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed, MuxerError, P2PError
from stronghold_p2p.events.events import Event, RequestFailed
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD
from stronghold_p2p.request_response.server import Request, Server
from stronghold_p2p.swarm.swarm import Swarm
from tests.inside import muxer, wire
from tests.peers import swarm, until

TOGETHER: Final = 100


def violation(connection: LiveConnection) -> None:
    muxer(connection)._failed(MuxerError("a broken frame", code=1))


def lost_socket(connection: LiveConnection) -> None:
    wire(connection).transport.abort()


Kill = Callable[[LiveConnection], None]
WAYS: Final[tuple[Kill, ...]] = (LiveConnection.abort, LiveConnection.shut, lost_socket, violation)
# Each at either end.
KILLS: Final = [(way, side) for way in WAYS for side in (0, 1)]


@dataclass
class Side:
    """A peer: what it was asked, by the number of the request, and how that has ended here."""

    swarm: Swarm
    ids: list[int] = field(default_factory=list)
    delivered: Counter[int] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    gates: dict[int, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = Client(self.swarm)
        self.server = Server(self.swarm)
        self.server.serve(STRONGHOLD, self.answer)
        self.swarm.hub.on_event(self.note)

    async def answer(self, request: Request[int]) -> int:
        self.ids.append(request.id)
        self.delivered[request.message] += 1
        await self.gates[request.message].wait()
        self.answered[request.message] += 1
        return request.message

    def note(self, event: Event) -> None:
        if isinstance(event, RequestFailed):
            assert isinstance(event.error, P2PError), event
            self.failed[event.request.message] += 1


class Play:
    """``begin`` requests, ``release`` or ``cancel`` them, ``kill`` the connection, in any order; then ``finish``."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self.sides: list[Side] = []
        self.calls: dict[int, tuple[int, asyncio.Task[Any]]] = {}
        self.ends: Counter[str] = Counter()
        self._next = 0

    async def start(self) -> None:
        self.sides = [Side(await self._stack.enter_async_context(swarm(seed, Rule.ALLOW))) for seed in (1, 2)]
        for side in self.sides:
            side.swarm.book.add(self._other(side).swarm.peer_id, self._other(side).swarm.addresses[0])

    def _other(self, side: Side) -> Side:
        return self.sides[1 - self.sides.index(side)]

    async def connect(self) -> None:
        await self.sides[0].swarm.dial(self.sides[1].swarm.peer_id)
        await until(lambda: self.sides[1].swarm.connections())

    async def begin(self, asker: int) -> None:
        number, self._next = self._next, self._next + 1
        for side in self.sides:
            side.gates[number] = asyncio.Event()
        client, to = self.sides[asker].client, self.sides[1 - asker].swarm.peer_id
        call = client.request(to, (), number, STRONGHOLD, timeout=None)
        self.calls[number] = (asker, asyncio.ensure_future(call))

    def release(self, number: int) -> None:
        self.sides[1 - self.calls[number][0]].gates[number].set()

    def cancel(self, number: int) -> None:
        self.calls[number][1].cancel()

    async def kill(self, way: Kill, side: int) -> None:
        for connection in self.sides[side].swarm.connections():
            way(connection)

    async def finish(self) -> None:
        """Release what is left, and look at both ends of each request."""
        for number in self.calls:
            self.release(number)
        await asyncio.gather(*(task for _, task in self.calls.values()), return_exceptions=True)
        await until(self._quiet)
        for number, (asker, task) in self.calls.items():
            self._judge(number, task, self.sides[1 - asker])
        assert all(len(set(side.ids)) == len(side.ids) for side in self.sides), "an id was used twice"
        self.calls.clear()

    def _quiet(self) -> bool:
        ours, theirs = (side.swarm.connections() for side in self.sides)
        taken = [places.total for side in self.sides for places in (side.client.places, side.server.places)]
        streams = [connection.streams for connection in (*ours, *theirs)]
        return len(ours) == len(theirs) and not any(taken) and not any(streams)

    def _judge(self, number: int, task: asyncio.Task[Any], responder: Side) -> None:
        delivered, answered, failed = (
            counts[number] for counts in (responder.delivered, responder.answered, responder.failed)
        )
        assert delivered <= 1, f"request {number} came {delivered} times"
        assert delivered == failed + answered - (failed and answered), f"request {number}: {failed=} {answered=}"
        assert failed <= 1, f"request {number} failed {failed} times"
        if task.cancelled():
            self.ends["cancelled"] += 1
            return
        error = task.exception()
        ended = ConnectionClosed.__name__ if isinstance(error, ConnectionClosed) else type(error).__name__
        self.ends["answered" if error is None else ended] += 1
        if error is None:
            assert task.result() == number, "somebody else's answer"
            assert (delivered, answered, failed) == (1, 1, 0)
        else:
            assert isinstance(error, ConnectionClosed), repr(error)
            assert error.sent or not delivered, f"request {number} was delivered, and is said not to be"
            assert error.peer == responder.swarm.peer_id

    async def close(self) -> None:
        await self._stack.aclose()


def script(seed: int) -> list[tuple[str, int]]:
    """100 requests, both ways, all in flight before the first is released; then in another order."""
    chance = random.Random(seed)
    begins = [("begin", number % 2) for number in range(TOGETHER)]
    releases = [("release", number) for number in range(TOGETHER)]
    chance.shuffle(begins)
    chance.shuffle(releases)
    return begins + [("turn", 0)] * 5 + releases + [("turn", 0)] * 5


async def round_of(play: Play, steps: list[tuple[str, int]], at: int, kill: tuple[Kill, int]) -> None:
    """All ``steps``, and ``kill`` before that with number ``at``."""
    await play.connect()
    first = play._next
    for number, (what, which) in enumerate(steps):
        if number == at:
            await play.kill(*kill)
        if what == "begin":
            await play.begin(which)
        elif what == "release":
            play.release(first + which)
        if what == "turn" or number % 3 == 0:  # else several things happen in one turn of the loop
            await asyncio.sleep(0)
    await play.finish()


async def exhaust(seed: int, kills_per_step: int) -> Play:
    """A kill at each step, in ``kills_per_step`` of the ways."""
    play, steps = Play(), script(seed)
    await play.start()
    try:
        turn = 0
        for at in range(len(steps) + 1):
            for _ in range(kills_per_step):
                await round_of(play, steps, at, KILLS[turn % len(KILLS)])
                turn += 1
    finally:
        await play.close()
    return play


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    start = time.monotonic()
    play = asyncio.run(exhaust(seed, len(KILLS)))
    told = ", ".join(f"{count:,} {what}" for what, count in play.ends.most_common())
    steps = len(script(seed)) + 1
    took = time.monotonic() - start
    print(f"{len(KILLS)} kills at each of {steps} steps of {TOGETHER} requests in flight, {took:.0f} s:")
    print(f"{told}; one end each, at each end")


if __name__ == "__main__":
    main()
