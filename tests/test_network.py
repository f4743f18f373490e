"""The face of the package, as a program uses it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import Network, Rejected, Request, Rule, Stream, Timeouts, UnsupportedProtocol, UsageError
from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.addressing.parse import parse, split_peer
from tests.peers import LOOPBACK, connected, mirror, network, never, now, until

UPPER = "/upper/1.0.0"
SERVED = p2p.STRONGHOLD.ids[0]


async def upper(stream: Stream) -> None:
    async for chunk in stream:
        await stream.write(chunk.upper())


def speaking(rule: Rule | None = Rule.ALLOW, **options: Any) -> Network:
    bob = network(rule=rule, **options)
    bob.on_stream(UPPER)(upper)
    return bob


async def speaks(alice: Network, bob: Network) -> bool:
    """Whether bob's firewall lets a stream of alice in."""
    try:
        async with alice.open_stream(bob.addresses[0], UPPER, timeout=5) as stream:
            await stream.write(b"x")
            return await stream.readexactly(1) == b"X"
    except UnsupportedProtocol:
        return False


async def test_who_and_where() -> None:
    identity = p2p.Identity()
    bob = Network(identity=identity, listen=[LOOPBACK, parse(LOOPBACK)], name="bob")
    assert bob.peer_id == identity.peer_id
    assert repr(bob) == f"<Network bob {identity.peer_id}>"
    with pytest.raises(UsageError, match="no addresses before it is open"):
        print(bob.addresses)
    async with bob:
        assert len(bob.addresses) == 2 == len(bob.listeners)
        for address in bob.addresses:
            place, peer = split_peer(address)
            assert peer == identity.peer_id
            assert re.fullmatch(r"/ip4/127\.0\.0\.1/tcp/[1-9]\d*", str(place))
        await bob.listeners[0].close()
        assert len(bob.addresses) == 1
    assert bob.addresses == ()
    assert repr(Network(identity=identity)) == f"<Network {identity.peer_id}>"


async def test_listening_on_one_more_address() -> None:
    async with Network() as bob, Network() as alice:
        listener = await bob.listen(f"{LOOPBACK}/p2p/{bob.peer_id}")
        assert [*listener.addresses] == [split_peer(address)[0] for address in bob.addresses]
        connection = await alice.connect(bob.addresses[0])
        assert connection.peer == bob.peer_id
        await listener.close()
        await listener.close()
        assert bob.listeners == ()
        assert not connection.closed
        await bob.listen(listener.addresses[0])  # it is free again


@pytest.mark.parametrize("address", ["nonsense", "/ip4/1.2.3.4", "/ip4/256.0.0.1/tcp/1", "/udp/1", "", "/dns4/x/tcp/1"])
async def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(p2p.ConfigError):
        async with Network(listen=[address]):
            raise AssertionError


def test_one_address_is_no_list_of_addresses() -> None:
    with pytest.raises(p2p.ConfigError, match=r"take \['/ip4/127.0.0.1/tcp/0'\]"):
        Network(listen=LOOPBACK)


@pytest.mark.tcp
async def test_an_address_that_cannot_be_had() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        taken = str(from_socket(bound.getsockname()))
        with pytest.raises(p2p.ListenError) as caught:
            async with (alice := Network(listen=[LOOPBACK, taken])):
                raise AssertionError
        assert (caught.value.address, alice.listeners) == (taken, ())
    async with Network() as alice:
        with pytest.raises(p2p.ConfigError, match="another peer"):
            await alice.listen(f"{LOOPBACK}/p2p/{p2p.Identity().peer_id}")


async def test_a_network_is_open_inside_its_block_only() -> None:
    alice = Network()
    calls = (
        lambda: alice.request(LOOPBACK, "Ping"),
        lambda: alice.connect(LOOPBACK),
        lambda: alice.listen(LOOPBACK),
        lambda: alice.ping(LOOPBACK),
        lambda: alice.identify(LOOPBACK),
        lambda: alice.disconnect(alice.peer_id),
        lambda: alice.serve_forever(),
        lambda: alice.open_stream(LOOPBACK, UPPER).__aenter__(),
    )
    for block in (True, False):
        for call in calls:
            with pytest.raises(UsageError, match="async with"):
                await call()
        if block:
            async with alice:
                pass
    with pytest.raises(UsageError, match="once"):
        async with alice:
            raise AssertionError


def test_a_network_belongs_to_one_loop() -> None:
    alice = Network()

    async def use() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            await alice.connect(LOOPBACK)

    with asyncio.Runner() as first:
        first.run(alice.__aenter__())
        asyncio.run(use())
        first.run(alice.__aexit__(None, None, None))


