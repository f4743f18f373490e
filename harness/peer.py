"""Our side of the comparison: the command line that all compared implementations share.

    python -m harness.peer serve --port 0
    python -m harness.peer client --addr /ip4/127.0.0.1/tcp/P/p2p/ID --mode seq

One JSON line on standard output; anything wrong is a line on standard error and a non-zero exit. The limits
on connections, streams and rates are lifted. ``--facade`` asks and answers over ``Network`` (modes seq and conc), with
``--json`` in the protocol of the Rust crate.
``--uvloop`` runs on uvloop.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import signal
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from harness import facade
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.protocols import perf
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.protocols.ping import Ping
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.stream import Stream
from stronghold_p2p.swarm.swarm import Swarm

RR = "/bench/rr/1"
ECHO = "/bench/echo/1"
WARM_UP = 16 << 20

LIFTED = Limits(
    connections=None,
    per_peer=None,
    per_subnet=None,
    pending_in=None,
    pending_out=None,
    accept_rate=None,
    streams_in=None,
)

Result = dict[str, Any]


async def answer(stream: Stream) -> None:
    """``/bench/rr/1``: read to the end, write the same bytes back."""
    await stream.write(await stream.read_to_end(1 << 24))


async def echo(stream: Stream) -> None:
    """``/bench/echo/1``: each chunk as it arrives."""
    async for chunk in stream:
        await stream.write(chunk)


def of_face(handler: Callable[[Stream], Awaitable[None]]) -> Callable[[LiveStream], Awaitable[None]]:
    """A handler for users' streams as the swarm calls it."""
    return lambda live: handler(Stream(live))


@asynccontextmanager
async def running(limits: Limits = LIFTED, timeouts: Timeouts | None = None) -> AsyncIterator[Swarm]:
    firewall = Firewall()
    firewall.set(Rule.ALLOW)
    swarm = Swarm(Identity(), firewall=firewall, limits=limits, timeouts=timeouts or replace(Timeouts(), idle=None))
    Identify(swarm, "stronghold-p2p/bench")
    Ping(swarm)
    swarm.start()
    for protocol, handler in ((perf.PERF, perf.serve), (RR, answer), (ECHO, echo)):
        swarm.handle(protocol, of_face(handler))
    try:
        yield swarm
    finally:
        await swarm.close()


async def serve(options: argparse.Namespace) -> None:
    async with running() as swarm:
        listener = await swarm.listen(parse(f"/ip4/{options.host}/tcp/{options.port}"))
        await stay(str(swarm.peer_id), f"{listener.addresses[0]}/p2p/{swarm.peer_id}")


async def serve_facade(options: argparse.Namespace) -> None:
    async with facade.serving(LIFTED, f"/ip4/{options.host}/tcp/{options.port}", kind(options)) as network:
        await stay(str(network.peer_id), str(network.addresses[0]))


def kind(options: argparse.Namespace) -> facade.Kind:
    return facade.OF_JSON if options.json else facade.OF_BYTES


