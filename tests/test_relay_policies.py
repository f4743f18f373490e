"""Through which relays a peer is dialed, and the defects of the Rust library that are absent (D..: its list)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from stronghold_p2p import (
    HOP,
    DialError,
    Identity,
    Limits,
    ListenError,
    Network,
    P2PError,
    RelayLimits,
    Rule,
    Timeouts,
)
from tests.peers import LOOPBACK, until

NOBODY = Identity.from_seed(b"\x09" * 32).peer_id


@asynccontextmanager
async def relays(number: int) -> AsyncIterator[tuple[list[Network], Network, Network]]:
    """So many relays, Bob, who listens at all of them and nowhere else, and Alice, who knows where the relays are."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(number):
            relay = await stack.enter_async_context(Network(listen=[LOOPBACK], relay=RelayLimits()))
            relay.firewall.set(Rule.ALLOW, protocol=HOP)
            made.append(relay)
        bob = await stack.enter_async_context(Network(listen=[LOOPBACK]))
        alice = await stack.enter_async_context(Network())
        for relay in made:
            await bob.listen(f"{relay.addresses[0]}/p2p-circuit")
            alice.book.add(relay.peer_id, relay.addresses[0])
        yield made, bob, alice


async def through(alice: Network, bob: Network) -> str:
    """By which relay she comes to him, over a new connection; empty: by none."""
    await alice.disconnect(bob.peer_id)
    address = str((await alice.connect(bob.peer_id)).remote_address)
    return address.split("/p2p/")[1].split("/", maxsplit=1)[0] if "p2p-circuit" in address else ""


async def test_relays_are_what_a_dial_falls_back_to() -> None:
    async with relays(1) as ((relay,), bob, alice):
        alice.book.relays = [relay.peer_id]
        assert await through(alice, bob) == str(relay.peer_id)
        await alice.disconnect(bob.peer_id)
        alice.book.remove(bob.peer_id)
        alice.book.add(bob.peer_id, bob.listeners[0].addresses[0])
        assert await through(alice, bob) == ""


async def test_another_relay_is_tried_when_one_is_gone() -> None:
    async with relays(2) as ((one, other), bob, alice):
        alice.book.relays = [one.peer_id, other.peer_id]
        await one.close()
        assert await through(alice, bob) == str(other.peer_id)


async def test_d3_who_removes_a_relay_keeps_the_others() -> None:
    async with relays(2) as ((one, other), bob, alice):
        alice.book.relays = [one.peer_id, other.peer_id]
        alice.book.relays.remove(one.peer_id)
        assert await through(alice, bob) == str(other.peer_id)


async def test_d6_a_relay_that_was_dialed_before_is_a_relay_as_before() -> None:
    async with relays(1) as ((relay,), bob, alice):
        await alice.connect(relay.addresses[0])
        alice.book.via(bob.peer_id, [relay.peer_id])
        for _ in range(3):
            assert await through(alice, bob) == str(relay.peer_id)
        listener = await alice.listen(f"/p2p/{relay.peer_id}/p2p-circuit")  # where it is, is known by now
        assert str(listener.addresses[0]).count(str(relay.peer_id)) == 1


async def test_d7_nothing_hangs_on_a_relay_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/{NOBODY}/p2p-circuit"
        async with Network(timeouts=Timeouts(dial=0.3)) as alice, asyncio.timeout(5):
            with pytest.raises(ListenError):
                await alice.listen(at)
            with pytest.raises(P2PError):
                await alice.request(f"{at}/p2p/{Identity().peer_id}", "x", timeout=0.5)
            with pytest.raises(ListenError):
                await alice.listen(f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}/p2p-circuit")
            assert alice.stats()["relays_used"] == 0
    async with Network(limits=Limits(pending_out=0)) as alice, asyncio.timeout(5):
        with pytest.raises(ListenError):
            await alice.listen(f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}/p2p-circuit")


async def test_d7_a_listener_that_is_closed_before_it_listens_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/{NOBODY}/p2p-circuit"
        async with Network() as alice:
            listening = asyncio.ensure_future(alice.listen(at))
            await until(lambda: alice.stats()["pending_out"])
            listening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listening
            assert alice.stats()["relays_used"] == 0
            await until(lambda: not alice.stats()["pending_out"])


async def test_d27_exclusive_is_exclusive_and_no_relay_is_none() -> None:
    async with relays(2) as ((one, other), bob, alice):
        alice.book.add(bob.peer_id, bob.listeners[0].addresses[0])
        alice.book.via(bob.peer_id, [one.peer_id], exclusive=True)
        assert await through(alice, bob) == str(one.peer_id)
        await one.close()
        await alice.disconnect(bob.peer_id)
        with pytest.raises(P2PError):  # neither there nor through the other relay
            await alice.connect(bob.peer_id)
        alice.book.relays = [other.peer_id]
        alice.book.via(bob.peer_id, ())
        assert await through(alice, bob) == ""
        alice.book.remove(bob.peer_id)
        await alice.disconnect(bob.peer_id)
        with pytest.raises(DialError):
            await alice.connect(bob.peer_id)


async def test_d27_a_relay_may_be_told_another_address() -> None:
    async with relays(1) as ((relay,), bob, alice):
        alice.book.remove(relay.peer_id)
        alice.book.relays = [relay.peer_id]
        alice.book.add(relay.peer_id, "/ip4/127.0.0.1/tcp/1")
        alice.book.add(relay.peer_id, relay.addresses[0])
        assert await through(alice, bob) == str(relay.peer_id)


async def test_d31_relays_are_reached_through_no_relay() -> None:
    """Two relays that are not there would each be dialed through the other one, without an end."""
    async with relays(1) as ((relay,), bob, alice), asyncio.timeout(5):
        lost = [Identity().peer_id for _ in range(2)]
        for peer in lost:
            alice.book.add(peer, "/ip4/127.0.0.1/tcp/1")
        alice.book.relays = lost
        for peer in (*lost, bob.peer_id):
            with pytest.raises(DialError):
                await alice.connect(peer)
        alice.book.relays = [*lost, relay.peer_id]
        assert await through(alice, bob) == str(relay.peer_id)


async def test_a_direct_connection_is_preferred_to_a_relayed_one() -> None:
    async with relays(1) as ((relay,), bob, alice):
        direct = await alice.connect(f"{bob.listeners[0].addresses[0]}/p2p/{bob.peer_id}")
        (listener,) = [one for one in bob.listeners if "circuit" in str(one.addresses[0])]
        await bob.disconnect(alice.peer_id)
        await until(lambda: direct.closed)
        relayed = await alice.connect(f"{listener.addresses[0]}/p2p/{bob.peer_id}")
        await bob.connect(relay.peer_id)
        direct = (await alice._swarm.dial_directly(bob.peer_id, [bob.listeners[0].addresses[0]])).face
        assert alice.connections(bob.peer_id) == (direct, relayed)
        assert relayed.limited is not None
        assert not relayed.closed
