"""Our side of the comparison: the command line that all compared implementations share.

    python -m harness.peer serve --port 0
    python -m harness.peer client --addr /ip4/127.0.0.1/tcp/P/p2p/ID --mode seq

One JSON line on standard output; anything wrong is a line on standard error and a non-zero exit. Everything goes
through ``Network`` with default options (``harness.facade``), or with ``--below`` over a swarm and live streams
(``harness.below``). ``--busy-poll`` and ``--uvloop`` are what a user can turn on. The client's requests are
``Network.request``, with ``--json`` in the protocol of the Rust crate, and with ``--by-hand`` those of the contract.
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
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Any

from harness import below, facade
from harness.contract import ECHO, WRONG, Client
from stronghold_p2p import Stream
from stronghold_p2p.protocols import perf
from stronghold_p2p.streams.live import LiveStream

WARM_UP = 16 << 20

Result = dict[str, Any]


async def serve(options: argparse.Namespace) -> None:
    serving = below.serving if options.below else facade.serving
    over = f"/{options.over}" if options.over else ""
    async with serving(options, f"/ip4/{options.host}/tcp/{options.port}{over}") as address:
        await stay(address)


async def stay(address: str) -> None:
    """Say that we are ready, and wait for a signal."""
    peer = address.rpartition("/")[2]
    print(json.dumps({"peer": peer, "addr": address, "pid": os.getpid(), "version": version()}), flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def version() -> str:
    return f"stronghold_p2p on CPython {sys.version.split()[0]}, {type(asyncio.get_running_loop()).__module__}"


def calling(options: argparse.Namespace) -> AbstractAsyncContextManager[Client]:
    return below.calling(options) if options.below else facade.calling(options)


async def connect(options: argparse.Namespace) -> Result:
    """N dials by fresh hosts until a stream could be opened, then N with one byte echoed."""
    result: Result = {}
    for prefix, first_byte in (("", False), ("fb_", True)):
        times = [await first_contact(options, first_byte=first_byte) for _ in range(options.n or 20)]
        result |= {
            f"{prefix}median_ms": round(statistics.median(times), 3),
            f"{prefix}min_ms": round(min(times), 3),
            f"{prefix}p90_ms": round(sorted(times)[int(len(times) * 0.9)], 3),
        }
    return result


async def first_contact(options: argparse.Namespace, *, first_byte: bool) -> float:
    """Milliseconds until a fresh host has a stream open, or has one byte echoed on it."""
    async with calling(options) as client:
        start = perf_counter()
        await client.connect(options.addr)
        async with await client.open(ECHO) as stream:
            if first_byte:
                await stream.write(b"x")
                if await stream.readexactly(1) != b"x":
                    raise SystemExit(WRONG)
            return (perf_counter() - start) * 1e3


async def transfer(stream: Stream, up: int, down: int, size: int) -> float:
    """Seconds for one transfer, timed as the contract says."""
    await stream.write(down.to_bytes(8, "big"))
    start = perf_counter()
    await perf.send_zeros(stream, up, size)
    await stream.close_write()
    if down:
        start = perf_counter()
    if await perf.drain(stream) != down:
        raise SystemExit("wrong number of bytes")
    return perf_counter() - start


async def bulk(client: Client, options: argparse.Namespace) -> Result:
    size, count, seconds = options.size or 65_536, options.bytes, 0.0
    up = options.mode == "upload"
    for amount in (WARM_UP, count):
        async with await client.open(perf.PERF) as stream:
            face = Stream(stream) if isinstance(stream, LiveStream) else stream
            seconds = await transfer(face, amount * up, amount * (not up), size)
    return {"bytes": count, "seconds": round(seconds, 4), "mb_per_s": round(count / seconds / 1e6, 1)}


async def rtt(client: Client, options: argparse.Namespace) -> Result:
    times = []
    message = os.urandom(32)
    async with await client.open(ECHO) as stream:
        for _ in range((options.n or 2_000) + 50):
            start = perf_counter()
            await stream.write(message)
            if await stream.readexactly(32) != message:
                raise SystemExit(WRONG)
            times.append((perf_counter() - start) * 1e6)
    times = sorted(times[50:])
    return {"median_us": round(statistics.median(times), 1), "p99_us": round(times[int(len(times) * 0.99)], 1)}


async def seq(client: Client, options: argparse.Namespace) -> Result:
    n, body = options.n or 2_000, os.urandom(options.size or 64)
    for _ in range(50):
        await client.ask(body)
    start = perf_counter()
    times = sorted([await client.ask(body) for _ in range(n)])
    rate = n / (perf_counter() - start)
    return {
        "req_per_s": round(rate),
        "median_ms": round(statistics.median(times), 4),
        "p99_ms": round(times[int(n * 0.99)], 4),
    }


async def conc(client: Client, options: argparse.Namespace) -> Result:
    n, workers, body = options.n or 5_000, options.c, os.urandom(options.size or 64)
    times: list[float] = []
    left = n

    async def worker() -> None:
        nonlocal left
        while left:
            left -= 1
            times.append(await client.ask(body))

    for _ in range(50):
        await client.ask(body)
    start = perf_counter()
    await asyncio.gather(*(worker() for _ in range(workers)))
    rate = n / (perf_counter() - start)
    times.sort()
    return {"req_per_s": round(rate), "p99_ms": round(times[int(n * 0.99)], 4), "failed": 0}


MODES: dict[str, Callable[[Client, argparse.Namespace], Awaitable[Result]]] = {
    "upload": bulk,
    "download": bulk,
    "rtt": rtt,
    "seq": seq,
    "conc": conc,
}


async def measure(options: argparse.Namespace) -> None:
    if options.mode == "connect":
        result = await connect(options)
    else:
        async with calling(options) as client:
            await client.connect(options.addr)
            result = await MODES[options.mode](client, options)
    print(json.dumps(result), flush=True)


FLAGS = {
    "--below": "over a swarm and live streams, not through Network",
    "--busy-poll": "Timeouts(busy_poll=100e-6)",
    "--by-hand": "the client asks over streams of Network, as the contract says, not with Network.request",
    "--json": "the client asks in the protocol of the Rust crate, through Network",
    "--uvloop": "on uvloop",
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.peer", description="docs/catalogue/peer-contract.md")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve")
    server.add_argument("--host", default="127.0.0.1")
    server.add_argument("--port", type=int, default=0)
    server.add_argument("--over", default="", help="what is spoken there: ws, tls/ws, or nothing for TCP itself")
    server.add_argument("--tls-cert", default=None, help="for tls/ws, in PEM")
    server.add_argument("--tls-key", default=None)
    caller = commands.add_parser("client")
    caller.add_argument("--addr", required=True)
    caller.add_argument("--mode", required=True, choices=["connect", *MODES])
    caller.add_argument("--n", type=int, default=0)
    caller.add_argument("--c", type=int, default=32)
    caller.add_argument("--bytes", type=int, default=268_435_456)
    caller.add_argument("--size", type=int, default=0)
    caller.add_argument("--ca", default=None, help="whom a client of tls/ws trusts, in PEM")
    for flag, meaning in FLAGS.items():
        parser.add_argument(flag, action="store_true", help=meaning)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    gc.freeze()
    factory = importlib.import_module("uvloop").new_event_loop if options.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(options) if options.command == "serve" else measure(options))


if __name__ == "__main__":
    main()
