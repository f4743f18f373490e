"""The short list over WebSocket, in both roles; with go over the secure one, too.

``make websocket`` plays the whole list over it.

go's client sends fragments of 4 KiB, its server one frame for each record; js sends an empty message in each handshake.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stronghold_p2p.codes import GoAway
from stronghold_p2p.errors import ConnectionClosed, HandshakeError, PeerIdMismatch
from stronghold_p2p.events.events import Ended
from stronghold_p2p.identity.keys.identity import Identity
from tests.interop.names import ECHO, SINK, SOURCE
from tests.interop.our_peer import Pair, our_peer
from tests.interop.real_peer import RealError, real_peer
from tests.interop.ways import ways
from tests.peers import until

PLAYED = [*ways(("go", "js"), over="ws"), *ways(("go",), over="wss")]
OVER_WS = pytest.mark.parametrize("pair", PLAYED, indirect=True, ids=str)
SIZE = 4 << 20


@OVER_WS
async def test_both_know_where_the_other_is(pair: Pair) -> None:
    """Identified, with ``/ws`` in all addresses; and ping."""
    ours, theirs = pair.connection.local_address, pair.connection.remote_address
    assert str(ours).endswith("/ws")
    assert str(theirs).endswith("/ws")
    info = await pair.ours.identified(pair.real.peer)
    assert any(str(address).endswith("/ws") for address in info.addresses)
    assert 0 < await pair.ours.ping.ping(pair.connection) < 5
    assert (await pair.ask("ping", n=3))["rtt_us"]


@OVER_WS
async def test_much_goes_both_ways(pair: Pair) -> None:
    async with await pair.open(SOURCE) as stream:
        await stream.write(SIZE.to_bytes(8, "big"))
        stream.finish()
        assert await stream.read_to_end(SIZE) == bytes(SIZE)
    async with await pair.open(SINK) as stream:
        await stream.write(os.urandom(SIZE))
        stream.finish()
        assert int.from_bytes(await stream.readexactly(8), "big") == SIZE
    assert (await pair.ask("source", bytes=SIZE))["received"] == SIZE
    assert (await pair.ask("sink", bytes=SIZE))["counted"] == SIZE
    await pair.quiet()


@OVER_WS
async def test_small_messages_of_both(pair: Pair) -> None:
    async with await pair.open(ECHO) as stream:
        for number in range(100):
            body = bytes([number]) * (number + 1)
            await stream.write(body)
            assert await stream.readexactly(len(body)) == body
    assert (await pair.ask("streams_sequential", n=50))["done"] == 50
    assert (await pair.ask("streams_concurrent", n=50))["done"] == 50


@OVER_WS
async def test_they_close(pair: Pair) -> None:
    """A close frame with code 1000 or without one, and TCP's end behind it: no error of WebSocket's."""
    await pair.ask("close")
    await until(lambda: pair.connection.closed)
    (ended,) = [event for event in pair.ours.events if isinstance(event, Ended)]
    assert isinstance(ended.error, ConnectionClosed)
    assert "WebSocket" not in str(ended.error)


@OVER_WS
async def test_we_close(pair: Pair) -> None:
    await pair.connection.close(GoAway.NORMAL)
    await until(lambda: not pair.ours.swarm.connections())


async def test_somebody_else_is_there(go: Path) -> None:
    expected = Identity().peer_id
    async with our_peer(over="ws") as ours, real_peer(go, over="ws") as peer:
        with pytest.raises(PeerIdMismatch):
            await ours.swarm.dial(expected, [peer.addresses[0]])
        with pytest.raises(RealError, match="peer id mismatch"):
            await peer.call("connect", addr=f"{ours.swarm.addresses[0]}/p2p/{expected}")


async def test_a_go_peer_of_tcp_is_no_websocket(go: Path) -> None:
    """Nor the other way round: each says so at once."""
    async with our_peer() as ours, real_peer(go) as peer:
        text = str(peer.addresses[0])
        with pytest.raises((HandshakeError, ConnectionClosed)):
            await ours.dial(f"{text.removesuffix('/ws')}/ws/p2p/{peer.peer}")
