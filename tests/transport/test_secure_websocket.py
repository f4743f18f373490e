"""Secure WebSocket between networks: names, certificates that change, proxies on the way, and one port for all."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import (
    AcceptFailed,
    CertificateError,
    ConfigError,
    DeadlineExceeded,
    DialError,
    HandshakeError,
    ListenError,
    Network,
    ProxyError,
    Timeouts,
    WebTLS,
)
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.transport.certificates import LOOK_EVERY
from stronghold_p2p.transport.websocket_opening import SENTENCE
from tests.peers import LOOPBACK, until
from tests.support.certificates import DAY, NAME, Authority

WSS = f"{LOOPBACK}/tls/ws"
NAMED = f"{LOOPBACK}/tls/sni/{NAME}/ws"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@asynccontextmanager
async def both(authority: Authority, *listen: str, tls: WebTLS | None = None) -> AsyncIterator[tuple[Network, Network]]:
    """Alice trusts the authority; bob has a certificate of it, and listens."""
    bobs = authority.issue() if tls is None else tls
    async with Network(tls=WebTLS(ca=authority.ca)) as alice, Network(listen=listen or [NAMED], tls=bobs) as bob:
        yield alice, bob


async def met(alice: Network, bob: Network, address: Multiaddr | None = None) -> None:
    """They connect, and are no longer connected afterwards."""
    await alice.connect(address or bob.addresses[0])
    assert await alice.ping(bob.peer_id) > 0
    await alice.disconnect(bob.peer_id)


async def by_name(alice: Network, bob: Network, name: str = NAME) -> None:
    """As the dialer does it, once it has looked ``name`` up."""
    address, _ = split_peer(bob.addresses[0])
    transport = alice._swarm.transport_for(address)
    assert transport is not None
    upgraded = await transport.dial(address, bob.peer_id, name=name)
    upgraded.refuse(0, DialError("only a try"))
    await until(lambda: not alice._swarm.upgrader.running)


@pytest.mark.parametrize("host", ["ip4/127.0.0.1", "ip6/::1"])
async def test_there_and_back(authority: Authority, host: str) -> None:
    async with both(authority, f"/{host}/tcp/0/tls/sni/{NAME}/ws") as (alice, bob):
        connection = await alice.connect(bob.addresses[0])
        (other,) = bob.connections()
        assert str(connection.remote_address).endswith(f"/tls/sni/{NAME}/ws")
        assert str(connection.local_address).endswith("/tls/ws")
        assert str(other.remote_address).endswith("/tls/ws")
        assert await alice.ping(bob.peer_id) > 0


async def test_wss_is_tls_ws(authority: Authority) -> None:
    async with both(authority, f"{LOOPBACK}/wss", tls=authority.issue("127.0.0.1")) as (alice, bob):
        (address,) = bob.addresses
        assert "/tls/ws/p2p/" in str(address)
        await met(alice, bob)
        await met(alice, bob, parse(str(address).replace("/tls/ws", "/wss")))


async def test_the_name_that_was_looked_up_is_verified(authority: Authority) -> None:
    async with both(authority, WSS) as (alice, bob):
        await by_name(alice, bob)
        with pytest.raises(CertificateError, match="for other names"):
            await by_name(alice, bob, "other.example")
        with pytest.raises(CertificateError, match="not for this IP address"):
            await alice.connect(bob.addresses[0])


async def test_errors_of_certificates(authority: Authority, tmp_path: Path) -> None:
    async with both(authority, tls=authority.issue(starts=-2 * DAY, ends=-DAY)) as (alice, bob):
        with pytest.raises(CertificateError) as caught:
            await alice.connect(bob.addresses[0])
        assert (caught.value.reason, caught.value.peer) == ("expired", bob.peer_id)
        async with Network() as carol:
            with pytest.raises(CertificateError, match="does not trust its authority"):
                await carol.connect(bob.addresses[0])


async def test_a_certificate_is_exchanged_while_it_is_in_use(authority: Authority) -> None:
    """Connections stay; within a second who comes is shown the new one."""
    first = authority.issue("other.example")
    async with both(authority, NAMED, tls=first) as (alice, bob):
        with pytest.raises(CertificateError):
            await alice.connect(bob.addresses[0])
        authority.issue(number=8)
        await asyncio.sleep(LOOK_EVERY)
        await met(alice, bob)


async def test_without_a_certificate_nobody_listens() -> None:
    async with Network() as network:
        with pytest.raises(ConfigError, match="needs a certificate"):
            await network.listen(WSS)
        with pytest.raises(ConfigError, match="cannot listen"):
            await network.listen(f"/dns4/{NAME}/tcp/0/tls/ws")
    with pytest.raises(ConfigError, match="is not there"):
        Network(tls=WebTLS(ca="/nowhere"))
    with pytest.raises(ConfigError, match="WebTLS"):
        Network(tls="cert.pem")  # type: ignore[arg-type]


async def test_who_speaks_no_tls(authority: Authority) -> None:
    async with both(authority, f"{LOOPBACK}/ws") as (alice, bob):
        with pytest.raises(HandshakeError, match="speaks no TLS") as caught:
            await alice.connect(parse(str(bob.addresses[0]).replace("/ws", f"/tls/sni/{NAME}/ws")))
        assert caught.value.phase == "tls"


@asynccontextmanager
async def silence() -> AsyncIterator[int]:
    """Takes what comes, and says nothing; where."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        server.close()


