"""Listening and connecting, with the system's reasons in our words."""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import ip_address

import pytest

from stronghold_p2p.addressing.kinds import is_loopback, is_unspecified, tcp_address
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.errors import ConfigError, DialError, ListenError
from stronghold_p2p.transport import interfaces, tcp
from stronghold_p2p.transport.socket_wire import SocketWire
from tests.peers import until


class Arrivals:
    """Notes each connection that is made."""

    def __init__(self) -> None:
        self.links: list[SocketWire] = []

    def __call__(self, link: SocketWire) -> None:
        self.links.append(link)

    async def end(self) -> None:
        for link in self.links:
            link.abort()
        await until(lambda: all(link.lost for link in self.links))


@pytest.mark.parametrize("host", ["/ip4/127.0.0.1", "/ip6/::1"])
async def test_there_and_back(host: str) -> None:
    accepted, made = Arrivals(), Arrivals()
    server = await tcp.listen(parse(f"{host}/tcp/0"), accepted)
    (address,) = tcp.bound_addresses(server)
    link = await tcp.connect(address, made)
    assert made.links == [link]
    await until(lambda: accepted.links)
    local, remote = tcp.addresses_of(link.transport) or (None, None)
    assert remote == address
    assert tcp.addresses_of(accepted.links[0].transport) == (address, local)
    assert tcp.remote_host(accepted.links[0].transport) == host.split("/")[2]
    server.close()
    await made.end()
    await accepted.end()


@pytest.mark.parametrize(("unspecified", "version"), [("/ip4/0.0.0.0/tcp/0", 4), ("/ip6/::/tcp/0", 6)])
async def test_an_unspecified_address_stands_for_the_real_ones(unspecified: str, version: int) -> None:
    accepted, made = Arrivals(), Arrivals()
    server = await tcp.listen(parse(unspecified), accepted)
    addresses = tcp.bound_addresses(server)
    assert is_loopback(addresses[0])
    assert len(set(addresses)) == len(addresses)
    for address in addresses:
        host, port, _ = tcp_address(address) or ("", 0, None)
        assert ip_address(host).version == version
        assert port == server.sockets[0].getsockname()[1]
        assert not is_unspecified(address)
        await tcp.connect(address, made)  # it is really there
    server.close()
    await made.end()
    await accepted.end()


async def test_an_ipv6_listener_leaves_ipv4_alone() -> None:
    """Otherwise an IPv4 peer would have two names."""
    six = await tcp.listen(parse("/ip6/::/tcp/0"), Arrivals())
    port = six.sockets[0].getsockname()[1]
    four = await tcp.listen(parse(f"/ip4/0.0.0.0/tcp/{port}"), Arrivals())
    six.close()
    four.close()


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
    with pytest.raises(DialError):
        await tcp.connect(parse(text), Arrivals())


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DialError, match="refused") as caught:
        await tcp.connect(parse(f"/ip4/127.0.0.1/tcp/{port}"), Arrivals())
    assert isinstance(caught.value.__cause__, OSError)


async def test_what_cannot_be_listened_on() -> None:
    with pytest.raises(ConfigError):
        await tcp.listen(parse("/ip4/127.0.0.1/udp/0"), Arrivals())
    with pytest.raises(ListenError) as foreign:
        await tcp.listen(parse("/ip4/192.0.2.1/tcp/0"), Arrivals())
    assert foreign.value.address == "/ip4/192.0.2.1/tcp/0"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ListenError, match="in use"):
        await tcp.listen(parse(f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"), Arrivals())


async def test_nothing_waits_for_an_acknowledgement() -> None:
    accepted, made = Arrivals(), Arrivals()
    server = await tcp.listen(parse("/ip4/127.0.0.1/tcp/0"), accepted)
    await tcp.connect(tcp.bound_addresses(server)[0], made)
    await until(lambda: accepted.links)
    for link in accepted.links + made.links:
        connected = link.transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    server.close()
    await accepted.end()
    await made.end()


async def test_a_listen_that_is_cancelled_leaves_no_socket() -> None:
    task = asyncio.ensure_future(tcp.listen(parse("/ip4/127.0.0.1/tcp/0"), Arrivals()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_listen_that_fails_late_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(_self: asyncio.Server) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(asyncio.Server, "start_serving", listen)
    with pytest.raises(ListenError, match="in use"):
        await tcp.listen(parse("/ip4/127.0.0.1/tcp/0"), Arrivals())


class NoName(asyncio.Transport):
    """A transport whose peer had gone before anybody asked for its name."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "sockname" else None


async def test_a_peer_that_is_gone_has_no_address() -> None:
    assert tcp.addresses_of(NoName()) is None
    assert tcp.remote_host(NoName()) is None


def test_host_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {4: ["127.0.0.1", "192.0.2.7", "192.0.2.7"], 6: ["::1", "fe80::1", "2001:db8::7"]}
    monkeypatch.setattr(interfaces, "get_network_addrs", found.__getitem__)
    assert interfaces.host_addresses(socket.AF_INET) == ["127.0.0.1", "192.0.2.7"]
    assert interfaces.host_addresses(socket.AF_INET6) == ["::1", "2001:db8::7"]
