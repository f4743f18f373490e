"""Listening and connecting, with the system's reasons in our words; and which transport an address is for."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import Network
from stronghold_p2p.addressing.components import BY_NAME
from stronghold_p2p.addressing.kinds import is_unspecified, reach_of, tcp_address
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.addressing.reach import Reach
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConfigError, DialError, ListenError
from stronghold_p2p.seams import TransportListener
from stronghold_p2p.transport import tcp
from stronghold_p2p.transport.shared_port import PortListener
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.tcp import TcpListener, TcpTransport
from stronghold_p2p.transport.upgrading import Dialed, Upgrader
from tests.peers import until

ROOT = Path(__file__).resolve().parents[2]
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


def beneath(listener: TransportListener) -> TcpListener:
    """The socket of a listener that is alone at its port."""
    return cast(TcpListener, cast(PortListener, listener).port.listening)


class Scene:
    def __init__(self) -> None:
        self.wires = Wires()
        self.transport = TcpTransport(self.wires, Timeouts())
        self.listeners: list[TcpListener] = []

    async def listen(self, text: str = HOST) -> TcpListener:
        self.listeners.append(beneath(await self.transport.listen(parse(text), cast(Any, None))))
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
        ("/dns4/localhost/tcp/1", "it has a name: give the IP address of localhost"),
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
        ("/dns4/localhost/tcp/1", "cannot listen on /dns4/localhost/tcp/1: it has a name"),
        ("/ip4/127.0.0.1/udp/1/quic-v1", "udp/quic-v1 is not supported"),
    ],
)
async def test_b18_why_it_cannot_be_listened_on_is_told(text: str, told: str) -> None:
    async with scene() as on:
        with pytest.raises(ConfigError, match=told):
            await on.listen(text)


async def test_a_name_look_up_that_fails_is_told_in_its_own_words() -> None:
    refused = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert (
        tcp._reason(refused, parse("/ip4/127.0.0.1/tcp/1"), ("127.0.0.1", 1)) == "Temporary failure in name resolution"
    )


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


# ---------------------------------------------------------------------- a system that gives nothing


def listening_sockets() -> int:
    """How many sockets of this process listen: a connection to one of those is accepted by the system."""
    return sum(isinstance(one, tcp._AcceptSocket) and one.fileno() >= 0 for one in gc.get_objects())


@pytest.mark.parametrize("fails", ["create_server", "start_serving", "addresses", "cancelled"])
async def test_b13_a_listener_that_could_not_start_leaves_no_socket(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    if fails == "create_server":
        monkeypatch.setattr(loop, "create_server", AsyncMock(side_effect=OSError(errno.EMFILE, "full")))
    elif fails == "start_serving":
        monkeypatch.setattr(asyncio.Server, "start_serving", AsyncMock(side_effect=OSError(errno.EMFILE, "full")))
    elif fails == "addresses":
        monkeypatch.setattr(TcpListener, "_all_hosts", Mock(side_effect=OSError(errno.EMFILE, "full")))
    before = listening_sockets()
    async with Network() as network:
        if fails == "cancelled":
            listening = asyncio.ensure_future(network.listen("/ip4/0.0.0.0/tcp/0"))
            await asyncio.sleep(0)
            listening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listening
        else:
            with pytest.raises(ListenError, match="Too many open files"):
                await network.listen("/ip4/0.0.0.0/tcp/0")
        assert network.listeners == ()
        await asyncio.sleep(0)
        assert listening_sockets() == before


async def test_b13_a_host_that_hides_its_interfaces_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "get_network_addrs", Mock(side_effect=PermissionError(errno.EACCES, "hidden")))
    async with Network(listen=["/ip4/0.0.0.0/tcp/0"]) as bob, Network() as alice:
        assert str(bob.addresses[0]).startswith("/ip4/127.0.0.1/tcp/")
        found = {str(address).split("/")[2] for address in bob.addresses}
        assert found == set(tcp.guessed_addresses(socket.AF_INET))
        assert (await alice.connect(bob.addresses[0])).peer == bob.peer_id


async def test_b13_what_was_known_stays_while_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ["192.0.2.7"]
    monkeypatch.setattr(tcp, "get_network_addrs", lambda _version: list(found))
    async with Network(listen=["/ip4/0.0.0.0/tcp/0"]) as bob:
        before = bob.addresses
        assert len(before) == 2
        monkeypatch.setattr(tcp, "get_network_addrs", Mock(side_effect=OSError(errno.EMFILE, "full")))
        bob._swarm.listeners.look()
        assert bob.addresses == before


def test_b13_loopback_is_told_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "get_network_addrs", lambda version: ["192.0.2.7"] if version == 4 else ["2001:db8::7"])
    bind = Mock(side_effect=OSError(errno.EADDRNOTAVAIL, "no such address"))
    monkeypatch.setattr(socket, "socket", Mock(return_value=MagicMock(**{"__enter__.return_value.bind": bind})))
    assert tcp.host_addresses(socket.AF_INET) == ["192.0.2.7"]
    assert tcp.host_addresses(socket.AF_INET6) == ["2001:db8::7"]
    bind.side_effect = OSError(errno.EMFILE, "full")
    with pytest.raises(OSError, match="full"):
        tcp.host_addresses(socket.AF_INET)


def test_b13_a_guess_without_a_route_is_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Mock(side_effect=OSError(errno.EMFILE, "full")))
    assert tcp.guessed_addresses(socket.AF_INET) == ["127.0.0.1"]
    assert tcp.guessed_addresses(socket.AF_INET6) == ["::1"]


def test_b13_the_advice_speaks_of_the_right_kind() -> None:
    error = OSError(errno.EADDRNOTAVAIL, "x")
    assert tcp._advice(error, ("2001:db8::7", 1)).endswith("or :: for all")
    assert tcp._advice(error, ("192.0.2.7", 1)).endswith("or 0.0.0.0 for all")


async def test_b12_what_the_loop_calls_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    """Accepting, being accepted, and being closed: each with whatever is told of it failing."""
    arrivals = Mock(
        **dict.fromkeys(("missed.side_effect", "closed.side_effect", "admit.side_effect"), ZeroDivisionError)
    )
    transport = TcpTransport(Upgrader(cast(Any, None), None), Timeouts())
    listener = beneath(await transport.listen(parse(HOST), arrivals))
    assert listener._server is not None
    (address,) = listener.addresses
    host, port, _ = tcp_address(address) or ("", 0, None)
    accepting = next(one for one in gc.get_objects() if getattr(one, "listener", None) is listener)
    with socket.create_connection((host, port)) as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(client, 1) == b""  # closed, as the fault is ours
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "accept", Mock(side_effect=OSError(errno.EMFILE, "full")))
        with pytest.raises(OSError, match="full"):  # which asyncio knows, and no ZeroDivisionError
            accepting.accept()
    assert arrivals.missed.called
    listener._server.close()
    assert arrivals.closed.called
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    caplog.clear()
    arrivals.reset_mock(side_effect=True)
    del accepting


FULL = """
import asyncio, os, resource
from stronghold_p2p import DialError, ListenError, Network

