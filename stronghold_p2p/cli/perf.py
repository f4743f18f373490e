"""``stronghold-p2p perf``: measures throughput, and shows its progress."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter
from typing import Final

from stronghold_p2p.cli.output import DONE, tell, tell_json
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.network import Network
from stronghold_p2p.protocols.perf import PERF, measure
from stronghold_p2p.streams.deadline import Deadline

EVERY: Final = 0.2  # seconds between two updates of the line


class Progress:
    """One line on standard error that is rewritten as bytes go; nothing where that is no terminal."""

    def __init__(self, word: str, total: int, *, quiet: bool) -> None:
        self._word = word
        self._total = total
        self._show = sys.stderr.isatty() and not quiet
        self._start = self._shown = perf_counter()

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


async def perf(options: argparse.Namespace) -> int:
    """Measure how fast bytes go to a peer that serves perf (listen --perf), and back."""
    identity = Identity.load(options.key) if options.key else None
    async with Deadline(options.timeout, "perf") as deadline, Network(identity=identity) as network:
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
    if options.json:
        tell_json({"bytes": options.bytes, "upload_mb_s": round(rates[0], 1), "download_mb_s": round(rates[1], 1)})
    else:
        tell(f"upload {rates[0]:.1f} MB/s, download {rates[1]:.1f} MB/s; {options.bytes} bytes each")
    return DONE
