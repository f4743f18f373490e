"""One peer of the demo, in a process of its own: ``python -m stronghold_p2p.cli.demo_peer relay|bob|alice|carol``.

It says who it is, gets its orders as one line of JSON from standard input, and tells what happens to it line by
line on standard output. ``demo.py`` starts these processes and makes a story of their lines.
"""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

from stronghold_p2p.cli.output import tell_json
from stronghold_p2p.errors import P2PError, Rejected, UnsupportedProtocol
from stronghold_p2p.events.events import Ended, Event
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.network import Network
from stronghold_p2p.relay.circuit import Half
from stronghold_p2p.relay.messages import HOP
from stronghold_p2p.relay.options import RelayLimits
from stronghold_p2p.request_response.server import Request

LIFE: Final = 30.0  # seconds; no process outlives its parent for longer


async def relaying(identity: Identity, _: dict[str, Any]) -> None:
    """The relay: carries what the others say to each other, and looks for words in it when it is told to."""
    network = Network(identity=identity, listen=["/ip4/127.0.0.1/tcp/0"], relay=RelayLimits(), name="relay")
    network.firewall.set(Rule.ALLOW, protocol=HOP)
    seen = bytearray()
    with watched(seen):
        async with network:
            tell_json({"address": network.addresses[0]})
            words = json.loads(await asyncio.to_thread(sys.stdin.readline) or "[]")
    found = [word for word in words if word.encode() in seen]
    tell_json({"carried": len(seen), "found": found})


@contextmanager
def watched(seen: bytearray) -> Iterator[None]:
    """Keep a copy of all that circuits carry, as a relay that is curious would."""
    plain = Half.data

    def data(half: Half, piece: bytes | memoryview) -> None:
        seen.extend(piece)
        plain(half, piece)

    Half.data = data  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Half.data = plain  # type: ignore[method-assign]


async def answering(identity: Identity, orders: dict[str, Any]) -> None:
    """Bob: refuses everybody but alice, and about her he is asked."""
    alice = PeerId(orders["alice"])
    network = Network(identity=identity, listen=[f"{orders['relay']}/p2p-circuit"], name="bob")
    network.firewall.set(Rule.ASK, peer=alice)
    alice_has_gone = asyncio.Event()

    @network.firewall.on_ask
    async def decide(attempt: Attempt) -> bool:
        tell_json({"asked": attempt.variant, "by": attempt.peer})
        return bool(orders["answer"])

    @network.on_request
    def answer(request: Request[Any]) -> Any:
        nonce = secrets.token_hex(8)
        tell_json({"nonce": nonce, "for": request.peer})
        return {"Pong": nonce}

    @network.on_event
    def notice(event: Event) -> None:
        if isinstance(event, Ended) and event.connection.peer == alice:
            alice_has_gone.set()

    async with network:
        tell_json({"address": network.addresses[0]})
        await alice_has_gone.wait()


async def asking(identity: Identity, orders: dict[str, Any]) -> None:
    """Alice or carol: asks once."""
    start = perf_counter()
    async with Network(identity=identity) as network:
        try:
            answer = await network.request(orders["address"], "Ping")
        except (Rejected, UnsupportedProtocol) as error:
            tell_json({"refused": type(error).__name__, "message": error})
        except P2PError as error:
            tell_json({"error": f"{type(error).__name__}: {error}"})
        else:
            tell_json({"answer": answer, "ms": (perf_counter() - start) * 1e3})


async def live(identity: Identity, role: str, orders: dict[str, Any]) -> None:
    """Play the role for at most ``LIFE`` seconds."""
    async with asyncio.timeout(LIFE):
        await {"relay": relaying, "bob": answering}.get(role, asking)(identity, orders)


def main(role: str) -> None:
    """Introduce oneself, wait for orders, and play ``role``."""
    identity = Identity()
    tell_json({"peer": identity.peer_id, "process": os.getpid()})
    orders = sys.stdin.readline()
    if orders:
        asyncio.run(live(identity, role, json.loads(orders)))


if __name__ == "__main__":
    main(sys.argv[1])
