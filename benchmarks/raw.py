"""The floor of a round trip on asyncio: 32 bytes there and back over plain TCP, without any protocol.

It keeps as much of the contract's command line as ``rtt`` needs: ``serve --port P`` and
``client --addr A --mode rtt [--n N] [--size S]``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import platform
import signal
from time import perf_counter
from typing import cast

WARM_UP = 50
VERSION = f"asyncio of CPython {platform.python_version()}"


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class PingPong(asyncio.Protocol):
    """Sends the payload again as soon as all of it is back; ``done`` holds the times in µs, the warm-up left out."""

    def __init__(self, payload: bytes, n: int) -> None:
        self.payload = payload
        self.left = n + WARM_UP
        self.times: list[float] = []
        self.received = b""
        self.done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        self.received = b""
        self.begin = perf_counter()
        self.transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if len(self.received) < len(self.payload):
            return
        self.times.append((perf_counter() - self.begin) * 1e6)
        self.left -= 1
        if self.received != self.payload:
            self.done.set_exception(ValueError("wrong echo"))
        elif self.left:
            self.send()
        else:
            self.done.set_result(sorted(self.times[WARM_UP:]))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the connection ended"))


async def serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", options.port)
    port = server.sockets[0].getsockname()[1]
    addr = f"/ip4/127.0.0.1/tcp/{port}"
    print(json.dumps({"peer": "", "addr": addr, "pid": os.getpid(), "version": VERSION}), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


async def client(options: argparse.Namespace) -> None:
    payload = os.urandom(options.size or 32)
    port = int(options.addr.split("/")[4])
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(lambda: PingPong(payload, options.n or 2000), "127.0.0.1", port)
    times = await protocol.done
    transport.close()
    middle, last = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(json.dumps({"median_us": middle, "p99_us": last, "mode": "rtt", "version": VERSION}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uvloop", action="store_true")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve").add_argument("--port", type=int, default=0)
    measure = commands.add_parser("client")
    measure.add_argument("--addr", required=True)
    measure.add_argument("--mode", required=True, choices=["rtt"])
    measure.add_argument("--n", type=int, default=0)
    measure.add_argument("--size", type=int, default=0)
    options = parser.parse_args()
    factory = importlib.import_module("uvloop").new_event_loop if options.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(options) if options.command == "serve" else client(options))


if __name__ == "__main__":
    main()
