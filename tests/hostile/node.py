"""The program under test as a swarm that listens and dials, with limits and timeouts as a user has them.

    python -m tests.hostile.node [--listen HOST] [--lifted] [--count-loopback] [--protect PEER] [settings]

JSON lines on its standard input are the commands, each a method of ``Node``. ``--lifted`` takes the limits away that a
measurement would run into, ``--count-loopback`` counts sources of this machine, too. The settings are those of
tests/hostile/settings.py; what takes checks away holds from one ``toggle`` to the next.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import threading
from collections import Counter
from dataclasses import replace
from typing import Any, Final

from harness.below import of_face
from harness.contract import ECHO, LIFTED, RR, answer, answer_echo
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded, P2PError
from stronghold_p2p.events.events import Event, RequestFailed
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.protocols import perf
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.protocols.ping import Ping
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import JSON
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
from stronghold_p2p.request_response.server import Request, Server
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests.hostile import settings, weak
from tests.hostile.names import ASK, HOLD

Result = dict[str, Any]
PROTOCOL: Final[RequestProtocol[Any, Any]] = RequestProtocol(ASK, request=JSON, response=JSON)
KEPT: Final = 200  # futures of requests that are over


async def hold(_stream: LiveStream) -> None:
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
                answer = await self._answer_from_a_thread(number)
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

    async def _answer_from_a_thread(self, number: int) -> bool:
        loop, held = asyncio.get_running_loop(), self._held[number]
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(held.set_result, "from a thread"))
        thread.start()
        await asyncio.to_thread(thread.join)
        return True


class Node:
    """One swarm, and a method for each command."""

    def __init__(self, options: argparse.Namespace) -> None:
        firewall = Firewall()
        firewall.set(Rule.ALLOW)
        limits = replace(LIFTED if options.lifted else Limits(), **options.limits)
        self.swarm = Swarm(Identity(), firewall=firewall, timeouts=options.timeouts, limits=limits)
        self.swarm.gate._exempt_loopback = not options.count_loopback
        self.swarm.protected |= set(map(PeerId, options.protect))
        self.identify = Identify(self.swarm, "hostile")
        self.pinging = Ping(self.swarm)
        self.client = Client(self.swarm)
        self.answering = Answering()
        self.seen: Counter[str] = Counter()
        self.streams: list[LiveStream] = []
        Server(self.swarm).serve(PROTOCOL, self.answering.answer)
        for protocol, handler in ((perf.PERF, perf.serve), (RR, answer), (ECHO, answer_echo)):
            self.swarm.handle(protocol, of_face(handler))
        self.swarm.handle(HOLD, hold)
        self.swarm.hub.on_event(self._note)
        self._options, self._weakened = options, False
        self.swarm.start()

    def _note(self, event: Event) -> None:
        self.seen[told(event)] += 1
        self.answering.counts["failed"] += isinstance(event, RequestFailed)

    def toggle(self) -> Result:
        """Take away what ``--without`` and ``--counters`` say, or give it back."""
        self._weakened = not self._weakened
        if self._weakened:
            settings.weaken(self._options)
        else:
            weak.restore()
        return {"weakened": self._weakened}

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

    async def forget(self) -> Result:
        """Close the streams that are kept."""
        for stream in self.streams:
            stream.close()
        self.streams.clear()
        return {}

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
                    return repr(await self.client.request(to, (), message, PROTOCOL, timeout=timeout))
                except LimitExceeded as error:
                    refused += 1
                    if not insist:
                        return f"LimitExceeded {error.remote}"
                    await asyncio.sleep(random.uniform(0.1, patience))
                except P2PError as error:
                    return type(error).__name__

        outcomes = Counter(outcome[:60] for outcome in await asyncio.gather(*(one() for _ in range(count))))
        return {"outcomes": outcomes, "refused": refused, "taken": self.client.places.total}

    async def ping(self) -> Result:
        return {"took": await self.pinging.ping(self._connection(), timeout=2.0)}

    async def hang_up(self) -> Result:
        """Close all connections."""
        for connection in self.swarm.connections():
            await connection.close()
        return {}

    def _connection(self) -> Any:
        return self.swarm.connections()[0]

    # ------------------------------------------------------------------ what it tells

    async def info(self) -> Result:
        """What the peer has told, and what is stored about others."""
        told, book = self.identify.info(self._connection().peer), self.swarm.book
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
        known, gate = self.swarm.book.peers(), self.swarm.gate.snapshot()
        return {
            "seen": self.seen,
            "connections": len(self.swarm.connections()),
            "tasks": len(asyncio.all_tasks()),
            "files": len(os.listdir("/proc/self/fd")),
            "gate": sum(gate.values()),
            "known_peers": len(known),
            "known": [str(peer) for peer in known[:100]],
            **gate,
            **self.swarm.pool.snapshot(),
            **self.answering.counts,
        }


async def main(options: argparse.Namespace) -> None:
    node = Node(options)
    ready = {"peer": str(node.swarm.peer_id)}
    try:
        if options.listen is not None:
            kind = "ip6" if ":" in options.listen else "ip4"
            listener = await node.swarm.listen(parse(f"/{kind}/{options.listen}/tcp/0"))
            ready["addr"] = str(listener.addresses[0])
        await settings.obey(node, **ready)
    finally:
        await node.identify.close()
        await node.swarm.close()


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", metavar="HOST")
    parser.add_argument("--lifted", action="store_true")
    parser.add_argument("--count-loopback", action="store_true")
    parser.add_argument("--protect", action="append", default=[], metavar="PEER")


if __name__ == "__main__":
    asyncio.run(main(settings.parsed("node", add=add)))
