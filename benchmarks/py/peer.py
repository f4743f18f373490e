"""py-libp2p with the command line of the peer contract, for the benchmarks: TCP, Noise and Yamux, limits lifted."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import multiaddr
import trio
from libp2p import create_yamux_muxer_option, new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport

PERF = "/perf/1.0.0"
REQUEST = "/bench/rr/1"
ECHO = "/bench/echo/1"
UNLIMITED = 1_000_000
WARM_UP = 16 << 20
WARM_UP_REQUESTS = 50
CHUNK = 65536

Result = dict[str, float]
Open = Callable[[str], Awaitable[Any]]


def create_host() -> Any:
    """A host whose dial is not held up: without ``max_connections_per_peer=1`` it waits 250 ms by its own timer."""
    keys = create_new_key_pair()
    noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    config = ConnectionConfig(max_connections=UNLIMITED, high_watermark=UNLIMITED, max_connections_per_peer=1)
    host = new_host(
        key_pair=keys, sec_opt={NOISE: noise}, muxer_opt=create_yamux_muxer_option(), connection_config=config
    )
    host.get_network().set_resource_manager(None)
    return host


async def read_all(stream: Any, *, keep: bool = True) -> tuple[bytes, int]:
    """Everything until EOF, and its length; a lost connection can look like EOF, so callers compare."""
    pieces = []
    received = 0
    try:
        while data := await stream.read(CHUNK):
            received += len(data)
            if keep:
                pieces.append(data)
    except StreamEOF:
        pass
    return b"".join(pieces), received


async def read_exactly(stream: Any, n: int) -> bytes:
    data = b""
    while len(data) < n:
        piece: bytes = await stream.read(n - len(data))
        if not piece:
            raise EOFError("the stream ended early")
        data += piece
    return data


async def write_zeros(stream: Any, total: int, size: int) -> None:
    chunk = bytes(size)
    while total > 0:
        await stream.write(chunk[:total])
        total -= size


async def serve_perf(stream: Any) -> None:
    wanted = int.from_bytes(await read_exactly(stream, 8), "big")
    await read_all(stream, keep=False)
    await write_zeros(stream, wanted, CHUNK)
    await stream.close()


async def serve_request(stream: Any) -> None:
    request, _ = await read_all(stream)
    await stream.write(request)
    await stream.close()


async def serve_echo(stream: Any) -> None:
    try:
        while data := await stream.read(CHUNK):
            await stream.write(data)
    except StreamEOF:
        pass
    await stream.close()


async def serve(options: argparse.Namespace) -> None:
    host = create_host()
    async with host.run([multiaddr.Multiaddr(f"/ip4/127.0.0.1/tcp/{options.port}")]):
        for name, handler in ((PERF, serve_perf), (REQUEST, serve_request), (ECHO, serve_echo)):
            host.set_stream_handler(TProtocol(name), handler)
        peer = str(host.get_id())
        addr = str(host.get_transport_addrs()[0])
        addr = addr if "/p2p/" in addr else f"{addr}/p2p/{peer}"
        print(json.dumps({"peer": peer, "addr": addr, "pid": os.getpid(), "version": own_version()}), flush=True)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                os._exit(0)  # closing the host takes seconds, and nothing is left to tell


async def client(options: argparse.Namespace) -> None:
    info = info_from_p2p_addr(multiaddr.Multiaddr(options.addr))
    result = await MODES[options.mode](info, options)
    print(json.dumps({**result, "mode": options.mode, "version": own_version()}), flush=True)
    os._exit(0)


@asynccontextmanager
async def connected(info: Any) -> AsyncIterator[Open]:
    host = create_host()
    async with host.run([]):
        await host.connect(info)
        yield lambda protocol: host.new_stream(info.peer_id, [TProtocol(protocol)])


async def connect(info: Any, options: argparse.Namespace) -> Result:
    opened = await connect_times(info, options.n or 20, first_byte=False)
    echoed = await connect_times(info, options.n or 20, first_byte=True)
    return {**three(opened, ""), **three(echoed, "fb_")}


async def connect_times(info: Any, n: int, *, first_byte: bool) -> list[float]:
    times = []
    for _ in range(n):
        host = create_host()
        async with host.run([]):
            begin = time.perf_counter()
            await host.connect(info)
            stream = await host.new_stream(info.peer_id, [TProtocol(ECHO)])
            if first_byte:
                await ping_pong(stream, b"\x5a")
            times.append((time.perf_counter() - begin) * 1e3)
            await host.close()
    return sorted(times)


def three(times: list[float], prefix: str) -> Result:
    return {
        f"{prefix}median_ms": quantile(times, 0.5),
        f"{prefix}min_ms": times[0],
        f"{prefix}p90_ms": quantile(times, 0.9),
    }


async def upload(info: Any, options: argparse.Namespace) -> Result:
    async with connected(info) as open_stream:
        await perf(open_stream, WARM_UP, 0, options.size or CHUNK)
        _, end = await perf(open_stream, options.bytes, 0, options.size or CHUNK)
        return throughput(options.bytes, end)


async def download(info: Any, options: argparse.Namespace) -> Result:
    async with connected(info) as open_stream:
        await perf(open_stream, 0, WARM_UP, options.size or CHUNK)
        closed, end = await perf(open_stream, 0, options.bytes, options.size or CHUNK)
        return throughput(options.bytes, end - closed)


async def perf(open_stream: Open, up: int, down: int, size: int) -> tuple[float, float]:
    """Seconds from the first byte to the close of our side, and to the remote's end."""
    stream = await open_stream(PERF)
    begin = time.perf_counter()
    await stream.write(down.to_bytes(8, "big"))
    await write_zeros(stream, up, size)
    await stream.close_write()
    closed = time.perf_counter() - begin
    _, received = await read_all(stream, keep=False)
    end = time.perf_counter() - begin
    if received != down:
        raise ValueError(f"asked for {down} bytes, got {received}")
    return closed, end


