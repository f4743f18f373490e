"""What one idle connection consists of, object by object.

    python -m benchmarks.scale.anatomy          prints the table
    python -m benchmarks.scale.anatomy write    writes it into docs/performance.md

Walks from a connection of a listening network to everything that only it leads to. What a second connection leads to
as well is shared and not counted. Sizes are those of ``sys.getsizeof``, rounded up to the 16 bytes in which CPython
allocates; ciphers are OpenSSL's and measured.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import types
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.scale import report
from benchmarks.scale.memory import resident
from benchmarks.scale.server import Server
from stronghold_p2p import Limits, Network, Timeouts
from stronghold_p2p.swarm.listeners import LiveListener
from stronghold_p2p.swarm.swarm import Swarm

MARK: Final = "python -m benchmarks.scale.anatomy write"
SHARED: Final = (
    Swarm,
    LiveListener,
    Limits,
    Timeouts,
    asyncio.AbstractEventLoop,
    type,
    types.ModuleType,
    types.FunctionType,
    types.CodeType,
)
ALIGNED: Final = 16
POINTER: Final = 8
SETTLED: Final = 0.5  # seconds for both to be identified
CIPHERS: Final = 20_000


@dataclass(frozen=True)
class Part:
    """One object: whose it is, and what it is."""

    owner: str
    thing: Any

    @property
    def size(self) -> int:
        size = sys.getsizeof(self.thing)
        if type(self.thing).__dictoffset__ and hasattr(self.thing, "__dict__"):
            size += POINTER * len(vars(self.thing))  # kept beside the object, which getsizeof does not see
        return -(-size // ALIGNED) * ALIGNED


def walk(roots: dict[str, Any]) -> dict[int, Part]:
    """Everything that the roots lead to. An object without a name of its own belongs to whoever leads to it."""
    found: dict[int, Part] = {}
    waiting = [Part(name, root) for name, root in roots.items()]
    while waiting:
        later: list[Part] = []
        for part in waiting:
            if id(part.thing) not in found and not isinstance(part.thing, SHARED):
                found[id(part.thing)] = part
                later += [Part(owner(part, thing), thing) for thing in gc.get_referents(part.thing)]
        waiting = later
    return found


def owner(parent: Part, thing: Any) -> str:
    kind = type(thing)
    if kind.__module__.startswith("stronghold_p2p."):
        return kind.__name__
    if kind.__module__.startswith(("asyncio.", "socket", "selectors")) and kind is not asyncio.Handle:
        return {"TimerHandle": "its timer in the event loop"}.get(kind.__name__, "transport and socket of asyncio")
    return parent.owner


def roots(network: Network, number: int) -> dict[str, Any]:
    """The connection, and what is kept for it elsewhere."""
    swarm = network._swarm
    connection = swarm.connections()[number]
    selector: Any = swarm.loop._selector  # type: ignore[attr-defined]
    muxer: Any = connection._muxer
    sock = muxer._wire.transport.get_extra_info("socket")
    return {
        "Connection": connection,
        "Token": swarm._tokens[connection],
        "PeerInfo": network._identify.info(connection.peer),
        "what the peer serves": swarm.peer_protocols[connection.peer],
        "place in the selector": selector.get_key(sock.fileno()),
    }


async def anatomy() -> dict[str, list[Part]]:
    """The objects of one connection, by owner."""
    server = Server(2)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server.network)
        for _ in range(2):
            client = await stack.enter_async_context(Network())
            await client.connect(server.network.addresses[0])
        await asyncio.sleep(SETTLED)
        gc.collect()
        first, second = (walk(roots(server.network, number)) for number in range(2))
        owned: dict[str, list[Part]] = defaultdict(list)
        for place, part in first.items():
            if place not in second:
                owned[part.owner].append(part)
        return owned


def cipher(count: int = CIPHERS) -> float:
    """Bytes that one keyed ChaCha20-Poly1305 takes."""
    keys = [os.urandom(32) for _ in range(count)]
    kept: list[ChaCha20Poly1305 | None] = [None] * count
    before = resident()
    for number, key in enumerate(keys):
        kept[number] = ChaCha20Poly1305(key)
    return (resident() - before) / count


def table() -> str:
    """By owner, the largest first."""
    owned = asyncio.run(anatomy())
    rows = [(sum(part.size for part in parts), len(parts), name, parts) for name, parts in owned.items()]
    lines = ["| what | objects | bytes | the largest of them |", "|---|---:|---:|---|"]
    for size, count, name, parts in sorted(rows, key=lambda row: -row[0]):
        largest = sorted(parts, key=lambda part: -part.size)[:3]
        told = ", ".join(f"{type(part.thing).__name__} {part.size}" for part in largest)
        lines.append(f"| {name} | {count} | {size:,} | {told} |")
    lines.append(f"| together | {sum(row[1] for row in rows)} | {sum(row[0] for row in rows):,} | |")
    lines.append(f"| two keyed ciphers inside OpenSSL | 2 | {2 * cipher():,.0f} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        report.write(MARK, table())
    else:
        print(table(), end="")