# ---------------------------------------------------------------------- connections


async def test_connecting_by_address_and_by_peer() -> None:
    async with network() as bob, Network() as alice:
        with pytest.raises(p2p.DialError):
            await alice.connect(bob.peer_id)
        place = split_peer(bob.addresses[0])[0]
        first = await alice.connect(place)
        assert first.peer == bob.peer_id
        assert alice.book.addresses(bob.peer_id) == (place,)  # learned, as it works
        assert await alice.connect(bob.peer_id) is first
        assert await alice.connect(str(bob.addresses[0])) is first
        assert await alice.connect(f"/p2p/{bob.peer_id}") is first
        assert alice.connections() == alice.connections(bob.peer_id) == (first,)
        assert alice.connections(alice.peer_id) == ()
        await until(lambda: alice._identify.info(bob.peer_id))
        assert await alice.disconnect(bob.peer_id) == 1
        assert await alice.disconnect(bob.peer_id) == 0
        assert alice.connections() == ()
        assert await alice.connect(f"/p2p/{bob.peer_id}") is not first


@pytest.mark.tcp
@pytest.mark.parametrize("verb", ["connect", "request", "ping", "identify", "open_stream"])
async def test_every_verb_has_one_deadline_with_the_dial_in_it(verb: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = from_socket(silent.getsockname())
        async with Network() as alice:
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "connect": lambda: alice.connect(address, timeout=0.1),
                "request": lambda: alice.request(address, 1, timeout=0.1),
                "ping": lambda: alice.ping(address, timeout=0.1),
                "identify": lambda: alice.identify(address, timeout=0.1),
                "open_stream": lambda: alice.open_stream(address, UPPER, timeout=0.1),
            }
            start = now()
            with pytest.raises(p2p.DeadlineExceeded) as caught:
                await calls[verb]()
            assert (caught.value.phase, caught.value.timeout) == ("dial", 0.1)
            assert now() - start < 1


async def test_timeouts_are_the_defaults() -> None:
    async with connected(network(never), Network(timeouts=Timeouts(request=0.1))) as alice:
        (bob,) = {connection.peer for connection in alice.connections()}
        with pytest.raises(p2p.DeadlineExceeded) as caught:
            await alice.request(bob, 1)
        assert (caught.value.phase, caught.value.timeout) == ("wait", 0.1)


# ---------------------------------------------------------------------- requests


async def test_a_protocol_has_one_handler() -> None:
    bob = speaking()
    bob.on_request(mirror)
    for again in (
        lambda: bob.on_request(mirror),
        lambda: bob.on_stream("/other/1", UPPER)(upper),
        lambda: bob.on_stream("/ipfs/id/1.0.0")(upper),
    ):
        with pytest.raises(p2p.ConfigError, match="has a handler"):
            again()
    with pytest.raises(UsageError):
        bob.on_stream()
    with pytest.raises(UsageError):
        bob.open_stream(bob.peer_id)


async def test_nobody_is_let_in_by_default() -> None:
    bob = speaking(None)
    bob.on_request(lambda request: "secret")
    async with connected(bob) as alice:
        with pytest.raises(UnsupportedProtocol):
            await alice.request(bob.peer_id, "Ping")
        assert not await speaks(alice, bob)
        assert await alice.ping(bob.peer_id) > 0
        bob.firewall.set(Rule.ALLOW, peer=alice.peer_id)
        assert await alice.request(bob.peer_id, "Ping") == "secret"


async def test_a_firewall_may_be_given() -> None:
    firewall, key = p2p.Firewall(), p2p.Identity()
    firewall.set(Rule.ALLOW, peer=key.peer_id)
    bob = network(mirror, None, firewall=firewall)
    assert bob.firewall is firewall
    async with connected(bob, Network(identity=key)) as alice, Network() as carol:
        assert await alice.request(bob.peer_id, "let in") == "let in"
        with pytest.raises(UnsupportedProtocol):
            await carol.request(bob.addresses[0], "Ping")
        firewall.ban(key.peer_id)
        with pytest.raises((UnsupportedProtocol, p2p.ConnectionClosed)):
            await alice.request(bob.peer_id, "Ping")


# ---------------------------------------------------------------------- streams