def throughput(total: int, seconds: float) -> Result:
    return {"bytes": total, "seconds": seconds, "mb_per_s": total / 1e6 / seconds}


async def rtt(info: Any, options: argparse.Namespace) -> Result:
    times = []
    async with connected(info) as open_stream:
        stream = await open_stream(ECHO)
        payload = os.urandom(options.size or 32)
        for _ in range(WARM_UP_REQUESTS):
            await ping_pong(stream, payload)
        for _ in range(options.n or 2000):
            begin = time.perf_counter()
            await ping_pong(stream, payload)
            times.append((time.perf_counter() - begin) * 1e6)
    times.sort()
    return {"median_us": quantile(times, 0.5), "p99_us": quantile(times, 0.99)}


async def seq(info: Any, options: argparse.Namespace) -> Result:
    times, seconds = await requests(info, options.n or 2000, 1, options.size or 64)
    return {"req_per_s": len(times) / seconds, "median_ms": quantile(times, 0.5), "p99_ms": quantile(times, 0.99)}


async def conc(info: Any, options: argparse.Namespace) -> Result:
    times, seconds = await requests(info, options.n or 5000, options.c, options.size or 64)
    return {"req_per_s": len(times) / seconds, "p99_ms": quantile(times, 0.99), "failed": 0}


async def requests(info: Any, n: int, at_a_time: int, size: int) -> tuple[list[float], float]:
    payload = os.urandom(size)
    times: list[float] = []
    left = iter(range(n))

    async def worker(open_stream: Open) -> None:
        for _ in left:
            start = time.perf_counter()
            await request(open_stream, payload)
            times.append((time.perf_counter() - start) * 1e3)

    async with connected(info) as open_stream:
        for _ in range(WARM_UP_REQUESTS):
            await request(open_stream, payload)
        begin = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(at_a_time):
                nursery.start_soon(worker, open_stream)
        seconds = time.perf_counter() - begin
    return sorted(times), seconds


async def request(open_stream: Open, payload: bytes) -> None:
    stream = await open_stream(REQUEST)
    await stream.write(payload)
    await stream.close_write()
    answer, _ = await read_all(stream)
    if answer != payload:
        raise ValueError(f"wrong answer: {len(answer)} bytes for {len(payload)}")
    await stream.close()


async def ping_pong(stream: Any, payload: bytes) -> None:
    await stream.write(payload)
    if await read_exactly(stream, len(payload)) != payload:
        raise ValueError("wrong echo")


def quantile(times: list[float], q: float) -> float:
    return times[min(len(times) - 1, int(len(times) * q))]


def own_version() -> str:
    return f"py-libp2p {version('libp2p')}"


MODES: dict[str, Callable[[Any, argparse.Namespace], Awaitable[Result]]] = {
    "connect": connect,
    "upload": upload,
    "download": download,
    "rtt": rtt,
    "seq": seq,
    "conc": conc,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve").add_argument("--port", type=int, default=0)
    measure = commands.add_parser("client")
    measure.add_argument("--addr", required=True)
    measure.add_argument("--mode", required=True, choices=sorted(MODES))
    measure.add_argument("--n", type=int, default=0)
    measure.add_argument("--c", type=int, default=32)
    measure.add_argument("--bytes", type=int, default=268435456)
    measure.add_argument("--size", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    logging.disable(logging.WARNING)
    options = parse()
    trio.run(serve if options.command == "serve" else client, options)


if __name__ == "__main__":
    main()
