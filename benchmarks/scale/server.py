"""The process that is measured: a ``Network`` behind its firewall, and what it takes, told on a side channel.

    python -m benchmarks.scale.server CONNECTIONS

CONNECTIONS is ``Limits.connections``. All other limits are those that a user has; the timeouts are long.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.scale.memory import resident, trim
from harness.commands import Line, commands, say
from stronghold_p2p import BYTES, Limits, Network, Request, RequestProtocol, Rule, Timeouts
from stronghold_p2p.protocols import perf

HASH: Final[RequestProtocol[bytes, bytes]] = RequestProtocol("/scale/hash/1", request=BYTES, response=BYTES)
# A busy machine shows in the rates and nowhere else.
PATIENT: Final = Timeouts(request=60, connect=60, upgrade=60, negotiate=60, identify=60, close=60)
ID_BYTES: Final = 8  # a request begins with its own number
# Ends the connection on which it is asked, as it says.
CUT: Final[RequestProtocol[bytes, bytes]] = RequestProtocol("/scale/cut/1", request=BYTES, response=BYTES)

# What is counted by class: objects of ours, and what asyncio keeps for a connection.
COUNTED: Final = ("stronghold_p2p.", "multiaddr.", "socket.", "asyncio.selector_events.", "asyncio.trsock.")


def cut(request: Request[bytes]) -> bytes:
    live: Any = request.connection._live
    (live.abort if request.message == b"abort" else live.shut)()
    return b""


class Server:
    """One network that answers with the SHA-256 of each request and serves perf, and a method for each command.

    ``seen`` counts how often each request came; it is made before the memory is looked at.
    """

    def __init__(self, connections: int) -> None:
        limits = Limits(connections=2 * connections)  # all of them are strangers
        self.network = Network(listen=["/ip4/127.0.0.1/tcp/0"], limits=limits, timeouts=PATIENT)
        self.network.firewall.set(Rule.ALLOW, protocol=HASH.ids[0])
        self.network.firewall.set(Rule.ALLOW, protocol=CUT.ids[0])
        self.network.firewall.set(Rule.ALLOW, protocol=perf.PERF)
        self.network.on_request(HASH)(self.answer)
        self.network.on_request(CUT)(cut)
        self.network.on_stream(perf.PERF)(perf.serve)
        self.seen = bytearray()

    def answer(self, request: Request[bytes]) -> bytes:
        number = int.from_bytes(request.message[:ID_BYTES], "big")
        self.seen[number] = min(self.seen[number] + 1, 2)
        return hashlib.sha256(request.message).digest()

    def expect(self, total: int) -> Line:
        """Requests will be numbered from 0 to ``total - 1``."""
        self.seen = bytearray(total)
        return {}

    def came(self) -> Line:
        """How many requests came never, once, and more often."""
        return {"never": self.seen.count(0), "once": self.seen.count(1), "again": self.seen.count(2)}

    def counts(self) -> Line:
        """Cheap counts, to see when it is quiet."""
        stats = self.network.stats()
        return {
            "connections": len(self.network.connections()),
            "identified": len(self.network._swarm.peer_protocols),
            "busy": stats["streams"] + stats["requests_in"] + stats["pending_in"],
            "tasks": len(asyncio.all_tasks()),
            "files": len(os.listdir("/proc/self/fd") if Path("/proc/self/fd").is_dir() else []),
        }

    def state(self) -> Line:
        """The counts, resident bytes, and living objects by class, after all garbage has been collected."""
        gc.collect()
        trim()
        taken = resident()
        kinds = (type(thing) for thing in gc.get_objects())
        names = Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
        ours = {name: count for name, count in names.items() if name.startswith(COUNTED)}
        collected = sum(generation["collected"] for generation in gc.get_stats())
        return {**self.counts(), "memory": taken, "collected": collected, "ours": ours}


async def main(connections: int) -> None:
    server = Server(connections)
    async with server.network:
        ready = {"address": str(server.network.addresses[0])}
        async for command in commands(ready):
            say(getattr(server, command.pop("do"))(**command))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