async def test_a_server_that_says_nothing_has_the_deadline_of_the_upgrade() -> None:
    async with silence() as port, Network(timeouts=Timeouts(upgrade=0.2)) as alice:
        with pytest.raises(DeadlineExceeded) as caught:
            await alice.connect(f"/ip4/127.0.0.1/tcp/{port}/tls/ws")
        assert caught.value.phase == "upgrade"


async def test_who_gives_up_in_the_handshake_leaves_nothing() -> None:
    async with silence() as port, Network() as alice:
        dial = asyncio.create_task(alice.connect(f"/ip4/127.0.0.1/tcp/{port}/tls/ws"))
        await until(lambda: alice._swarm.upgrader.running)
        dial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dial
        await until(lambda: not alice._swarm.upgrader.running and not alice.stats()["pending_out"])


# ---------------------------------------------------------------------- one port


def fetched(port: int, context: ssl.SSLContext | None = None) -> str:
    """What a browser would be told."""
    if context is None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    else:
        context.check_hostname = False
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    with contextlib.closing(client):
        client.request("GET", "/")
        answer = client.getresponse()
        assert answer.status == 200
        return answer.read().decode()


async def test_one_port_for_all(authority: Authority) -> None:
    async with both(authority, LOOPBACK) as (alice, bob):
        place, _ = split_peer(bob.addresses[0])
        listeners = [await bob.listen(f"{place}{kind}") for kind in ("/ws", f"/tls/sni/{NAME}/ws")]
        assert [str(split_peer(address)[0])[len(str(place)) :] for address in bob.addresses] == [
            "",
            "/ws",
            f"/tls/sni/{NAME}/ws",
        ]
        for address in bob.addresses:
            await met(alice, bob, address)
        port = int(str(place).split("/")[4])
        trusting = ssl.create_default_context(cafile=str(authority.ca))
        assert await asyncio.to_thread(fetched, port) == SENTENCE
        assert await asyncio.to_thread(fetched, port, trusting) == SENTENCE
        with pytest.raises(ListenError):
            await bob.listen(f"{place}/ws")
        await listeners[0].close()
        assert ["/tls/" in str(address) for address in bob.addresses] == [False, True]
        plain = parse(f"{place}/ws")
        transport = alice._swarm.transport_for(plain)
        assert transport is not None
        with pytest.raises(HandshakeError, match="400 Bad Request"):
            await transport.dial(plain, bob.peer_id)
        await met(alice, bob, bob.addresses[0])
        await listeners[1].close()
        await met(alice, bob, bob.addresses[0])
        await bob.listeners[0].close()
        await bob.listen(place)  # it is free again


