"""The face of the package, as a program uses it."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

import stronghold_p2p
from stronghold_p2p import (
    CONNECTION,
    JSON,
    STRONGHOLD,
    Accepting,
    AddressAdded,
    AddressBook,
    Attempt,
    ConfigError,
    ConnectionClosed,
    DeadlineExceeded,
    DialError,
    Firewall,
    Identity,
    Judged,
    Limits,
    ListenError,
    Network,
    Opened,
    PeerIdMismatch,
    Rejected,
    Request,
    RequestFailed,
    RequestProtocol,
    Rule,
    Stream,
    StreamReset,
    Timeouts,
    UnsupportedProtocol,
    UsageError,
    messages,
)
from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.book.addresses import store_of
from tests.peers import LOOPBACK, until

UPPER = "/upper/1.0.0"


def open_to_all(**options: Any) -> Network:
    network = Network(listen=[LOOPBACK], **options)
    network.firewall.set(Rule.ALLOW)
    return network


async def upper(stream: Stream) -> None:
    async for chunk in stream:
        await stream.write(chunk.upper())


def speaking() -> Network:
    network = open_to_all()
    network.on_stream(UPPER)(upper)
    return network


def test_every_public_name_is_there() -> None:
    assert sorted(stronghold_p2p.__all__) == sorted(set(stronghold_p2p.__all__))
    for name in stronghold_p2p.__all__:
        assert hasattr(stronghold_p2p, name)


async def test_who_and_where() -> None:
    identity = Identity()
    network = Network(identity=identity, listen=[LOOPBACK, parse("/ip4/127.0.0.1/tcp/0")], name="bob")
    assert network.peer_id == identity.peer_id
    assert repr(network) == f"<Network bob {identity.peer_id}>"
    assert network.addresses == ()
    async with network:
        assert len(network.addresses) == 2 == len(network.listeners)
        for address in network.addresses:
            place, peer = split_peer(address)
            assert peer == identity.peer_id
            assert re.fullmatch(r"/ip4/127\.0\.0\.1/tcp/[1-9]\d*", str(place))
        await network.listeners[0].close()
        assert len(network.addresses) == 1
    assert network.addresses == ()
    assert repr(Network(identity=identity)) == f"<Network {identity.peer_id}>"


async def test_listening_on_one_more_address() -> None:
    async with Network() as bob, Network() as alice:
        listener = await bob.listen(f"{LOOPBACK}/p2p/{bob.peer_id}")
        assert [str(address) for address in listener.addresses] == [
            str(split_peer(address)[0]) for address in bob.addresses
        ]
        connection = await alice.connect(bob.addresses[0])
        assert connection.peer == bob.peer_id
        await listener.close()
        await listener.close()
        assert bob.listeners == ()
        assert not connection.closed
        await bob.listen(listener.addresses[0])  # it is free again


@pytest.mark.parametrize("address", ["nonsense", "/ip4/1.2.3.4", "/ip4/256.0.0.1/tcp/1", "/udp/1", "", "/dns4/x/tcp/1"])
async def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ConfigError):
        async with Network(listen=[address]):
            raise AssertionError


def test_one_address_is_no_list_of_addresses() -> None:
    with pytest.raises(ConfigError, match=r"take \['/ip4/127.0.0.1/tcp/0'\]"):
        Network(listen=LOOPBACK)


@pytest.mark.tcp
async def test_an_address_that_cannot_be_had() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        taken = str(from_socket(bound.getsockname()))
        with pytest.raises(ListenError) as caught:
            async with Network(listen=[LOOPBACK, taken]):
                raise AssertionError
        assert caught.value.address == taken
    async with Network() as network:
        with pytest.raises(ConfigError, match="another peer"):
            await network.listen(f"{LOOPBACK}/p2p/{Identity().peer_id}")


async def test_a_network_is_open_inside_its_block_only() -> None:
    network = Network()
    calls = (
        lambda: network.request(LOOPBACK, "Ping"),
        lambda: network.connect(LOOPBACK),
        lambda: network.listen(LOOPBACK),
        lambda: network.ping(LOOPBACK),
        lambda: network.identify(LOOPBACK),
        lambda: network.disconnect(network.peer_id),
        lambda: network.serve_forever(),
        lambda: network.open_stream(LOOPBACK, UPPER).__aenter__(),
    )
    for call in calls:
        with pytest.raises(UsageError, match="async with"):
            await call()
    async with network:
        pass
    for call in calls:
        with pytest.raises(UsageError, match="async with"):
            await call()
    with pytest.raises(UsageError, match="once"):
        async with network:
            raise AssertionError


def test_a_network_belongs_to_one_loop() -> None:
    network = Network()

    async def enter() -> None:
        await network.__aenter__()

    async def use() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            await network.connect(LOOPBACK)

    async def leave() -> None:
        await network.__aexit__(None, None, None)

    with asyncio.Runner() as first:
        first.run(enter())
        asyncio.run(use())
        first.run(leave())


# ---------------------------------------------------------------------- connections


async def test_connecting_by_address_and_by_peer() -> None:
    async with open_to_all() as bob, Network() as alice:
        with pytest.raises(DialError):
            await alice.connect(bob.peer_id)
        place = split_peer(bob.addresses[0])[0]
        first = await alice.connect(place)
        assert first.peer == bob.peer_id
        assert await alice.connect(bob.peer_id) is first
        assert await alice.connect(str(bob.addresses[0])) is first
        assert alice.connections() == alice.connections(bob.peer_id) == (first,)
        assert alice.connections(alice.peer_id) == ()
        await until(lambda: alice._identify.info(bob.peer_id))
        assert await alice.disconnect(bob.peer_id) == 1
        assert await alice.disconnect(bob.peer_id) == 0
        assert alice.connections() == ()
        again = await alice.connect(bob.peer_id)  # learned
        assert again is not first


async def test_a_bare_peer_as_address() -> None:
    async with open_to_all() as bob, Network() as alice:
        await alice.connect(bob.addresses[0])
        assert (await alice.connect(f"/p2p/{bob.peer_id}")).peer == bob.peer_id


async def test_another_peer_than_the_address_says() -> None:
    async with open_to_all() as bob, Network() as alice:
        wrong = f"{split_peer(bob.addresses[0])[0]}/p2p/{Identity().peer_id}"
        with pytest.raises(PeerIdMismatch) as caught:
            await alice.connect(wrong)
        assert caught.value.actual == bob.peer_id


@pytest.mark.tcp
@pytest.mark.parametrize("verb", ["connect", "request", "ping", "identify", "open_stream"])
async def test_every_verb_has_one_deadline_with_the_dial_in_it(verb: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = from_socket(silent.getsockname())
        async with Network() as alice:
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "connect": lambda: alice.connect(address, timeout=0.1),
                "request": lambda: alice.request(address, 1, timeout=0.1),
                "ping": lambda: alice.ping(address, timeout=0.1),
                "identify": lambda: alice.identify(address, timeout=0.1),
                "open_stream": lambda: alice.open_stream(address, UPPER, timeout=0.1),
            }
            start = asyncio.get_running_loop().time()
            with pytest.raises(DeadlineExceeded) as caught:
                await calls[verb]()
            assert (caught.value.phase, caught.value.timeout) == ("dial", 0.1)
            assert asyncio.get_running_loop().time() - start < 1


async def test_timeouts_are_the_defaults() -> None:
    async def hang(request: Request[Any]) -> Any:
        await asyncio.Event().wait()

    bob = open_to_all()
    bob.on_request(hang)
    async with bob, Network(timeouts=Timeouts(request=0.1)) as alice:
        await alice.connect(bob.addresses[0])
        with pytest.raises(DeadlineExceeded) as caught:
            await alice.request(bob.peer_id, 1)
        assert (caught.value.phase, caught.value.timeout) == ("wait", 0.1)


async def test_limits_are_kept() -> None:
    async with open_to_all(limits=Limits(connections=1)) as bob, Network() as alice, Network() as carol:
        connection = await alice.connect(bob.addresses[0])
        with pytest.raises((ConnectionError, stronghold_p2p.P2PError)):
            async with carol.open_stream(bob.addresses[0], "/ipfs/ping/1.0.0") as stream:
                await stream.write(b"x" * 32)
                await stream.read()
        assert not connection.closed


# ---------------------------------------------------------------------- requests


async def test_a_protocol_of_ones_own() -> None:
    calc: RequestProtocol[list[int], int] = RequestProtocol("/sum/1.0.0", request=JSON, response=JSON)
    bob = open_to_all()

    @bob.on_request(calc)
    def add(request: Request[list[int]]) -> int:
        return sum(request.message)

    bob.on_request(lambda request: "the other one")
    async with bob, Network() as alice:
        assert await alice.request(bob.addresses[0], [1, 2, 3], calc) == 6
        assert await alice.request(bob.peer_id, [1, 2, 3]) == "the other one"


async def test_a_protocol_has_one_handler() -> None:
    network = Network()
    network.on_request(lambda request: 1)
    network.on_stream(UPPER)(upper)
    with pytest.raises(ConfigError, match="has a handler"):
        network.on_request(lambda request: 2)
    with pytest.raises(ConfigError, match="has a handler"):
        network.on_stream("/other/1", UPPER)(upper)
    with pytest.raises(ConfigError, match="has a handler"):
        network.on_stream("/ipfs/id/1.0.0")(upper)
    with pytest.raises(UsageError):
        network.on_stream()
    with pytest.raises(UsageError):
        network.open_stream(network.peer_id)


async def test_nobody_is_let_in_by_default() -> None:
    bob = Network(listen=[LOOPBACK])
    bob.on_request(lambda request: "secret")
    bob.on_stream(UPPER)(upper)
    async with bob, Network() as alice:
        with pytest.raises(UnsupportedProtocol):
            await alice.request(bob.addresses[0], "Ping")
        with pytest.raises(UnsupportedProtocol):
            async with alice.open_stream(bob.peer_id, UPPER) as stream:
                await stream.readexactly(1)
        assert await alice.ping(bob.peer_id) > 0
        bob.firewall.set(Rule.ALLOW, peer=alice.peer_id)
        assert await alice.request(bob.peer_id, "Ping") == "secret"


async def test_a_firewall_may_be_given() -> None:
    firewall = Firewall()
    alice_key = Identity()
    firewall.set(Rule.ALLOW, peer=alice_key.peer_id)
    bob = Network(listen=[LOOPBACK], firewall=firewall)
    assert bob.firewall is firewall
    bob.on_request(lambda request: "let in")
    async with bob, Network(identity=alice_key) as alice, Network() as carol:
        assert await alice.request(bob.addresses[0], "Ping") == "let in"
        with pytest.raises(UnsupportedProtocol):
            await carol.request(bob.addresses[0], "Ping")
        firewall.ban(alice_key.peer_id)
        with pytest.raises((UnsupportedProtocol, ConnectionClosed)):
            await alice.request(bob.peer_id, "Ping")


# ---------------------------------------------------------------------- streams


async def test_a_stream_in_a_block() -> None:
    async with speaking() as bob, Network() as alice:
        async with alice.open_stream(bob.addresses[0], UPPER) as stream:
            assert (stream.peer, stream.protocol) == (bob.peer_id, UPPER)
            await stream.write(b"hello")
            assert await stream.readexactly(5) == b"HELLO"
        (connection,) = alice.connections()
        await until(lambda: connection.streams == 0)
        with pytest.raises(ValueError, match="mine"):
            async with alice.open_stream(bob.peer_id, UPPER) as stream:
                raise ValueError("mine")
        await until(lambda: connection.streams == 0)


async def test_a_stream_to_await() -> None:
    async with speaking() as bob, Network() as alice:
        stream = await alice.open_stream(bob.addresses[0], "/none/1", UPPER)
        assert stream.protocol == UPPER
        await stream.write(b"x")
        await stream.close_write()
        assert await stream.read_to_end() == b"X"
        await stream.close()


@dataclass(frozen=True)
class Get:
    key: str


@dataclass(frozen=True)
class Put:
    key: str
    value: str


async def test_rules_name_the_classes_of_messages() -> None:
    store: RequestProtocol[Get | Put, str] = RequestProtocol(
        "/store/1", request=messages(Get | Put), response=messages(str)
    )
    bob = Network(listen=[LOOPBACK])
    short = Rule.when(lambda attempt: len(attempt.view.value) < 5)
    bob.firewall.set(Rule.only([Get], otherwise=Rule.only([Put], then=short)))
    bob.on_request(store)(lambda request: type(request.message).__name__)
    async with bob, Network() as alice:
        assert await alice.request(bob.addresses[0], Get("a"), store) == "Get"
        assert await alice.request(bob.peer_id, Put("a", "b"), store) == "Put"
        with pytest.raises(Rejected):
            await alice.request(bob.peer_id, Put("a", "too long"), store)


async def test_streams_and_rules_that_look() -> None:
    """Where there is no request, ``only`` rejects; a predicate is asked anew for each stream."""
    bob = Network(listen=[LOOPBACK])
    bob.on_stream(UPPER)(upper)
    welcome = True

    async def speaks(alice: Network) -> bool:
        try:
            async with alice.open_stream(bob.addresses[0], UPPER, timeout=5) as stream:
                await stream.write(b"x")
                return await stream.readexactly(1) == b"X"
        except UnsupportedProtocol:
            return False

    async with bob, Network() as alice:
        bob.firewall.set(Rule.only(["Ping"], otherwise=Rule.ALLOW))
        assert not await speaks(alice)
        bob.firewall.set(Rule.when(lambda attempt: welcome, then=Rule.ALLOW))
        assert await speaks(alice)
        welcome = False
        assert not await speaks(alice)
        welcome = True
        assert await speaks(alice)


async def test_streams_of_a_peer_without_a_rule() -> None:
    bob = Network(listen=[LOOPBACK])
    bob.on_stream(UPPER)(upper)
    asked: list[Attempt] = []

    @bob.firewall.on_no_rule
    async def decide(attempt: Attempt) -> Rule | None:
        asked.append(attempt)
        return Rule.ALLOW if len(asked) > 1 else None

    async with bob, Network() as alice:
        async with alice.open_stream(bob.addresses[0], UPPER) as stream:
            with pytest.raises(UnsupportedProtocol):
                await stream.read()
        for _ in range(2):
            async with alice.open_stream(bob.peer_id, UPPER) as stream:
                await stream.write(b"x")
                assert await stream.readexactly(1) == b"X"
        assert [(attempt.protocol, attempt.variant) for attempt in asked] == [(UPPER, None)] * 2


async def test_connections_and_rules_that_look() -> None:
    bob = Network(listen=[LOOPBACK])
    async with bob, Network() as alice:
        bob.firewall.set(Rule.when(lambda attempt: attempt.peer == alice.peer_id), protocol=CONNECTION)
        await alice.ping(bob.addresses[0])
        bob.firewall.set(Rule.only(["Ping"], otherwise=Rule.ALLOW), protocol=CONNECTION)
        await until(lambda: not alice.connections())
        with pytest.raises(ConnectionClosed):
            await alice.ping(bob.addresses[0])


async def test_our_own_firewall_is_asked_about_streams() -> None:
    bob = open_to_all()
    bob.on_stream(UPPER)(upper)
    asked: list[str] = []
    async with bob, Network() as alice:
        alice.firewall.set(Rule.REJECT, protocol=UPPER, direction="out")
        with pytest.raises(Rejected) as caught:
            await alice.open_stream(bob.addresses[0], UPPER)
        assert caught.value.local
        alice.firewall.set(Rule.ASK, protocol=UPPER, direction="out")

        @alice.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            asked.append(attempt.protocol)
            return True

        async with alice.open_stream(bob.peer_id, UPPER) as stream:
            await stream.write(b"x")
            assert await stream.readexactly(1) == b"X"
        assert asked == [UPPER]


# ---------------------------------------------------------------------- ping, identify, events, the end


async def test_ping_and_identify() -> None:
    bob = open_to_all(agent="bob/7")
    bob.on_stream(UPPER)(upper)
    async with bob, Network() as alice:
        assert 0 < await alice.ping(bob.addresses[0]) < 1
        info = await alice.identify(bob.peer_id)
        assert (info.peer, info.agent) == (bob.peer_id, "bob/7")
        assert UPPER in info.protocols
        assert "/ipfs/ping/1.0.0" in info.protocols
        assert [*info.addresses] == [split_peer(address)[0] for address in bob.addresses]
        (connection,) = alice.connections()
        assert info.observed == connection.local_address
        assert (await bob.identify(alice.peer_id)).agent == "stronghold-p2p/0.1.0"


async def test_a_handler_that_comes_later_is_told_to_peers() -> None:
    async with open_to_all() as bob, Network() as alice:
        await alice.connect(bob.addresses[0])
        await until(lambda: alice._identify.info(bob.peer_id) and bob._identify.info(alice.peer_id))
        bob.on_request(lambda request: 1)
        bob.on_stream(UPPER)(upper)
        known = alice._swarm.peer_protocols
        await until(lambda: {UPPER, STRONGHOLD.ids[0]} <= known.get(bob.peer_id, frozenset()))


async def test_serving_for_ever_ends_when_cancelled() -> None:
    bob = open_to_all()
    bob.on_request(lambda request: request.message)

    async def serve() -> None:
        async with bob:
            await bob.serve_forever()

    task = asyncio.ensure_future(serve())
    await until(lambda: bob.addresses)
    async with Network() as alice:
        assert await alice.request(bob.addresses[0], "x") == "x"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_leaving_ends_everything_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(request: Request[Any]) -> Any:
        await asyncio.Event().wait()

    bob = open_to_all(timeouts=Timeouts(close=1.0))
    bob.on_request(hang)
    async with Network() as alice:
        async with bob:
            tasks = [asyncio.ensure_future(alice.request(bob.addresses[0], n, timeout=None)) for n in range(20)]
            await until(lambda: bob._server.places.total == 20)
            start = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - start < 2
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, (ConnectionClosed, StreamReset)) for error in errors)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_error_in_the_block_passes() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with open_to_all():
            raise ValueError("mine")


# ---------------------------------------------------------------------- the book, events, counts


async def test_addresses_of_the_caller_and_of_dials_stay() -> None:
    async with open_to_all() as bob, Network() as alice:
        place = split_peer(bob.addresses[0])[0]
        alice.book.add(bob.peer_id, bob.addresses[0])
        assert alice.book.addresses(bob.peer_id) == (place,)
        assert (await alice.connect(bob.peer_id)).peer == bob.peer_id
        assert alice.book.peers() == (bob.peer_id,)
        told = [parse(f"/ip4/127.0.0.1/tcp/{port}") for port in range(1, 100)]
        store_of(alice.book).learn(bob.peer_id, told, seq=1 << 64)
        assert len(alice.book.addresses(bob.peer_id)) == 64
        assert alice.book.addresses(bob.peer_id)[0] == place


async def test_an_address_without_a_peer_is_learned_when_it_works() -> None:
    async with open_to_all() as bob, Network() as alice:
        place = split_peer(bob.addresses[0])[0]
        await alice.connect(place)
        assert alice.book.addresses(bob.peer_id) == (place,)


async def test_a_book_may_be_given() -> None:
    book = AddressBook()
    async with open_to_all() as bob:
        book.add(bob.peer_id, bob.addresses[0])
        async with Network(book=book) as alice:
            assert alice.book is book
            assert await alice.ping(bob.peer_id) > 0


async def test_announced_addresses_are_the_ones_that_peers_are_told() -> None:
    outside = "/ip4/127.0.0.1/tcp/4001"
    async with open_to_all(announce=[outside]) as bob, Network() as alice:
        assert [str(address) for address in bob.addresses] == [f"{outside}/p2p/{bob.peer_id}"]
        (listener,) = bob.listeners
        info = await alice.identify(listener.addresses[0])
        assert [str(address) for address in info.addresses] == [outside]
    with pytest.raises(ConfigError, match="another peer"):
        Network(announce=[f"{outside}/p2p/{Identity().peer_id}"])


async def test_events_can_be_read() -> None:
    bob = Network(listen=[LOOPBACK])
    bob.on_request(lambda request: request.message)
    events = bob.events()
    async with bob, Network() as alice:
        bob.firewall.set(Rule.ALLOW, peer=alice.peer_id)
        assert await alice.request(bob.addresses[0], "Ping") == "Ping"
        bob.firewall.set(Rule.REJECT, peer=alice.peer_id)
        with pytest.raises(UnsupportedProtocol):
            await alice.request(bob.peer_id, "Ping")
    seen = [event async for event in events]
    kinds = [type(event) for event in seen if not isinstance(event, Judged)]
    assert kinds[:3] == [AddressAdded, Accepting, Opened]
    assert sorted(kind.__name__ for kind in kinds[3:]) == ["AddressRemoved", "Ended", "ListenerEnded"]
    judged = [event for event in seen if isinstance(event, Judged)]
    # Refused by the rules alone, before there was a request; under each id unless identify has told that it is served.
    told = [(event.attempt.variant, event.rule) for event in judged]
    assert told[:2] == [("Ping", Rule.ALLOW), (None, Rule.REJECT)]
    assert set(told[2:]) <= {(None, Rule.REJECT)}
    with pytest.raises(UsageError, match="closed"):
        bob.events()


async def test_a_request_whose_handler_fails_is_an_event(caplog: pytest.LogCaptureFixture) -> None:
    bob = open_to_all(timeouts=Timeouts(request=0.2))

    @bob.on_request
    async def answer(request: Request[Any]) -> Any:
        if request.message == "Refuse":
            raise Rejected
        if request.message == "Break":
            raise ValueError("mine")
        await asyncio.Event().wait()

    failed: list[RequestFailed] = []
    bob.on_event(lambda event: failed.append(event) if isinstance(event, RequestFailed) else None)
    async with bob, Network() as alice:
        for message, error in (("Refuse", Rejected), ("Break", StreamReset), ("Hang", StreamReset)):
            with pytest.raises(error):
                await alice.request(bob.addresses[0], message, timeout=2)
        with pytest.raises(DeadlineExceeded):
            await alice.request(bob.peer_id, "Leave", timeout=0.1)
        await until(lambda: len(failed) == 3)
        assert [(event.request.message, type(event.error)) for event in failed] == [
            ("Break", ValueError),
            ("Hang", DeadlineExceeded),
            ("Leave", StreamReset),
        ]
        assert failed[0].request.peer == alice.peer_id
    caplog.clear()


async def test_counts() -> None:
    going: asyncio.Event = asyncio.Event()

    async def wait(request: Request[Any]) -> Any:
        await going.wait()

    bob = open_to_all()
    bob.on_request(wait)
    async with bob, Network() as alice:
        task = asyncio.ensure_future(alice.request(bob.addresses[0], 1))
        await until(lambda: bob.stats()["requests_in"])
        there, here = bob.stats(), alice.stats()
        assert (there["inbound"], there["outbound"], there["listeners"], there["peers"]) == (1, 0, 1, 1)
        assert (here["outbound"], here["requests_out"], here["listeners"]) == (1, 1, 0)
        assert here["streams"] >= 1
        assert here["known_peers"] == 1
        going.set()
        await task
        assert alice.stats()["requests_out"] == 0


async def test_rules_that_change_are_noticed_by_the_next_request() -> None:
    bob = open_to_all()
    bob.on_request(lambda request: request.message)
    async with bob, Network() as alice:
        for _ in range(3):
            assert await alice.request(bob.addresses[0], "x") == "x"
            bob.firewall.set(Rule.REJECT, protocol=STRONGHOLD.ids[0])
            with pytest.raises(UnsupportedProtocol):
                await alice.request(bob.peer_id, "x")
            bob.firewall.remove(protocol=STRONGHOLD.ids[0])
        alice.firewall.set(Rule.REJECT, protocol=STRONGHOLD.ids[0], direction="out")
        with pytest.raises(Rejected):
            await alice.request(bob.peer_id, "x")
        alice.firewall.remove(protocol=STRONGHOLD.ids[0], direction="out")
        assert await alice.request(bob.peer_id, "x") == "x"


async def test_a_handler_that_bans_its_requester_tells_it_nothing() -> None:
    bob = open_to_all()

    @bob.on_request
    def answer(request: Request[Any]) -> Any:
        bob.firewall.set(Rule.REJECT, peer=request.peer)
        return "secret"

    async with bob, Network() as alice:
        with pytest.raises(Rejected):
            await alice.request(bob.addresses[0], "x")
