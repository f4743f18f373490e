"""The program under test: a ``Network`` that listens and dials, with limits and timeouts as a user has them.

    python -m tests.hostile.node [--listen HOST] [--ws] [--lifted] [--closed] [--rules FILE] [--book FILE]
                               [--protocols N] [--count-loopback] [settings]

JSON lines on its standard input are the commands, each a method of ``Node`` or ``Guard``. ``--lifted`` takes the limits
away that a measurement would run into, ``--count-loopback`` counts sources of this machine, too; ``--closed`` lets in
nobody before there are rules. The settings are those of tests/hostile/settings.py; what takes checks away holds from
one ``toggle`` to the next.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from harness.contract import ECHO, LIFTED, RR, answer, answer_echo
from stronghold_p2p import (
    JSON,
    Event,
    LimitExceeded,
    Limits,
    Network,
    Opened,
    P2PError,
    PeerId,
    Request,
    RequestFailed,
    RequestProtocol,
    Stream,
)
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.protocols import perf
from stronghold_p2p.streams.live import LiveStream
from tests.hostile import settings, weak
from tests.hostile.guard import Guard, Result
from tests.hostile.names import ASK, HOLD

PROTOCOL: Final[RequestProtocol[Any, Any]] = RequestProtocol(ASK, request=JSON, response=JSON)
KEPT: Final = 200  # futures of requests that are over


async def hold(_stream: Stream) -> None:
    """Never read, until the stream ends."""
    await asyncio.Event().wait()


def told(event: Event) -> str:
    """An event in words: its kind, its error, the limit that was full."""
    error = getattr(event, "error", None)
    limit = error.limit if isinstance(error, LimitExceeded) else None
    words = [type(event).__name__, type(error).__name__ if error is not None else None, limit]
    return " ".join(filter(None, words))


class Answering:
    """``{"Hold": n}`` is answered when ``{"Answer": n}`` comes, ``{"Sleep": s}`` later, all else at once."""

    def __init__(self) -> None:
        self._held: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        # Requests that came, how many had an id above all before, and how they have ended here.
        self.counts = dict.fromkeys(("delivered", "fresh", "answered", "failed"), 0)

    async def answer(self, request: Request[Any]) -> Any:
        self.counts["delivered"] += 1
        self.counts["fresh"] += request.id > self._last_id
        self._last_id = max(self._last_id, request.id)
        match request.message:
            case {"Hold": number}:
                if len(self._held) > KEPT:
                    del self._held[next(iter(self._held))]
                self._held[number] = asyncio.get_running_loop().create_future()
                answer = await self._held[number]
            case {"Sleep": seconds}:
                await asyncio.sleep(seconds)
                answer = seconds
            case {"Answer": number, "thread": True}:
                settle = asyncio.get_running_loop().call_soon_threadsafe
                answer = await asyncio.to_thread(settle, self._held[number].set_result, "from a thread") is not None
            case {"Answer": number}:
                answer = [self._answer_once(number, attempt) for attempt in range(2)]
            case answer:
                pass
        self.counts["answered"] += 1
        return answer

    def _answer_once(self, number: int, attempt: int) -> str:
        try:
            self._held[number].set_result(attempt)
        except asyncio.InvalidStateError as error:
            return type(error).__name__
        return "answered"


class Node(Guard):
    """The other commands."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options, replace(LIFTED if options.lifted else Limits(), **options.limits))
        self.swarm = self.network._swarm
        self.swarm.gate._exempt_loopback = not options.count_loopback
        self.network.protected.update(map(PeerId, options.protect))
        self.answering = Answering()
        self.seen: Counter[str] = Counter()
        self.racing: Callable[[Event], None] | None = None
        self.streams: list[LiveStream] = []
        self.network.on_request(PROTOCOL)(self.answering.answer)
        for protocol, handler in ((perf.PERF, perf.serve), (RR, answer), (ECHO, answer_echo), (HOLD, hold)):
            self.network.on_stream(protocol)(handler)
        self.swarm.hub.on_event(self._note)
        self._options, self._weakened = options, False

    def _note(self, event: Event) -> None:
        self.seen[told(event)] += 1
        if self.racing is not None:
            self.racing(event)
        self.answering.counts["failed"] += isinstance(event, RequestFailed)

    def toggle(self) -> None:
        """Take away what ``--without`` and ``--counters`` say, or give it back."""
        self._weakened = not self._weakened
        if self._weakened:
            settings.weaken(self._options)
        else:
            weak.restore()

    # ------------------------------------------------------------------ what it is told to do

    async def dial(self, addrs: list[str], peer: str | None = None) -> Result:
        found = await self.swarm.dial(None if peer is None else PeerId(peer), [parse(text) for text in addrs])
        return {"peer": str(found.peer), "remote": str(found.remote_address)}

    async def request(self, protocols: list[str], write: str = "", *, close: bool = False) -> Result:
        """A stream, ``write``, and all that comes back; ``close``: closed at once instead."""
        stream = await self._connection().open_stream(*protocols)
        async with stream:
            await stream.write(write.encode())
            if close:
                stream.close()
                return {}
            stream.finish()
            return {"got": (await stream.read_to_end()).hex()}

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

        return Counter(await asyncio.gather(*(one() for _ in range(count))))

    async def forget(self) -> None:
        """Close the streams that are kept, too."""
        for stream in self.streams:
            stream.close()
        self.streams.clear()
        await super().forget()

    async def ask(
        self, message: Any, count: int = 1, timeout: float | None = 5.0, *, times: int = 1, insist: bool = False
    ) -> Result:
        """``count`` requests at once, each of ``times`` the text ``message``, and how they have ended.

        ``insist``: who is one too many asks again after a while.
        """
        refused, to = 0, self._connection().peer
        patience = max(1.0, count / 150)  # fewer refusals a second than ``RESET_RATE``
        message = message * times if times > 1 else message

        async def one() -> str:
            nonlocal refused
            while True:
                try:
                    return repr(await self.network.request(to, message, PROTOCOL, timeout=timeout))
                except LimitExceeded as error:
                    refused += 1
                    if not insist:
                        return f"LimitExceeded {error.remote}"
                    await asyncio.sleep(random.uniform(0.1, patience))
                except P2PError as error:
                    return type(error).__name__

        outcomes = Counter(outcome[:60] for outcome in await asyncio.gather(*(one() for _ in range(count))))
        return {"outcomes": outcomes, "refused": refused, "taken": self.network.stats()["requests_out"]}

    async def races(self, count: int) -> Result:
        """Dials whose time-out fires in the turn in which they succeed, in one of the next, or at about that time.

        How each has ended, and what was told of it.
        """
        ended: Counter[str] = Counter()
        async with Network(listen=["/ip4/127.0.0.1/tcp/0"]) as friend:
            for number in range(count):
                ended[await self._race(friend, number % 16)] += 1
        return {"ended": ended}

    async def _race(self, friend: Network, turns: int) -> str:
        loop, seen = asyncio.get_running_loop(), Counter[str]()
        early = random.uniform(0.0, 0.005) if turns > 12 else 5.0

        def over(left: int) -> None:
            if left:
                loop.call_soon(over, left - 1)
            elif self.racing is note:
                scope.reschedule(loop.time())

        def count(event: Event) -> None:
            seen[type(event).__name__] += 1

        def note(event: Event) -> None:
            count(event)
            if isinstance(event, Opened) and turns <= 12:
                over(turns)

        self.racing, connection = note, None
        try:
            async with asyncio.timeout(early) as scope:
                try:
                    connection = await self.network.connect(friend.addresses[0])
                finally:
                    self.racing = count
        except TimeoutError:
            pass
        for _ in range(30):
            await asyncio.sleep(0)
        how = "timed out" if connection is None else "returned" if not connection.closed else "returned closed"
        left = len(self.network.connections(friend.peer_id)) - (connection is not None)
        told = [seen[name] for name in ("Opened", "Ended", "DialFailed")]
        self.racing = None
        if connection is not None:
            await connection.close()
        return " ".join(map(str, (how, *told, left)))

    async def ping(self) -> Result:
        return {"took": await self.network.ping(self._connection().peer, timeout=2.0)}

    async def heard(self, peer: str | None = None) -> Result:
        """What mDNS knows: of how many peers, for how long at most, and where this one is."""
        table, now = self.network._mdns._mdns._table, self.swarm.loop.time()  # type: ignore[union-attr]
        ends = [said.until - now for entry in table._entries.values() for said in entry.places.values()]
        most = max((len(entry.places) for entry in table._entries.values()), default=0)
        where = [] if peer is None else [str(address) for address in table.addresses(PeerId(peer))]
        return {"peers": len(table), "longest": max(ends, default=0.0), "most": most, "where": where}

    async def hang_up(self) -> None:
        """Close all connections."""
        for connection in self.swarm.connections():
            await connection.close()

    def _connection(self) -> LiveConnection:
        return self.swarm.connections()[0]

    # ------------------------------------------------------------------ what it tells

    async def info(self) -> Result:
        """What the peer has told, and what is stored about others."""
        told, book = self.network._identify.info(self._connection().peer), self.swarm.book
        return {
            "known": told is not None,
            "agent": "" if told is None else told.agent,
            "protocols": 0 if told is None else len(told.protocols),
            "addresses": [] if told is None else [str(address) for address in told.addresses],
            "record": told is not None and told.record is not None,
            "book": {str(other): list(map(str, book.addresses(other))) for other in book.peers()},
        }

    def state(self, *, collect: bool = False) -> Result:
        """What has happened, and what is left: connections, sockets, tasks, counts."""
        if collect:
            gc.collect()
        return {
            "seen": self.seen,
            "connections": len(self.swarm.connections()),
            "tasks": len(asyncio.all_tasks()),
            "files": len(os.listdir("/proc/self/fd")),
            "known": [str(peer) for peer in self.swarm.book.peers()[:100]],
            **self.network.stats(),
            **self.answering.counts,
            **self.guarded(),
        }