async def test_what_nobody_speaks_at_a_shared_port(authority: Authority) -> None:
    async with both(authority, LOOPBACK) as (_, bob):
        place, _ = split_peer(bob.addresses[0])
        await bob.listen(f"{place}/ws")
        failed: list[AcceptFailed] = []
        bob.on_event(lambda event: failed.append(event) if isinstance(event, AcceptFailed) else None)
        for first in (b"\x16\x03\x01\0\x05hello", b"\xff\xff\xff", b"SSH-2.0-x\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(str(place).split("/")[4]))
            writer.write(first)
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
        await until(lambda: len(failed) == 3)
        assert {type(event.error).__name__ for event in failed} <= {"HandshakeError", "NegotiationError"}


async def test_silence_at_a_shared_port_has_its_deadline(authority: Authority) -> None:
    async with Network(listen=[LOOPBACK], timeouts=None) as bob:
        bob._swarm.upgrader.timeout = 0.2
        place, _ = split_peer(bob.addresses[0])
        await bob.listen(f"{place}/ws")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(str(place).split("/")[4]))
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        assert bob.stats()["pending_in"] == 0


# ---------------------------------------------------------------------- proxies


class ConnectProxy:
    """An HTTP proxy: leads each CONNECT to ``port``, whatever host it names, and notes what it was asked."""

    def __init__(self, port: int, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.port = port
        self.answer = answer
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.answer)
            if b" 200 " in self.answer:
                there, back = await asyncio.open_connection("127.0.0.1", self.port)
                await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxied(
    monkeypatch: pytest.MonkeyPatch, proxy: ConnectProxy, *, variable: str, tls: WebTLS | None = None
) -> AsyncIterator[None]:
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(tls.certificate), str(tls.key))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    host = "127.0.0.1" if tls is None else "localhost"
    monkeypatch.setenv(variable, f"{'http' if tls is None else 'https'}://al:ice@{host}:{port}")
    async with server:
        yield
        server.close()


def port_of(network: Network) -> int:
    return int(str(network.addresses[0]).split("/")[4])


@pytest.mark.parametrize(("kind", "variable"), [("/ws", "HTTP_PROXY"), ("/tls/ws", "HTTPS_PROXY")], ids=["ws", "wss"])
async def test_through_a_proxy_by_name(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, kind: str, variable: str
) -> None:
    """The proxy is asked for the name; nobody here looks it up. The certificate is for that name."""
    async with both(authority, LOOPBACK + kind) as (alice, bob):
        proxy = ConnectProxy(port_of(bob))
        address = parse(f"/dns4/{NAME}/tcp/443{kind}")
        assert alice._swarm.transport_for(address) is None
        async with proxied(monkeypatch, proxy, variable=variable):
            transport = alice._swarm.transport_for(address)
            assert transport is not None
            upgraded = await transport.dial(address, bob.peer_id)
            assert upgraded.peer == bob.peer_id
            upgraded.refuse(0, DialError("only a try"))
            await until(lambda: not alice._swarm.upgrader.running)
        (asked,) = proxy.asked
        assert asked.startswith(f"CONNECT {NAME}:443 HTTP/1.1\r\n")
        assert "Proxy-Authorization: Basic " in asked


async def test_through_a_proxy_that_speaks_tls_itself(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS inside TLS; data of many records goes both ways."""
    async with both(authority, WSS) as (alice, bob):
        proxy = ConnectProxy(port_of(bob))
        tls = authority.issue("localhost", file="proxy")
        async with proxied(monkeypatch, proxy, variable="https_proxy", tls=tls):
            await by_name(alice, bob)
        assert proxy.asked[0].startswith(f"CONNECT {NAME}:")


async def test_what_is_near_needs_no_proxy(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    async with both(authority) as (alice, bob):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        await met(alice, bob)
        monkeypatch.setenv("NO_PROXY", NAME)
        await by_name(alice, bob)


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 403, "does not allow"),
        (b"", None, "without an answer"),
        (b"220 smtp.example\r\n\r\n", None, "is no HTTP proxy"),
    ],
)
async def test_a_proxy_that_leads_nowhere(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, answer: bytes, status: int | None, words: str
) -> None:
    async with both(authority, WSS) as (alice, bob):
        async with proxied(monkeypatch, ConnectProxy(1, answer), variable="HTTPS_PROXY"):
            with pytest.raises(ProxyError, match=words) as caught:
                await by_name(alice, bob)
            assert caught.value.status == status
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        with pytest.raises(ProxyError, match="cannot be reached"):
            await by_name(alice, bob)
        monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
        with pytest.raises(ProxyError, match="only http and https"):
            await by_name(alice, bob)
