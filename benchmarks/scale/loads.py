"""What the clients do to the server: stay, come and go, and ask much. Each returns counts, and judges nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from benchmarks.scale.server import CUT, HASH, ID_BYTES, PATIENT
from harness.peer import transfer
from stronghold_p2p import ConnectionClosed, Ended, Event, Network, PeerId
from stronghold_p2p.protocols import perf

TOGETHER: Final = 500  # peers that are made before they come: all at once would keep the collector busy
WRITE: Final = 65_536  # bytes of one write in bulk
PAYLOAD: Final = 56  # bytes behind the number of a request
TURNS: Final = 12  # a request is cancelled at most so many turns of the loop after it began, or
DELAY: Final = 0.004  # so many seconds: within what one takes when 64 run


def body_of(number: int) -> bytes:
    return number.to_bytes(ID_BYTES, "big") + os.urandom(PAYLOAD)


async def ask(network: Network, to: PeerId | str, number: int) -> bool:
    """One request; whether the answer is the hash of it."""
    body = body_of(number)
    return await network.request(to, body, HASH) == hashlib.sha256(body).digest()


async def together(work: Callable[[int], Awaitable[None]], numbers: Iterable[int], at_once: int) -> float:
    """``work`` with each of ``numbers``, ``at_once`` at a time; seconds."""
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            await work(number)

    began = perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return perf_counter() - began


def count(failed: dict[str, int], error: Exception) -> None:
    told = f"{type(error).__name__}: {error}"
    failed[told] = failed.get(told, 0) + 1


class Crowd:
    """Peers that connect, are identified, and stay: each a network of its own, with a key of its own."""

    def __init__(self) -> None:
        self.networks: list[Network] = []

    async def come(self, address: str, count: int, at_once: int) -> float:
        """``count`` more; seconds until all are connected."""

        async def one(_: int) -> None:
            network = await Network(timeouts=PATIENT).__aenter__()
            self.networks.append(network)
            await network.connect(address)

        return await together(one, range(count), at_once)

    async def bulk(self, up: int, down: int) -> float:
        """Each sends and takes so many bytes on one stream, all at the same time; seconds."""
        began = perf_counter()
        await asyncio.gather(*(self._transfer(network, up, down) for network in self.networks))
        return perf_counter() - began

    async def _transfer(self, network: Network, up: int, down: int) -> None:
        async with network.open_stream(network.connections()[0].peer, perf.PERF) as stream:
            await transfer(stream, up, down, WRITE)

    async def leave(self) -> float:
        """All at once; seconds."""
        networks, self.networks = self.networks, []
        began = perf_counter()
        await asyncio.gather(*(network.__aexit__(None, None, None) for network in networks))
        return perf_counter() - began


@dataclass
class Visits:
    """How connects with one request each have ended."""

    seconds: float = 0.0
    right: int = 0
    wrong: int = 0
    failed: dict[str, int] = field(default_factory=dict)


async def visits(address: str, total: int, at_once: int) -> Visits:
    """``total`` fresh peers, each of which connects, asks once and leaves. Making their keys is not timed."""
    outcome = Visits()

    async def one(number: int) -> None:
        try:
            async with networks.pop() as network:
                if await ask(network, address, number):
                    outcome.right += 1
                else:
                    outcome.wrong += 1
        except Exception as error:
            count(outcome.failed, error)

    for first in range(0, total, TOGETHER):
        numbers = range(first, min(total, first + TOGETHER))
        networks = [Network(timeouts=PATIENT) for _ in numbers]
        outcome.seconds += await together(one, numbers, at_once)
    return outcome


@dataclass
class Requests:
    """How requests have ended. Of those to be given up the ``late`` ones were answered before.

    ``cut``: ended by ``ConnectionClosed``, and were in flight when one of the ``ends`` of a connection came.
    """

    seconds: float = 0.0
    right: int = 0
    wrong: int = 0
    late: int = 0
    cancelled: int = 0
    cut: int = 0
    ends: int = 0
    failed: dict[str, int] = field(default_factory=dict)


async def requests(
    address: str, total: int, parallel: int, connections: int, share: float, cuts: int = 0, seed: int = 1
) -> Requests:
    """``total`` requests, ``parallel`` at a time over ``connections``; a ``share`` of them is given up.

    ``cuts`` times, all along, one of the connections is ended, by either side and in each way that there is.
    """
    outcome = Requests()
    chance = random.Random(seed)
    given_up = set(chance.sample(range(total), round(total * share)))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Network(timeouts=PATIENT)) for _ in range(connections)]
        peers = [(await client.connect(address)).peer for client in clients]
        cutters = [Cutter(client, peer, follow=cuts > 0) for client, peer in zip(clients, peers, strict=True)]
        due = {total * (number + 1) // (cuts + 1): number for number in range(cuts)}

        async def one(number: int) -> None:
            cutter = cutters[number % connections]
            if number in due:
                cutter.cut(due[number])
            try:
                right = await (_given_up(cutter.ask(number), chance) if number in given_up else cutter.ask(number))
            except ConnectionClosed as error:
                if number in cutter.struck and error.peer == peers[number % connections]:
                    outcome.cut += 1
                else:
                    count(outcome.failed, error)
                return
            except Exception as error:
                count(outcome.failed, error)
                return
            outcome.cancelled += right is None
            outcome.late += number in given_up and right is not None
            outcome.right += right is True
            outcome.wrong += right is False

        outcome.seconds = await together(one, range(total), parallel)
        outcome.ends = sum(cutter.ends for cutter in cutters)
        await asyncio.gather(*(task for cutter in cutters for task in cutter.asked))
    return outcome


class Cutter:
    """Ends the connection of one client, and knows which of its requests were in flight whenever it ended."""

    def __init__(self, network: Network, peer: PeerId, *, follow: bool) -> None:
        self._network = network
        self._peer = peer
        self._in_flight: set[int] = set()
        self.struck: set[int] = set()
        self.ends = 0
        self.asked: list[asyncio.Task[None]] = []
        if follow:  # events cost each request a judgement that is told
            network.on_event(self._note)

    async def ask(self, number: int) -> bool:
        self._in_flight.add(number)
        try:
            return await ask(self._network, self._peer, number)
        finally:
            self._in_flight.remove(number)

    def _note(self, event: Event) -> None:
        if isinstance(event, Ended):
            self.ends += 1
            self.struck |= self._in_flight

    def cut(self, number: int) -> None:
        """One way after the other: we or the server abort or say goodbye, or the socket is lost."""
        (connection, *_) = self._network._swarm.connections(self._peer)
        wire: Any = connection._muxer._wire  # type: ignore[attr-defined]
        ways: list[Callable[[], object]] = [
            connection.abort,
            connection.shut,
            wire.transport.abort,
            lambda: self.asked.append(asyncio.create_task(self._have_it_cut(b"abort"))),
            lambda: self.asked.append(asyncio.create_task(self._have_it_cut(b"shut"))),
        ]
        ways[number % len(ways)]()

    async def _have_it_cut(self, how: bytes) -> None:
        try:
            await self._network.request(self._peer, how, CUT)
        except ConnectionClosed:
            return
        raise AssertionError("the server did not end the connection")


async def _given_up(asking: Coroutine[Any, Any, bool], chance: random.Random) -> bool | None:
    """Cancel it after some turns of the loop, or some time. None: it was cancelled before it was answered."""
    task = asyncio.create_task(asking)
    if chance.random() < 0.5:
        for _ in range(chance.randrange(TURNS)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(chance.random() * DELAY)
    task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() else task.result()
