"""Both ends of ``benchmarks.compare``: one file that runs unchanged over any checkout of the package.

    PYTHONPATH=CHECKOUT python -P ends.py serve
    PYTHONPATH=CHECKOUT python -P ends.py client --addr ADDRESS --measure seq --seconds 1.5

It imports nothing of this repository but the public face of ``stronghold_p2p``, so that an old commit and a new one are
measured by the same program. Limits and timeouts are those of a user, but for busy polling, which is off. Each prints
one JSON line on standard output. The server stays until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import stronghold_p2p
from stronghold_p2p import STRONGHOLD, Connection, Identity, Network, Request, Rule, Stream, Timeouts

CLIENT = Identity.from_seed(b"the client of the comparison".ljust(32))
TAKE, GIVE, ECHO, ANSWER, USED = (f"/compare/{name}/1" for name in ("take", "give", "echo", "answer", "used"))

CHUNK = bytes(1 << 16)
MESSAGE = {"Text": "0123456789abcdef" * 4}
BODY = json.dumps(MESSAGE, separators=(",", ":")).encode()
AT_ONCE = 32
PACKAGE = str(Path(stronghold_p2p.__file__).resolve().parent)
WARM_UP = 0.2  # of the seconds that are measured

Figure = tuple[float, float]
"""How many of what is counted in a second, and how many there were."""


def network(**options: Any) -> Network:
    return Network(timeouts=Timeouts(busy_poll=None), **options)


def used() -> float:
    """Seconds of processor time that this process has taken."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# ---------------------------------------------------------------------- the server


def serving() -> Network:
    server = network(listen=["/ip4/127.0.0.1/tcp/0"])
    for protocol in (TAKE, GIVE, ECHO, ANSWER, USED):
        server.firewall.set(Rule.ALLOW, protocol=protocol)
    server.firewall.set(Rule.ALLOW, peer=CLIENT.peer_id, protocol=STRONGHOLD.ids[0])

    @server.on_stream(TAKE)
    async def take(stream: Stream) -> None:
        """Count what comes, and tell at its end."""
        count = 0
        async for chunk in stream:
            count += len(chunk)
        await stream.write(count.to_bytes(8, "big"))

    @server.on_stream(GIVE)
    async def give(stream: Stream) -> None:
        """Write for as many seconds as are asked for."""
        await fill(stream, *struct.unpack(">d", await stream.readexactly(8)))

    @server.on_stream(ECHO)
    async def echo(stream: Stream) -> None:
        async for chunk in stream:
            await stream.write(chunk)

    @server.on_stream(ANSWER)
    async def answer(stream: Stream) -> None:
        """One message, back."""
        await stream.write(prefixed(await message(stream)))

    @server.on_stream(USED)
    async def tell(stream: Stream) -> None:
        await stream.write(struct.pack(">d", used()))

    @server.on_request
    async def respond(request: Request[Any]) -> Any:
        return request.message

    return server


async def serve() -> None:
    async with serving() as server:
        say(addr=str(server.addresses[0]), package=PACKAGE)
        await asyncio.to_thread(sys.stdin.read)


def prefixed(body: bytes) -> bytes:
    return bytes((len(body),)) + body


async def message(stream: Stream) -> bytes:
    return await stream.readexactly((await stream.readexactly(1))[0])


async def fill(stream: Stream, seconds: float) -> int:
    """Write chunks until the time is over; how many bytes."""
    count, end = 0, perf_counter() + seconds
    while perf_counter() < end:
        await stream.write(CHUNK)
        count += len(CHUNK)
    return count


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


# ---------------------------------------------------------------------- the client


class Client:
    """A network that is connected to the server."""

    def __init__(self, own: Network, connection: Connection) -> None:
        self.network = own
        self.peer = connection.peer
        self.addr = str(connection.remote_address)

    async def server_used(self) -> float:
        async with self.network.open_stream(self.peer, USED) as stream:
            seconds: float = struct.unpack(">d", await stream.readexactly(8))[0]
            return seconds

    async def request(self) -> None:
        right(await self.network.request(self.peer, MESSAGE) == MESSAGE)

    async def exchange(self) -> None:
        """What ``request`` does, by hand on a stream."""
        async with self.network.open_stream(self.peer, ANSWER) as stream:
            await stream.write(prefixed(BODY))
            await stream.close_write()
            right(await message(stream) == BODY)


