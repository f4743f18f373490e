"""A process of ours in a scenario: ``python -m tests.field.node MODE ...``; what it finds are JSON lines.

It goes on until it is killed, or told to stop by SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

from stronghold_p2p import Firewall, Identity, Network, P2PError, PeerId, Rule, Stream
from stronghold_p2p.addressing.kinds import tcp_address
from tests.peers import mirror

BLOCK = bytes(256 << 10)
UPLOAD = "/upload/1.0.0"
RECORD = "record:"  # how each line of a log begins
SERVER, CLIENT = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2))


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def network(identity: Identity, *listen: str) -> Network:
    firewall = Firewall()
    firewall.set(Rule.ALLOW)
    one = Network(identity=identity, listen=listen, firewall=firewall)
    one.on_request(mirror)
    return one


async def forever() -> None:
    await asyncio.Event().wait()


async def answers(address: str) -> None:
    """Connect to ``address``, and answer who asks."""
    async with network(CLIENT) as one:
        await one.request(f"{address}/p2p/{SERVER.peer_id}", "hello")
        say(connected=time.monotonic())
        await forever()


async def asks(listen: str, every: str) -> None:
    """Ask the client ``every`` so many seconds once it has come, and tell how each request has ended, and when."""
    async with network(SERVER, listen) as one:
        say(ready=True)
        while not one.is_connected(CLIENT.peer_id):
            await asyncio.sleep(0.01)
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(_ask(one, CLIENT.peer_id))
                await asyncio.sleep(float(every))


async def _ask(one: Network, peer: PeerId) -> None:
    asked = time.monotonic()
    try:
        await one.request(peer, asked)
    except P2PError as error:
        say(asked=asked, ended=time.monotonic(), error=type(error).__name__, sent=error.sent)
    else:
        say(asked=asked, ended=time.monotonic(), error=None, sent=True)


async def takes(listen: str) -> None:
    """Take uploads, and tell how long each was."""

    async def take(stream: Stream) -> None:
        size = 0
        while piece := await stream.read(1 << 20):
            size += len(piece)
        await stream.write(size.to_bytes(8, "big"))

    async with network(SERVER, listen) as one:
        one.on_stream(UPLOAD)(take)
        say(ready=True)
        await forever()


async def uploads(address: str, seconds: str) -> None:
    """Write for so many seconds, say so, and wait until the other side says how much has come."""
    async with network(CLIENT) as one, one.open_stream(f"{address}/p2p/{SERVER.peer_id}", UPLOAD) as stream:
        end, size = time.monotonic() + float(seconds), 0
        while time.monotonic() < end:
            await stream.write(BLOCK)
            size += len(BLOCK)
        say(written=size)
        try:
            for _ in range(64):  # a window of 16 MiB: no news of it is due before half of it has been read
                await stream.write(BLOCK)
                size += len(BLOCK)
            await stream.close_write()
            came = int.from_bytes(await stream.readexactly(8), "big")
        except P2PError as error:
            say(size=size, came=None, error=str(error))
        else:
            say(size=size, came=came, error=None)


async def listens() -> None:
    """Listen, with every log line on standard error; no address has been made into text by then."""
    logging.basicConfig(level=logging.INFO, format=f"{RECORD} %(name)s %(message)s")
    async with network(SERVER, "/ip4/127.0.0.1/tcp/0") as one:
        target = tcp_address(one.listeners[0].addresses[0])
        assert target is not None
        say(port=target[1])
        await forever()


MODES = {mode.__name__: mode for mode in (answers, asks, takes, uploads, listens)}

if __name__ == "__main__":
    asyncio.run(MODES[sys.argv[1]](*sys.argv[2:]))