async def main(options: argparse.Namespace) -> None:
    node = Node(options)
    ready = {"peer": str(node.network.peer_id)}
    async with node.network:
        watching = asyncio.create_task(node.watch()) if options.closed else None
        if options.mdns:
            await node.network._mdns._opening  # type: ignore[union-attr]  # its sockets are there from the start
        if options.listen is not None:
            kind = "ip6" if ":" in options.listen else "ip4"
            await node.network.listen(f"/{kind}/{options.listen}/tcp/{options.port}")
            ready["addr"] = str(node.swarm.addresses[0])
            if options.ws:
                listener = await node.network.listen(f"/{kind}/{options.listen}/tcp/0/ws")
                ready["ws"] = str(listener.addresses[0])
            if options.tls is not None:
                listener = await node.network.listen(f"/{kind}/{options.listen}/tcp/0/tls/ws")
                ready["wss"] = str(listener.addresses[0])
        await settings.obey(node, **ready)
        if watching is not None:
            watching.cancel()


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", metavar="HOST")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rules", type=Path)
    parser.add_argument("--protocols", type=int, default=0, help="so many more for requests")
    parser.add_argument("--book", type=Path)
    parser.add_argument("--tls", type=Path, help="the certificate and key of a further listener, for secure WebSocket")
    for flag in ("--closed", "--lifted", "--count-loopback", "--ws", "--mdns"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--protect", action="append", default=[], metavar="PEER")


if __name__ == "__main__":
    asyncio.run(main(settings.parsed("node", add=add)))