async def test_our_own_firewall_is_asked_about_streams() -> None:
    bob, asked = speaking(), list[str]()
    async with connected(bob) as alice:
        alice.firewall.set(Rule.REJECT, protocol=UPPER, direction="out")
        with pytest.raises(Rejected) as caught:
            await alice.open_stream(bob.peer_id, UPPER)
        assert caught.value.local
        alice.firewall.set(Rule.ASK, protocol=UPPER, direction="out")

        @alice.firewall.on_ask
        async def decide(attempt: p2p.Attempt) -> bool:
            asked.append(attempt.protocol)
            return True

        assert await speaks(alice, bob)
        assert asked == [UPPER]


# ---------------------------------------------------------------------- ping, identify, the end


async def test_ping_and_identify() -> None:
    bob = speaking(agent="bob/7")
    async with connected(bob) as alice:
        assert 0 < await alice.ping(bob.peer_id) < 1
        info = await alice.identify(bob.peer_id)
        assert (info.peer, info.agent) == (bob.peer_id, "bob/7")
        assert {UPPER, "/ipfs/ping/1.0.0"} <= set(info.protocols)
        assert [*info.addresses] == [split_peer(address)[0] for address in bob.addresses]
        (connection,) = alice.connections()
        assert info.observed == connection.local_address
        assert (await bob.identify(alice.peer_id)).agent == "stronghold-p2p/0.1.0"


async def test_a_handler_that_comes_later_is_told_to_peers() -> None:
    bob = network()
    async with connected(bob) as alice:
        await until(lambda: alice._identify.info(bob.peer_id) and bob._identify.info(alice.peer_id))
        bob.on_request(mirror)
        bob.on_stream(UPPER)(upper)
        known = alice._swarm.peer_protocols
        await until(lambda: {UPPER, SERVED} <= known.get(bob.peer_id, frozenset()))


async def test_serving_for_ever_ends_when_cancelled() -> None:
    bob = network(mirror)

    async def serve() -> None:
        async with bob:
            await bob.serve_forever()

    task = asyncio.ensure_future(serve())
    await until(lambda: bob.listeners)
    async with Network() as alice:
        assert await alice.request(bob.addresses[0], "x") == "x"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ---------------------------------------------------------------------- the book, events, counts


async def test_announced_addresses_are_the_ones_that_peers_are_told() -> None:
    outside = "/ip4/127.0.0.1/tcp/4001"
    async with network(announce=[outside]) as bob, Network() as alice:
        assert [str(address) for address in bob.addresses] == [f"{outside}/p2p/{bob.peer_id}"]
        (listener,) = bob.listeners
        info = await alice.identify(listener.addresses[0])
        assert [str(address) for address in info.addresses] == [outside]
    with pytest.raises(p2p.ConfigError, match="another peer"):
        Network(announce=[f"{outside}/p2p/{p2p.Identity().peer_id}"])


async def test_events_can_be_read() -> None:
    bob = network(mirror, None)
    events = bob.events()
    async with bob, Network() as alice:
        bob.firewall.set(Rule.ALLOW, peer=alice.peer_id)
        assert await alice.request(bob.addresses[0], "Ping") == "Ping"
        bob.firewall.set(Rule.REJECT, peer=alice.peer_id)
        with pytest.raises(UnsupportedProtocol):
            await alice.request(bob.peer_id, "Ping")
    seen = [event async for event in events]
    kinds = [type(event) for event in seen if not isinstance(event, p2p.Judged)]
    assert kinds[:3] == [p2p.AddressAdded, p2p.Accepting, p2p.Opened]
    assert sorted(kind.__name__ for kind in kinds[3:]) == ["AddressRemoved", "Ended", "ListenerEnded"]
    # Refused by the rules alone, before there was a request; under each id unless identify has told that it is served.
    told = [(event.attempt.variant, event.rule) for event in seen if isinstance(event, p2p.Judged)]
    assert told[:2] == [("Ping", Rule.ALLOW), (None, Rule.REJECT)]
    assert set(told[2:]) <= {(None, Rule.REJECT)}
    with pytest.raises(UsageError, match="closed"):
        bob.events()


async def test_counts() -> None:
    going = asyncio.Event()

    async def wait(request: Request[Any]) -> Any:
        await going.wait()

    bob = network(wait)
    async with connected(bob) as alice:
        task = asyncio.ensure_future(alice.request(bob.peer_id, 1))
        await until(lambda: bob.stats()["requests_in"])
        there, here = bob.stats(), alice.stats()
        assert (there["inbound"], there["outbound"], there["listeners"], there["peers"]) == (1, 0, 1, 1)
        assert (here["outbound"], here["requests_out"], here["listeners"], here["known_peers"]) == (1, 1, 0, 1)
        assert here["streams"] >= 1
        going.set()
        await task
        assert alice.stats()["requests_out"] == 0
