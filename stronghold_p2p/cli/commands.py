"""The short commands: ``key``, ``request``, ``ping``, ``identify``, ``perf``."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Final

from stronghold_p2p.cli.keys import STANDARD_INPUT, identity_of
from stronghold_p2p.cli.output import compact, printable, show
from stronghold_p2p.errors import DialError
from stronghold_p2p.network import Network
from stronghold_p2p.protocols.perf import PERF, measure
from stronghold_p2p.request_response.codecs.codec import JSON
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.streams.deadline import Deadline

EVERY: Final = 0.2  # seconds between two updates of the line


async def key(options: argparse.Namespace) -> int:
    """Make a key file, or show the peer id of one."""
    created = options.file != STANDARD_INPUT and not options.file.exists()
    identity = identity_of(options.file, options, create=True)
    value = {"peer": identity.peer_id, "file": options.file, "created": created}
    return show(options, value, f"{identity.peer_id} ({'new key' if created else 'key'} in {options.file})")


async def request(options: argparse.Namespace) -> int:
    """Ask a peer and print its answer."""
    protocol = (
        STRONGHOLD if options.protocol is None else RequestProtocol(options.protocol, request=JSON, response=JSON)
    )
    async with _network(options) as network:
        left = await _reach(network, options)
        answer = await network.request(options.addr, options.message, protocol, timeout=left())
    return show(options, {"answer": answer}, compact(answer))


async def ping(options: argparse.Namespace) -> int:
    """Measure round trips."""
    async with _network(options) as network:
        left = await _reach(network, options)
        times = [await network.ping(options.addr, timeout=left()) * 1e3 for _ in range(options.count)]
    line = f"{' '.join(f'{time:.2f}' for time in times)} ms; {len(times)} of {options.count}"
    return show(options, {"ms": [round(time, 3) for time in times]}, line)


async def identify(options: argparse.Namespace) -> int:
    """Show what a peer says about itself."""
    async with _network(options) as network:
        left = await _reach(network, options)
        info = await network.identify(options.addr, timeout=left())
    value = {"peer": info.peer, "agent": info.agent, "version": info.version, "observed": info.observed}
    value |= {"protocols": info.protocols, "addresses": list(map(str, info.addresses))}
    signed = " (signed)" if info.record is not None else ""
    return show(
        options,
        {**value, "signed": info.record is not None},
        f"{info.agent or 'no agent told'}; you are {info.observed or 'not told'}",
        *(f"serves {printable(protocol)}" for protocol in info.protocols),
        *(f"listens on {address}{signed}" for address in info.addresses),
    )


async def perf(options: argparse.Namespace) -> int:
    """Measure how fast bytes go to a peer that serves perf (listen --perf), and back."""
    async with Deadline(options.timeout, "perf") as deadline, _network(options) as network:
        deadline.phase = "dial"
        await network.connect(options.addr, timeout=None)
        rates = []
        for word, up, down in (("upload", options.bytes, 0), ("download", 0, options.bytes)):
            deadline.phase = word
            async with network.open_stream(options.addr, PERF, timeout=None) as stream:
                progress = Progress(word, options.bytes, quiet=options.json)
                try:
                    await measure(stream, upload=up, download=down, progress=progress.at)
                finally:
                    rates.append(progress.end())
    value = {"bytes": options.bytes, "upload_mb_s": round(rates[0], 1), "download_mb_s": round(rates[1], 1)}
    line = f"upload {rates[0]:.1f} MB/s, download {rates[1]:.1f} MB/s; {options.bytes} bytes each"
    return show(options, value, line)


class Progress:
    """One line on standard error that is rewritten as bytes go; nothing where that is no terminal."""

    def __init__(self, word: str, total: int, *, quiet: bool) -> None:
        self._word = word
        self._total = total
        self._show = sys.stderr.isatty() and not quiet
        self._start = perf_counter()
        self._shown = self._start - EVERY

    def at(self, count: int) -> None:
        now = perf_counter()
        if self._show and now - self._shown >= EVERY:
            self._shown = now
            rate = count / (now - self._start) / 1e6
            done = f"{self._word} {100 * count // max(self._total, 1)} %, {rate:.0f} MB/s"
            print(f"\r\x1b[K{done}", end="", file=sys.stderr, flush=True)

    def end(self) -> float:
        """Clear the line; returns the MB/s of the whole."""
        if self._show:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return self._total / max(perf_counter() - self._start, 1e-9) / 1e6


def _network(options: argparse.Namespace) -> Network:
    return Network(identity=identity_of(options.key, options) if options.key else None)


async def _reach(network: Network, options: argparse.Namespace) -> Callable[[], float]:
    """Connect; returns how many seconds of the deadline are left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + options.timeout
    try:
        await network.connect(options.addr, timeout=options.timeout)
    except ConnectionError as error:
        raise DialError(str(error)) from error
    return lambda: max(end - loop.time(), 0.0)
