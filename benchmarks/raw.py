"""The floor on asyncio: the modes of docs/catalogue/peer-contract.md over plain TCP, without any protocol.

A stream is a TCP connection. A request is a message that comes back on the one connection that there is, so ``seq`` is
``rtt`` with 64 bytes. What a client wants is in the first nine bytes of a connection: a letter and a count.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import platform
import signal
import statistics
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, TypeVar, cast

WARM_UP = 50
WARM_UP_BYTES = 16 << 20
CHUNK = 65_536
ZEROS = bytes(CHUNK)
ECHO, UPLOAD, DOWNLOAD = b"EUD"
HEAD = 9
VERSION = f"asyncio of CPython {platform.python_version()}"

Result = dict[str, Any]
P = TypeVar("P", bound=asyncio.Protocol)


class Sending(asyncio.Protocol):
    """Sends ``left`` zeros as fast as the socket takes them, then the end."""

    def __init__(self) -> None:
        self.left = 0
        self.count = 0
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.left:
            self.send()

    def send(self) -> None:
        while self.left and not self.paused:
            size = min(self.left, CHUNK)
            self.left -= size
            self.transport.write(ZEROS[:size])
        if not self.left:
            self.transport.write_eof()


class Serving(Sending):
    """Echoes, or counts bytes and tells how many came, or sends as many as are asked for."""

    head = b""

    def data_received(self, data: bytes) -> None:
        if len(self.head) == HEAD:
            self.serve(data)
            return
        self.head, rest = self.head + data[: HEAD - len(self.head)], data[HEAD - len(self.head) :]
        if len(self.head) == HEAD and self.head[0] == DOWNLOAD:
            self.left = int.from_bytes(self.head[1:], "big")
            self.send()
        elif rest:
            self.serve(rest)

    def serve(self, data: bytes) -> None:
        if self.head[0] == ECHO:
            self.transport.write(data)
        else:
            self.count += len(data)

    def eof_received(self) -> None:
        if self.head[:1] == bytes((UPLOAD,)):
            self.transport.write(self.count.to_bytes(8, "big"))


class Transfer(Sending):
    """The client's end of one transfer; ``done`` comes with the server's end."""

    def __init__(self) -> None:
        super().__init__()
        self.last = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        self.last = data

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(exc)


class Asking(asyncio.Protocol):
    """Sends the payload ``n`` times, so many at once, each again as soon as one is back.

    ``done`` holds the times in µs between one answer and the next, the warm-up left out.
    """

    def __init__(self, payload: bytes, n: int, at_once: int = 1, warm_up: int = WARM_UP) -> None:
        self.payload = payload
        self.unsent = n + warm_up
        self.unanswered = n + warm_up
        self.warm_up = warm_up
        self.at_once = at_once
        self.times: list[float] = []
        self.received = b""
        self.done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(head(ECHO))
        self.send(self.at_once)

    def send(self, count: int) -> None:
        count = min(count, self.unsent)
        self.unsent -= count
        self.begin = perf_counter()
        if count:
            self.transport.write(self.payload * count)

    def data_received(self, data: bytes) -> None:
        self.received += data
        count, rest = divmod(len(self.received), len(self.payload))
        if not count:
            return
        took = (perf_counter() - self.begin) * 1e6
        self.times += [took / count] * count
        whole = len(self.received) - rest
        if self.received[:whole] != self.payload * count:
            self.done.set_exception(ValueError("wrong echo"))
            return
        self.received = self.received[whole:]
        self.unanswered -= count
        if self.unanswered:
            self.send(count)
        else:
            self.done.set_result(self.times[self.warm_up :])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the connection ended"))


def head(letter: int, count: int = 0) -> bytes:
    return bytes((letter,)) + count.to_bytes(8, "big")


async def dial(options: argparse.Namespace, protocol: Callable[[], P]) -> P:
    port = int(options.addr.split("/")[4])
    return (await asyncio.get_running_loop().create_connection(protocol, "127.0.0.1", port))[1]


async def messages(options: argparse.Namespace) -> Result:
    """``rtt``, ``seq`` and ``conc``."""
    payload = os.urandom(options.size or (32 if options.mode == "rtt" else 64))
    at_once = options.c if options.mode == "conc" else 1
    asking = await dial(options, lambda: Asking(payload, options.n or 2_000, at_once))
    start = perf_counter()
    times = await asking.done
    rate = (len(times) + WARM_UP) / (perf_counter() - start)
    asking.transport.close()
    last = sorted(times)[int(len(times) * 0.99)]
    return {"median_us": statistics.median(times), "p99_us": last, "req_per_s": round(rate)}


async def bulk(options: argparse.Namespace) -> Result:
    for count in (WARM_UP_BYTES, options.bytes):
        seconds = await transfer(options, count)
    return {"bytes": count, "seconds": round(seconds, 4), "mb_per_s": round(count / seconds / 1e6, 1)}


async def transfer(options: argparse.Namespace, count: int) -> float:
    one = await dial(options, Transfer)
    start = perf_counter()
    if options.mode == "upload":
        one.transport.write(head(UPLOAD))
        one.left = count
        one.send()
    else:
        one.transport.write(head(DOWNLOAD, count))
    await one.done
    if count != (int.from_bytes(one.last, "big") if options.mode == "upload" else one.count):
        raise SystemExit("wrong number of bytes")
    return perf_counter() - start


async def connect(options: argparse.Namespace) -> Result:
    """N TCP connections, then N until one byte has come back."""
    opened, echoed = [], []
    for _ in range(options.n or 20):
        start = perf_counter()
        (await dial(options, Sending)).transport.abort()
        opened.append((perf_counter() - start) * 1e3)
    for _ in range(options.n or 20):
        start = perf_counter()
        asking = await dial(options, lambda: Asking(b"x", 1, warm_up=0))
        await asking.done
        echoed.append((perf_counter() - start) * 1e3)
        asking.transport.abort()
    return {"median_ms": statistics.median(opened), "fb_median_ms": statistics.median(echoed)}


MODES: dict[str, Callable[[argparse.Namespace], Awaitable[Result]]] = {
    "upload": bulk,
    "download": bulk,
    "rtt": messages,
    "seq": messages,
    "conc": messages,
    "connect": connect,
}


async def serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Serving, "127.0.0.1", options.port)
    port = server.sockets[0].getsockname()[1]
    addr = f"/ip4/127.0.0.1/tcp/{port}"
    print(json.dumps({"peer": "", "addr": addr, "pid": os.getpid(), "version": VERSION}), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


async def client(options: argparse.Namespace) -> None:
    result = await MODES[options.mode](options)
    print(json.dumps({**result, "mode": options.mode, "version": VERSION}), flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uvloop", action="store_true")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve").add_argument("--port", type=int, default=0)
    measure = commands.add_parser("client")
    measure.add_argument("--addr", required=True)
    measure.add_argument("--mode", required=True, choices=MODES)
    measure.add_argument("--bytes", type=int, default=268_435_456)
    for option, default in (("--n", 0), ("--c", 32), ("--size", 0)):
        measure.add_argument(option, type=int, default=default)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    factory = importlib.import_module("uvloop").new_event_loop if options.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(options) if options.command == "serve" else client(options))


if __name__ == "__main__":
    main()