def right(answered: bool) -> None:
    if not answered:
        raise SystemExit("wrong answer")


async def upload(client: Client, seconds: float) -> Figure:
    async with client.network.open_stream(client.peer, TAKE) as stream:
        start = perf_counter()
        sent = await fill(stream, seconds)
        await stream.close_write()
        right(int.from_bytes(await stream.readexactly(8), "big") == sent)
        return megabytes(sent, perf_counter() - start)


async def download(client: Client, seconds: float) -> Figure:
    async with client.network.open_stream(client.peer, GIVE) as stream:
        count, start = 0, perf_counter()
        await stream.write(struct.pack(">d", seconds))
        async for chunk in stream:
            count += len(chunk)
        return megabytes(count, perf_counter() - start)


def megabytes(count: int, seconds: float) -> Figure:
    return count / 1e6 / seconds, count / 1e6


async def one_by_one(ask: Callable[[], Awaitable[None]], seconds: float) -> Figure:
    count, start = 0, perf_counter()
    while (passed := perf_counter() - start) < seconds or not count:
        await ask()
        count += 1
    return count / passed, count


async def at_once(ask: Callable[[], Awaitable[None]], seconds: float) -> Figure:
    start = perf_counter()
    counts = await asyncio.gather(*(one_by_one(ask, seconds) for _ in range(AT_ONCE)))
    count = sum(count for _, count in counts)
    return count / (perf_counter() - start), count


async def contacts(contact: Callable[[Network], Awaitable[None]], seconds: float) -> Figure:
    """Fresh networks, one after the other, each timed from its first step to the end of ``contact``: by the median."""
    times: list[float] = []
    end = perf_counter() + seconds
    while perf_counter() < end or not times:
        async with network() as fresh:
            start = perf_counter()
            await contact(fresh)
            times.append(perf_counter() - start)
    return 1 / statistics.median(times), len(times)


async def connect(client: Client, seconds: float) -> Figure:
    async def contact(fresh: Network) -> None:
        await fresh.connect(client.addr)

    return await contacts(contact, seconds)


async def first_byte(client: Client, seconds: float) -> Figure:
    async def contact(fresh: Network) -> None:
        async with fresh.open_stream(client.addr, ECHO) as stream:
            await stream.write(b"x")
            right(await stream.readexactly(1) == b"x")

    return await contacts(contact, seconds)


MEASURES: dict[str, Callable[[Client, float], Awaitable[Figure]]] = {
    "upload": upload,
    "download": download,
    "connect": connect,
    "first byte": first_byte,
    "seq": lambda client, seconds: one_by_one(client.request, seconds),
    "conc": lambda client, seconds: at_once(client.request, seconds),
    "seq over streams": lambda client, seconds: one_by_one(client.exchange, seconds),
    "conc over streams": lambda client, seconds: at_once(client.exchange, seconds),
}


async def measure(addr: str, name: str, seconds: float) -> None:
    """Warm up, then measure; processor time of both ends is in microseconds for one of what is counted."""
    async with network(identity=CLIENT) as own:
        client = Client(own, await own.connect(addr))
        await MEASURES[name](client, seconds * WARM_UP)
        before = used(), await client.server_used()
        rate, count = await MEASURES[name](client, seconds)
        after = used(), await client.server_used()
        ours, theirs = ((last - first) / count * 1e6 for first, last in zip(before, after, strict=True))
        say(rate=rate, client=ours, server=theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve")
    client = commands.add_parser("client")
    client.add_argument("--addr", required=True)
    client.add_argument("--measure", required=True, choices=MEASURES)
    client.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    asyncio.run(serve() if options.command == "serve" else measure(options.addr, options.measure, options.seconds))


if __name__ == "__main__":
    main()