async def stay(peer: str, address: str) -> None:
    """Say that we are ready, and wait for a signal."""
    print(json.dumps({"peer": peer, "addr": address, "pid": os.getpid(), "version": version()}), flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def version() -> str:
    return f"stronghold_p2p on CPython {sys.version.split()[0]}, {type(asyncio.get_running_loop()).__module__}"


async def connect(addr: str, options: argparse.Namespace) -> Result:
    """N dials by fresh hosts until a stream could be opened, then N with one byte echoed."""
    result: Result = {}
    for prefix, first_byte in (("", False), ("fb_", True)):
        times = [await first_contact(addr, first_byte=first_byte) for _ in range(options.n or 20)]
        result |= {
            f"{prefix}median_ms": round(statistics.median(times), 3),
            f"{prefix}min_ms": round(min(times), 3),
            f"{prefix}p90_ms": round(sorted(times)[int(len(times) * 0.9)], 3),
        }
    return result


async def first_contact(addr: str, *, first_byte: bool) -> float:
    """Milliseconds until a fresh host has a stream open, or has one byte echoed on it."""
    async with running() as swarm:
        start = perf_counter()
        async with await (await dial(swarm, addr)).open_stream(ECHO) as stream:
            if first_byte:
                await stream.write(b"x")
                if await stream.readexactly(1) != b"x":
                    raise SystemExit("wrong echo")
            return (perf_counter() - start) * 1e3


async def dial(swarm: Swarm, addr: str) -> LiveConnection:
    address, peer = split_peer(parse(addr))
    return await swarm.dial(peer, [address])


async def transfer(connection: LiveConnection, up: int, down: int, size: int) -> float:
    """Seconds for one transfer, timed as the contract says."""
    async with await connection.open_stream(perf.PERF) as stream:
        await stream.write(down.to_bytes(8, "big"))
        start = perf_counter()
        await perf.send_zeros(Stream(stream), up, size)
        stream.finish()
        if down:
            start = perf_counter()
        if await perf.drain(Stream(stream)) != down:
            raise SystemExit("wrong number of bytes")
        return perf_counter() - start


async def bulk(connection: LiveConnection, options: argparse.Namespace) -> Result:
    size, count = options.size or 65_536, options.bytes
    up = options.mode == "upload"
    await transfer(connection, WARM_UP * up, WARM_UP * (not up), size)
    seconds = await transfer(connection, count * up, count * (not up), size)
    return {"bytes": count, "seconds": round(seconds, 4), "mb_per_s": round(count / seconds / 1e6, 1)}


async def rtt(connection: LiveConnection, options: argparse.Namespace) -> Result:
    times = []
    message = os.urandom(32)
    async with await connection.open_stream(ECHO) as stream:
        for _ in range((options.n or 2_000) + 50):
            start = perf_counter()
            await stream.write(message)
            if await stream.readexactly(32) != message:
                raise SystemExit("wrong echo")
            times.append((perf_counter() - start) * 1e6)
    times = sorted(times[50:])
    return {"median_us": round(statistics.median(times), 1), "p99_us": round(times[int(len(times) * 0.99)], 1)}


async def request(connection: LiveConnection, body: bytes) -> float:
    start = perf_counter()
    async with await connection.open_stream(RR) as stream:
        await stream.write(body)
        stream.finish()
        if await stream.read_to_end() != body:
            raise SystemExit("wrong answer")
    return (perf_counter() - start) * 1e3


async def seq(ask: facade.Ask, options: argparse.Namespace) -> Result:
    n, body = options.n or 2_000, os.urandom(options.size or 64)
    for _ in range(50):
        await ask(body)
    start = perf_counter()
    times = sorted([await ask(body) for _ in range(n)])
    rate = n / (perf_counter() - start)
    return {
        "req_per_s": round(rate),
        "median_ms": round(statistics.median(times), 4),
        "p99_ms": round(times[int(n * 0.99)], 4),
    }


async def conc(ask: facade.Ask, options: argparse.Namespace) -> Result:
    n, workers, body = options.n or 5_000, options.c, os.urandom(options.size or 64)
    times: list[float] = []
    left = n

    async def worker() -> None:
        nonlocal left
        while left:
            left -= 1
            times.append(await ask(body))

    for _ in range(50):
        await ask(body)
    start = perf_counter()
    await asyncio.gather(*(worker() for _ in range(workers)))
    rate = n / (perf_counter() - start)
    times.sort()
    return {"req_per_s": round(rate), "p99_ms": round(times[int(n * 0.99)], 4), "failed": 0}


MODES: dict[str, Callable[[LiveConnection, argparse.Namespace], Awaitable[Result]]] = {
    "upload": bulk,
    "download": bulk,
    "rtt": rtt,
}
REQUESTS: dict[str, Callable[[facade.Ask, argparse.Namespace], Awaitable[Result]]] = {"seq": seq, "conc": conc}


async def client(options: argparse.Namespace) -> None:
    if options.mode == "connect":
        result = await connect(options.addr, options)
    elif options.facade:
        async with facade.asking(LIFTED, options.addr, kind(options)) as ask:
            result = await REQUESTS[options.mode](ask, options)
    else:
        async with running() as swarm:
            connection = await dial(swarm, options.addr)
            if options.mode in REQUESTS:
                result = await REQUESTS[options.mode](partial(request, connection), options)
            else:
                result = await MODES[options.mode](connection, options)
    print(json.dumps(result), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m harness.peer", description="docs/catalogue/peer-contract.md")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--facade", action="store_true", help="over Network.request; modes seq and conc")
    parser.add_argument("--json", action="store_true", help="with --facade: JSON requests of the crate's protocol")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve")
    server.add_argument("--host", default="127.0.0.1")
    server.add_argument("--port", type=int, default=0)
    caller = commands.add_parser("client")
    caller.add_argument("--addr", required=True)
    caller.add_argument("--mode", required=True, choices=["connect", *MODES, *REQUESTS])
    caller.add_argument("--n", type=int, default=0)
    caller.add_argument("--c", type=int, default=32)
    caller.add_argument("--bytes", type=int, default=268_435_456)
    caller.add_argument("--size", type=int, default=0)
    for command in (server, caller):
        command.add_argument("--uvloop", action="store_true", default=argparse.SUPPRESS)
        command.add_argument("--facade", action="store_true", default=argparse.SUPPRESS)
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    options = parser.parse_args()
    gc.freeze()
    factory = importlib.import_module("uvloop").new_event_loop if options.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        serving = serve_facade if options.facade else serve
        runner.run(serving(options) if options.command == "serve" else client(options))


if __name__ == "__main__":
    main()