async def told(call):
    try:
        await call
    except (DialError, ListenError) as error:
        print(type(error).__name__)
    else:
        print("done")

async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Network(listen=["/ip4/127.0.0.1/tcp/0"]) as bob, Network() as alice:
        held = [os.dup(0) for _ in range(16)]  # also those in between
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 1, most))
        for call in (alice.connect(bob.addresses[0]), alice.request(bob.addresses[0], "x"), alice.listen(ALL)):
            await told(call)
        os.close(held.pop())
        await told(alice.listen(ALL))
        print(len(alice.listeners))
        for one in held:
            os.close(one)

ALL = "/ip4/0.0.0.0/tcp/0"
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of descriptors are Unix's")
def test_b13_without_a_descriptor_errors_are_those_of_the_call() -> None:
    """None is left; then one, which is enough to listen, but not to look at the addresses of this host."""
    said = subprocess.run([sys.executable, "-c", FULL], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.stdout.split() == ["DialError", "DialError", "ListenError", "done", "1"], said.stderr


PRINTS = """
import asyncio, importlib, resource, sys
from stronghold_p2p import Network, PeerId
from stronghold_p2p.addressing.components import BY_NAME
from stronghold_p2p.addressing.parse import parse

Network()
known = set(sys.modules)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # nothing can be opened any more
for text in sys.argv[1:]:
    print(str(parse(text)))
assert set(sys.modules) == known, set(sys.modules) - known
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of descriptors are Unix's")
def test_b12_addresses_of_each_kind_can_be_printed_without_a_descriptor() -> None:
    values = {
        "ip4": "192.0.2.1", "ip6": "2001:db8::1", "ip6zone": "eth0/ip6/fe80::1", "memory": "7",
        "p2p": "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA", "unix": "a/b", "ipcidr": "8",
        "onion3": "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234", "http-path": "a",
        "certhash": "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g",
        **dict.fromkeys(("tcp", "udp", "dccp", "sctp"), "4001"),
        **dict.fromkeys(("dns", "dns4", "dns6", "dnsaddr"), "example.org"), "sni": "bücher.example",
    }  # fmt: skip
    kinds = {protocol.name: protocol.size for protocol in BY_NAME.values()}
    assert {name for name, size in kinds.items() if size != 0} == set(values)
    texts = [f"/{name}" + (f"/{values[name]}" if name in values else "") for name in kinds]
    command = [sys.executable, "-c", PRINTS, *texts]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout.split()) == (0, texts), said.stderr
