"""The program under test as a listener: what the benchmarks' peer serves, with limits and timeouts as a user has them.

    python -m tests.hostile.target [--lifted] [--count-loopback] [--host HOST] [--protect PEER] [settings]

One JSON line when it is ready, and one for each SIGUSR1: what has happened, and what it counts. ``--lifted`` takes the
limits away that a measurement would run into, ``--count-loopback`` counts sources of this machine, too. The settings
are those of tests/hostile/settings.py; what takes checks away holds from a SIGUSR2 to the next one. Beside ``dialer``,
this is what imports the package: it is what is attacked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections import Counter
from typing import Any

from harness.below import running
from harness.contract import LIFTED
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.events.events import Event
from stronghold_p2p.identity import PeerId
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests.hostile import settings, weak
from tests.hostile.asked import Answering
from tests.hostile.codec import HOLD


async def hold(_stream: LiveStream) -> None:
    """Never read, until the stream ends."""
    await asyncio.Event().wait()


def told(event: Event) -> str:
    """An event in words: its kind, its error, the limit that was full."""
    error = getattr(event, "error", None)
    limit = error.limit if isinstance(error, LimitExceeded) else None
    words = [type(event).__name__, type(error).__name__ if error is not None else None, limit]
    return " ".join(filter(None, words))


def state(swarm: Swarm, answering: Answering, seen: Counter[str]) -> dict[str, Any]:
    known = swarm.book.peers()
    book = {"known_peers": len(known), "known": [str(peer) for peer in known[:100]]}
    return {"seen": seen, **swarm.gate.snapshot(), **swarm.pool.snapshot(), **book, **answering.state()}


def toggle(options: argparse.Namespace) -> None:
    options.weakened = not options.weakened
    if options.weakened:
        settings.weaken(options)
    else:
        weak.restore()
    print(json.dumps({"weakened": options.weakened}), flush=True)


async def serve(options: argparse.Namespace) -> None:
    base = LIFTED if options.lifted else Limits()
    limits, timeouts = settings.limits(options, base), settings.timeouts(options, Timeouts())
    seen: Counter[str] = Counter()
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    async with running(limits, timeouts) as swarm:
        swarm.gate._exempt_loopback = not options.count_loopback
        swarm.hub.on_event(lambda event: seen.update([told(event)]))
        swarm.protected |= set(map(PeerId, options.protect))
        swarm.handle(HOLD, hold)
        answering = Answering(swarm)
        kind = "ip6" if ":" in options.host else "ip4"
        listener = await swarm.listen(parse(f"/{kind}/{options.host}/tcp/0"))
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGUSR2, toggle, options)
        loop.add_signal_handler(signal.SIGUSR1, lambda: print(json.dumps(state(swarm, answering, seen)), flush=True))
        print(
            json.dumps({"peer": str(swarm.peer_id), "addr": str(listener.addresses[0]), "pid": os.getpid()}), flush=True
        )
        await stop.wait()


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lifted", action="store_true")
    parser.add_argument("--count-loopback", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--protect", action="append", default=[], metavar="PEER")
    parser.set_defaults(weakened=False)


if __name__ == "__main__":
    asyncio.run(serve(settings.parsed("target", add=add)))
