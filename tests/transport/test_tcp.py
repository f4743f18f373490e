"""Listening and connecting, with the system's reasons in our words; and which transport an address is for."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, cast

import pytest
from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import is_unspecified, reach_of, tcp_address
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.addressing.reach import Reach
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConfigError, DialError, ListenError
from stronghold_p2p.transport import tcp
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.tcp import TcpListener, TcpTransport
from stronghold_p2p.transport.upgrading import Dialed, Upgrader
from tests.peers import until

HOST = "/ip4/127.0.0.1/tcp/0"


class Wires(Upgrader):
    """Notes each wire instead of upgrading it."""

    def __init__(self) -> None:
        self.accepted: list[SocketWire] = []
        self.dialed: list[SocketWire] = []
        self.closed = False

    def accept(self, wire: Any, arrivals: Any) -> None:
        self.accepted.append(wire)

    def dial(self, wire: Any, expected: Any, dialed: Dialed) -> None:
        self.dialed.append(wire)
        dialed.proven(cast(Any, wire))

    def close(self) -> None:
        self.closed = True


class Scene:
    def __init__(self) -> None:
        self.wires = Wires()
        self.transport = TcpTransport(self.wires, Timeouts())
        self.listeners: list[TcpListener] = []

    async def listen(self, text: str = HOST) -> TcpListener:
        self.listeners.append(await self.transport.listen(parse(text), cast(Any, None)))
        return self.listeners[-1]

    async def dial(self, address: Multiaddr) -> SocketWire:
        return cast(SocketWire, await self.transport.dial(address, None))


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """A transport; at the end nothing of it is left."""
    on = Scene()
    try:
        yield on
    finally:
        await until(lambda: len(on.wires.accepted) == len(on.wires.dialed))
        for listener in on.listeners:
            listener.stop()
            listener.stop()
            assert listener.addresses == ()
        wires = on.wires.dialed + on.wires.accepted
        for wire in wires:
            wire.abort()
        await until(lambda: all(wire.lost for wire in wires))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_there_and_back(host: str) -> None:
    async with scene() as on:
        listener = await on.listen(f"/ip{6 if ':' in host else 4}/{host}/tcp/0")
        (address,) = listener.addresses
        wire = await on.dial(address)
        await until(lambda: on.wires.accepted)
        (other,) = on.wires.accepted
        assert (wire.remote, other.local, other.remote) == (address, address, wire.local)
        assert (wire.host, other.host) == (host, host)
        for end in (wire, other):  # nothing waits for an acknowledgement
            connected = end.transport.get_extra_info("socket")
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(("unspecified", "version"), [("/ip4/0.0.0.0/tcp/0", 4), ("/ip6/::/tcp/0", 6)])
async def test_an_unspecified_address_stands_for_the_real_ones(unspecified: str, version: int) -> None:
    async with scene() as on:
        addresses = (await on.listen(unspecified)).addresses
        assert reach_of(addresses[0]) is Reach.MACHINE
        assert len(set(addresses)) == len(addresses)
        ports = set()
        for address in addresses:
            host, port, _ = tcp_address(address) or ("", 0, None)
            ports.add(port)
            assert ip_address(host).version == version
            assert not is_unspecified(address)
            await on.dial(address)  # it is really there
        assert len(ports) == 1
        # An IPv6 listener leaves IPv4 alone, and the other way round: otherwise a peer would have two names.
        await on.listen(f"/ip{10 - version}/{'::' if version == 4 else '0.0.0.0'}/tcp/{ports.pop()}")


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/127.0.0.1/udp/1",
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip6/::/tcp/4001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/tcp/4001/ws",
    ],
)
async def test_what_cannot_be_dialed(text: str) -> None:
    """Hostile row 10, as far as it is ours: no SYN leaves for them."""
    async with scene() as on:
        with pytest.raises(DialError):
            await on.dial(parse(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0 cannot be dialed: port 0 stands for any free one"),
        ("/ip4/0.0.0.0/tcp/1", "0.0.0.0 stands for all addresses of a machine: take one of them"),
        ("/dns4/localhost/tcp/1", "names are not looked up yet: give the IP address of localhost"),
        ("/ip6zone/eth99/ip6/fe80::1/tcp/1", r"/tcp/1: there is no zone eth99 here \(Name or service not known\)"),
        ("/ip6/fe80::1/tcp/1", "/ip6/fe80::1/tcp/1: fe80::1 is one in each link: name the zone, as in /ip6zone/eth0/"),
    ],
)
async def test_b18_why_it_cannot_be_dialed_is_told(text: str, told: str) -> None:
    async with scene() as on:
        with pytest.raises(DialError, match=told):
            await on.dial(parse(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/dns4/localhost/tcp/1", "cannot listen on /dns4/localhost/tcp/1: names are not looked up yet"),
        ("/ip4/127.0.0.1/udp/1/quic-v1", "udp/quic-v1 is not supported yet"),
    ],
)
async def test_b18_why_it_cannot_be_listened_on_is_told(text: str, told: str) -> None:
    async with scene() as on:
        with pytest.raises(ConfigError, match=told):
            await on.listen(text)


async def test_a_name_look_up_that_fails_is_told_in_its_own_words() -> None:
    refused = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert tcp._reason(refused, parse("/ip4/127.0.0.1/tcp/1")) == "Temporary failure in name resolution"


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with scene() as on:
        with pytest.raises(DialError, match="refused") as caught:
            await on.dial(parse(f"/ip4/127.0.0.1/tcp/{port}"))
    assert isinstance(caught.value.__cause__, OSError)


async def test_what_cannot_be_listened_on() -> None:
    async with scene() as on:
        with pytest.raises(ConfigError):
            await on.listen("/ip4/127.0.0.1/udp/0")
        with pytest.raises(ListenError, match="an address of this machine") as foreign:
            await on.listen("/ip4/192.0.2.1/tcp/0")
        assert foreign.value.address == "/ip4/192.0.2.1/tcp/0"
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ListenError, match="in use"):
            await on.listen(f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}")


async def test_a_listen_that_is_cancelled_leaves_no_socket() -> None:
    async with scene() as on:
        task = asyncio.ensure_future(on.listen())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EADDRINUSE, "in use; take another port"), (errno.EACCES, "take a port above 1023")]
)
async def test_a_listen_that_fails_late_leaves_no_socket(
    number: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(_self: asyncio.Server) -> None:
        raise OSError(number, "told by the loop")

    monkeypatch.setattr(asyncio.Server, "start_serving", listen)
    async with scene() as on:
        with pytest.raises(ListenError, match=told):
            await on.listen()


class NoName(asyncio.Transport):
    """A transport whose peer had gone before anybody asked for its name."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "sockname" else None


async def test_a_peer_that_is_gone_has_no_address() -> None:
    assert tcp._ends(NoName()) is None


def test_host_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {4: ["127.0.0.1", "192.0.2.7", "192.0.2.7"], 6: ["::1", "fe80::1", "2001:db8::7"]}
    monkeypatch.setattr(tcp, "get_network_addrs", found.__getitem__)
    assert tcp.host_addresses(socket.AF_INET) == ["127.0.0.1", "192.0.2.7"]
    assert tcp.host_addresses(socket.AF_INET6) == ["::1", "2001:db8::7"]


def test_what_it_handles() -> None:
    wires = Wires()
    transport = TcpTransport(wires, Timeouts())
    assert transport.handles(parse(HOST))
    for text in ("/ip4/1.2.3.4/udp/1/quic-v1", "/ip4/1.2.3.4/tcp/1/ws", "/ip4/1.2.3.4"):
        assert not transport.handles(parse(text))
    transport.close()
    assert wires.closed
