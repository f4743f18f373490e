"""What a relay costs, ours and go's: ``python -m benchmarks.relay``. One line for each figure.

Bulk: ends of ours in two processes on one core, and the relay, without limits, alone on another one. Where the ends are
slower than a relay, its throughput is theirs, so its processor seconds for each GB count more. Reservations: what they
take of the relay's memory while nothing happens. Circuits: 200, with one request of 64 bytes each in 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from harness import build
from harness.process import processor_time
from stronghold_p2p import BYTES, Limits, Network, PeerId, RelayLimits, Request, RequestProtocol, Rule, Stream, Timeouts

MIB = 1 << 20
CHUNK = 65_536
RELAY_CORE, ENDS_CORE = 0, 1
ASK = RequestProtocol("/bench/ask/1", request=BYTES, response=BYTES)
SINK = "/bench/sink/1"
FREE = RelayLimits(
    reservations=None, reservations_per_ip=None, circuits=None, circuits_per_peer=None, duration=None, data=None
)
MANY = Limits(
    connections=3_000,
    per_peer=None,
    per_subnet=None,
    accept_rate=None,
    pending_in=512,
    streams_in=1_024,
    pending_out=64,
)
PATIENT = Timeouts(idle=None, upgrade=60, dial=60, request=60)
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


def network(**options: Any) -> Network:
    made = Network(limits=MANY, timeouts=PATIENT, **options)
    made.firewall.set(Rule.ALLOW)
    return made


# ---------------------------------------------------------------------- processes


async def relay() -> None:
    async with network(listen=[LOOPBACK], relay=FREE) as made:
        print(json.dumps({"address": str(made.addresses[0])}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def target(at: str) -> None:
    made = network()
    made.on_request(ASK)(answer)

    @made.on_stream(SINK)
    async def sink(stream: Stream) -> None:
        while await stream.read(4 * CHUNK):
            pass
        await stream.write(b".")

    async with made:
        await made.listen(f"{at}/p2p-circuit")
        print(json.dumps({"address": str(made.addresses[0])}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


def answer(request: Request[bytes]) -> bytes:
    return request.message


async def bulk(at: str, size: str) -> None:
    """Seconds for so many bytes, after a warm-up."""
    async with network() as source:
        connection = await source.connect(at)
        for count in (int(size) // 8, int(size)):
            began = perf_counter()
            async with source.open_stream(connection.peer, SINK) as stream:
                block = bytes(CHUNK)
                for _ in range(count // CHUNK):
                    await stream.write(block)
                await stream.close_write()
                await stream.read()
            if count < int(size):
                print(json.dumps({"warm": True}), flush=True)
                await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps({"seconds": perf_counter() - began}), flush=True)


async def hold(at: str, count: str) -> None:
    """So many networks with a reservation each."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(network()) for _ in range(int(count))]
        for ten in range(0, len(made), 10):
            await asyncio.gather(*(one.listen(f"{at}/p2p-circuit") for one in made[ten : ten + 10]))
        print(json.dumps({"held": len(made)}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def ask(at: str, count: str, seconds: str) -> None:
    """So many circuits, with one request each in 100 ms: how long each took."""
    took: list[float] = []
    peer = PeerId(at.rpartition("/")[2])

    async def one(source: Network, delay: float, end: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        while due < end:
            await asyncio.sleep(due - loop.time())
            began = perf_counter()
            await source.request(peer, bytes(64), ASK)
            took.append(perf_counter() - began)
            due = max(due + 0.1, loop.time())

    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(network()) for _ in range(int(count))]
        for source in made:
            await source.connect(at)
        end = asyncio.get_running_loop().time() + float(seconds)
        await asyncio.gather(*(one(source, 0.1 * index / len(made), end) for index, source in enumerate(made)))
    cuts = statistics.quantiles(took, n=100)
    print(json.dumps({"requests": len(took), "p50": cuts[49], "p99": cuts[98]}), flush=True)


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "relay": relay,
    "target": target,
    "bulk": bulk,
    "hold": hold,
    "ask": ask,
}


class Child:
    """A process of one role, or go's relay, on one core."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def tells(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return told

    async def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()

    @property
    def processor(self) -> float:
        return processor_time(self.process.pid)

    @property
    def memory(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS"))


@asynccontextmanager
async def child(core: int | None, *command: str) -> AsyncIterator[Child]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    try:
        yield Child(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def role(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "benchmarks.relay", "--role", name, *arguments)


async def started(stack: AsyncExitStack, kind: str, core: int | None) -> tuple[Child, str]:
    if kind == "ours":
        made = await stack.enter_async_context(child(core, *role("relay")))
        return made, (await made.tells())["address"]
    program = build.go_peer()
    assert program is not None
    made = await stack.enter_async_context(
        child(core, str(program), "drive", "--listen", "--relay", "--relay-unlimited")
    )
    ready = await made.tells()
    return made, f"{ready['addrs'][0]}/p2p/{ready['peer']}"


# ---------------------------------------------------------------------- figures


async def bulk_of(kind: str, size: int) -> tuple[float, float]:
    """MB/s, and the relay's processor seconds for each GB."""
    async with AsyncExitStack() as stack:
        made, at = await started(stack, kind, RELAY_CORE)
        far = await stack.enter_async_context(child(ENDS_CORE, *role("target", at)))
        there = (await far.tells())["address"]
        near = await stack.enter_async_context(child(ENDS_CORE, *role("bulk", there, str(size))))
        await near.tells()
        before = made.processor
        await near.go_on()
        seconds = (await near.tells())["seconds"]
        return size / seconds / 1e6, (made.processor - before) / size * 1e9


async def memory_of(count: int) -> float:
    async with AsyncExitStack() as stack:
        made, at = await started(stack, "ours", None)
        before = made.memory
        holder = await stack.enter_async_context(child(None, *role("hold", at, str(count))))
        await holder.tells()
        await asyncio.sleep(2)
        return (made.memory - before) / MIB


async def waits_of(kind: str, count: int, seconds: float) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        _, at = await started(stack, kind, None)
        far = await stack.enter_async_context(child(None, *role("target", at)))
        there = (await far.tells())["address"]
        near = await stack.enter_async_context(child(None, *role("ask", there, str(count), str(seconds))))
        return await near.tells()


async def measure(options: argparse.Namespace) -> None:
    kinds = ("ours", "go") if build.go_peer() is not None else ("ours",)
    figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for kind in kinds:
            figures[kind].append(await bulk_of(kind, options.mib * MIB))
    for kind, rounds in figures.items():
        rate, cost = (statistics.median(one) for one in zip(*rounds, strict=True))
        print(f"bulk through {kind}: {rate:.0f} MB/s, {cost:.2f} processor seconds a GB", flush=True)
    print(f"{options.reservations} reservations: {await memory_of(options.reservations):.1f} MiB (30)", flush=True)
    found = await waits_of("ours", options.circuits, options.seconds)
    told = f"{found['requests']} requests, p50 {found['p50'] * 1e3:.0f} ms, p99 {found['p99'] * 1e3:.0f} ms (250)"
    print(f"{options.circuits} circuits, a request each in 100 ms: {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay", description=__doc__)
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of bulk, one relay after the other (3)")
    parser.add_argument("--mib", type=int, default=256, metavar="N", help="of each round (256)")
    parser.add_argument("--reservations", type=int, default=1_000, metavar="N")
    parser.add_argument("--circuits", type=int, default=200, metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="of requests (10)")
    options = parser.parse_args()
    asyncio.run(measure(options) if options.role is None else ROLES[options.role](*options.arguments))


if __name__ == "__main__":
    main()
