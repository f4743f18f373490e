"""Dialing and listening over WebSocket, with everything above it: what it handles, and what it answers to others.

Interoperability stands in tests/interop, hostile input in tests/hostile.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as package_dials
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as package_serves

from stronghold_p2p import Network
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import (
    ConfigError,
    ConnectionClosed,
    DeadlineExceeded,
    DialError,
    HandshakeError,
    ListenError,
)
from stronghold_p2p.events.events import AcceptFailed, Event
from stronghold_p2p.multistream import HEADER
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.tcp import TcpTransport
from stronghold_p2p.transport.upgrading import Upgrader
from stronghold_p2p.transport.websocket import WebSocketTransport
from stronghold_p2p.transport.websocket_opening import SENTENCE
from tests.peers import ECHO, ask, connect, echo, swarm, until

ROOT = Path(__file__).resolve().parents[2]
WS = "/ip4/127.0.0.1/tcp/0/ws"


def port_of(one: Swarm) -> int:
    return int(str(one.addresses[0]).split("/")[4])


async def listening(one: Swarm, address: str = WS) -> None:
    await one.listen(parse(address))


@pytest.mark.parametrize("host", ["ip4/127.0.0.1", "ip6/::1"])
async def test_there_and_back(host: str) -> None:
    """Both ends name themselves and each other with ``/ws``; large and small messages go both ways."""
    async with swarm(1, listen=False) as alice, swarm(2, listen=False) as bob:
        await listening(bob, f"/{host}/tcp/0/ws")
        bob.handle(ECHO, echo)
        connection = await connect(alice, bob)
        (other,) = bob.connections()
        assert [str(address)[-3:] for address in bob.addresses] == ["/ws"]
        assert connection.remote_address == bob.addresses[0] == other.local_address
        assert connection.local_address == other.remote_address
        body = bytes(range(256)) * 400
        assert await ask(connection, body) == body
        assert await ask(connection, b"") == b""


def test_what_it_handles() -> None:
    transport = WebSocketTransport(TcpTransport(Upgrader.__new__(Upgrader), Timeouts()))
    for text in (
        "/ip4/192.0.2.1/tcp/80/ws",
        "/ip6/::1/tcp/1/ws/http-path/a%2Fb",
        "/ip4/192.0.2.1/tcp/1/wss",
        "/ip4/192.0.2.1/tcp/1/ws",
    ):
        assert transport.handles(parse(text))
    for text in (
        "/ip4/192.0.2.1/tcp/80",
        "/dns4/example.org/tcp/80/ws",
        "/ip4/192.0.2.1/udp/80/quic-v1",
    ):
        assert not transport.handles(parse(text))


@pytest.mark.parametrize("text", ["/ip4/127.0.0.1/tcp/0/ws", "/ip4/0.0.0.0/tcp/1/ws", "/ip4/127.0.0.1/tcp/1/ws"])
async def test_what_cannot_be_dialed(text: str) -> None:
    async with swarm(1, listen=False) as alice:
        with pytest.raises(DialError):
            await alice.dial(None, [parse(text)])


async def test_what_cannot_be_listened_on() -> None:
    transport = WebSocketTransport(TcpTransport(Upgrader.__new__(Upgrader), Timeouts()))
    with pytest.raises(ConfigError):
        await transport.listen(parse("/ip4/127.0.0.1/tcp/1"), None)  # type: ignore[arg-type]
    with pytest.raises(DialError):
        await transport.dial(parse("/ip4/127.0.0.1/tcp/1"), None)
    async with swarm(1, listen=False) as one, swarm(2, listen=False) as other:
        await listening(one)
        with pytest.raises(ListenError):
            await listening(other, f"/ip4/127.0.0.1/tcp/{port_of(one)}/ws")


@pytest.mark.parametrize("name", ["", "peer.example.org"])
async def test_a_server_is_told_the_name_that_was_dialed_and_the_path(name: str) -> None:
    """By others than us, which end the connection when they have heard it."""
    heard: list[tuple[str, str]] = []

    async def serve(connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        heard.append((request.headers["Host"], request.path))
        assert await connection.recv() == HEADER + b"\x07/noise\n" + b""

    async with package_serves(serve, "127.0.0.1", 0) as server, swarm(1, listen=False) as alice:
        port = next(iter(server.sockets)).getsockname()[1]
        address = parse(f"/ip4/127.0.0.1/tcp/{port}/ws/http-path/some%2Fwhere")
        transport = alice.transport_for(address)
        assert transport is not None
        with pytest.raises(ConnectionClosed):
            await transport.dial(address, None, name=name)
    assert heard == [(f"{name or '127.0.0.1'}:{port}", "/some/where")]


async def test_the_package_talks_to_our_listener() -> None:
    """Deflate, which it offers, is declined; text, empty messages and fragments are bytes as any others."""
    async with swarm(2, listen=False) as bob:
        await listening(bob)
        async with package_dials(f"ws://127.0.0.1:{port_of(bob)}/any/path") as theirs:
            assert theirs.protocol.extensions == []
            await theirs.send("\x13/multistream")
            await theirs.send(b"")
            await theirs.send([b"/1.", b"0.", b"0\n"])
            assert await theirs.recv() == HEADER


async def test_a_browser_and_a_health_check_are_told_what_is_here(caplog: pytest.LogCaptureFixture) -> None:
    """And it is nothing to worry about: the event says what it was, the log a line at INFO."""
    seen: list[Event] = []
    async with swarm(2, listen=False) as bob:
        bob.hub.on_event(seen.append)
        await listening(bob)

        def look() -> tuple[int, str]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port_of(bob)}/healthz", timeout=5) as answer:
                return answer.status, answer.read().decode()

        assert await asyncio.to_thread(look) == (200, SENTENCE)
        await until(lambda: any(isinstance(event, AcceptFailed) for event in seen))
        (failed,) = [event for event in seen if isinstance(event, AcceptFailed)]
        assert isinstance(failed.error, HandshakeError)
        assert failed.error.phase == "websocket"
        assert bob.snapshot()["pending_in"] == 0
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_request_of_another_kind_is_refused_in_words() -> None:
    async with swarm(2, listen=False) as bob:
        await listening(bob)

        def post() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port_of(bob), timeout=5)
            connection.request("POST", "/", headers={"Content-Length": "0"})
            answer = connection.getresponse()
            said = answer.status, answer.read()
            connection.close()
            return said

        status, words = await asyncio.to_thread(post)
        assert status == 405
        assert b"POST" in words


async def test_a_web_server_that_is_no_peer() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nno way")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, swarm(1, listen=False) as alice:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HandshakeError, match="403 Forbidden"):
            await alice.dial(None, [parse(f"/ip4/127.0.0.1/tcp/{port}/ws")])


async def test_a_server_that_says_nothing_has_the_time_of_an_upgrade() -> None:
    held: list[asyncio.StreamWriter] = []

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with swarm(1, listen=False, timeouts=Timeouts(upgrade=0.2)) as alice:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DeadlineExceeded, match="upgrade"):
            await alice.dial(None, [parse(f"/ip4/127.0.0.1/tcp/{port}/ws")])
        for writer in held:
            writer.close()
    server.close()


async def test_a_dial_that_is_cancelled_leaves_nothing() -> None:
    """At any of its suspensions; the leak check sees to the rest."""
    async with swarm(2, listen=False) as bob:
        await listening(bob)
        address, turns, done = bob.addresses[0], 0, False
        while not done:
            turns += 1
            async with swarm(1, listen=False) as alice:
                transport = alice.transport_for(address)
                assert transport is not None
                dial = asyncio.ensure_future(transport.dial(address, bob.peer_id))
                for _ in range(turns):
                    await asyncio.sleep(0)
                dial.cancel()
                with suppress(asyncio.CancelledError):
                    (await dial).refuse(0, ConnectionClosed("it was quicker"))
                    done = True
                assert done or not alice.upgrader.running
        assert turns >= 5  # the socket, the handshake, Noise
        await until(lambda: not bob.upgrader.running)
        assert bob.snapshot()["pending_in"] == 0


@pytest.mark.parametrize("who", ["ours", "theirs"])
async def test_whoever_closes_who_reads_is_told(who: str) -> None:
    async with swarm(1, listen=False) as alice, swarm(2, listen=False) as bob:
        await listening(bob)
        bob.handle(ECHO, echo)
        connection = await connect(alice, bob)
        stream = await connection.open_stream(ECHO)
        reading = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0.05)
        await (connection if who == "ours" else bob.connections()[0]).close()
        with pytest.raises(ConnectionClosed):
            await reading


async def test_the_end_of_a_network_is_told_over_it() -> None:
    async with Network(listen=[WS]) as bob, Network() as alice:
        connection = await alice.connect(str(bob.addresses[0]))
        await bob.close()
        await until(lambda: not alice.connections())
        assert connection.closed


def test_the_package_is_loaded_when_the_first_such_address_is_used() -> None:
    code = (
        "import asyncio, sys\n"
        "from stronghold_p2p import Network\n"
        "async def main():\n"
        "    async with Network(listen=['/ip4/127.0.0.1/tcp/0']) as bob, Network() as alice:\n"
        "        await alice.connect(str(bob.addresses[0]))\n"
        "        assert 'websockets' not in sys.modules\n"
        "        listener = await bob.listen('/ip4/127.0.0.1/tcp/0/ws')\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
