"""protocols/observing.py: peers tell where they see us, and when four networks agree, everybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import Network
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.announcing.announcer import Announcer, ObservedAddress
from stronghold_p2p.announcing.hidden import Hidden
from stronghold_p2p.announcing.observations import AGREED, KEPT
from stronghold_p2p.config import Timeouts
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.events.events import AddressAdded, AddressRemoved, Event
from stronghold_p2p.firewall.limits.gate import Token
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.protocols.identify_messages import IdentifyMessage, Template
from stronghold_p2p.protocols.observing import seen_by_us
from stronghold_p2p.seams import Upgraded
from stronghold_p2p.swarm.swarm import Swarm
from tests.addressing.test_addresses import OTHER
from tests.peers import connect, swarm, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL
OUTSIDE = parse("/ip4/8.8.4.4/tcp/34001")
PATIENT = Timeouts(idle=None, keepalive=None)


def places(one: Swarm, *, remote: str) -> None:
    """Connections of ``one`` lead to ``remote``, as far as it knows."""
    establish = one.establish

    def elsewhere(upgraded: Upgraded, token: Token, direction: Direction) -> object:
        upgraded.remote = parse(remote)
        return establish(upgraded, token, direction)

    one.establish = elsewhere  # type: ignore[method-assign, assignment]


@dataclass
class Crowd:
    """Bob listens; each of ``peers`` is in a network of its own, and sees him at ``OUTSIDE``."""

    bob: Swarm
    stack: AsyncExitStack
    peers: list[tuple[Swarm, Identify]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    async def come(self, count: int) -> None:
        for _ in range(count):
            number = len(self.peers)
            peer = await self.stack.enter_async_context(swarm(10 + number, timeouts=PATIENT))
            places(peer, remote=str(OUTSIDE))
            service = Identify(peer, "peer/1")
            self.stack.push_async_callback(service.close)
            self.remote = f"/ip4/{41 + number}.1.1.1/tcp/9"
            self.peers.append((peer, service))
            await connect(peer, self.bob)
            await until(lambda: self.bob.announcer.observed()[0].networks == number + 1)  # noqa: B023

    @property
    def told(self) -> list[Multiaddr]:
        return [one.address for one in self.events if isinstance(one, AddressAdded)]

    @property
    def taken_back(self) -> list[Multiaddr]:
        return [one.address for one in self.events if isinstance(one, AddressRemoved)]


@asynccontextmanager
async def crowd(**options: Any) -> AsyncIterator[Crowd]:
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(swarm(1, timeouts=PATIENT, **options))
        on = Crowd(bob, stack)
        establish = bob.establish

        def elsewhere(upgraded: Upgraded, token: Token, direction: Direction) -> object:
            upgraded.remote = parse(on.remote)
            return establish(upgraded, token, direction)

        bob.establish = elsewhere  # type: ignore[method-assign, assignment]
        service = Identify(bob, "bob/1")
        stack.push_async_callback(service.close)
        bob.hub.on_event(on.events.append)
        yield on


async def test_what_four_networks_see_is_told_to_everybody() -> None:
    async with crowd() as on:
        await on.come(AGREED - 1)
        assert on.bob.addresses == on.bob.bound
        assert on.told == []
        await on.come(1)
        assert on.bob.addresses == (*on.bob.bound, OUTSIDE)
        assert on.told == [OUTSIDE]
        first, service = on.peers[0]
        await until(lambda: OUTSIDE in service.info(on.bob.peer_id).addresses)  # type: ignore[union-attr]
        await on.come(1)
        assert on.told == [OUTSIDE]
        assert on.bob.announcer.observed() == (ObservedAddress(OUTSIDE, 5, True),)
        assert first.announcer.observed() == (ObservedAddress(parse("/ip4/41.1.1.1"), 1, False),)  # it has dialed


async def test_it_is_taken_back_some_time_after_they_have_gone() -> None:
    async with crowd() as on:
        await on.come(AGREED)
        (gone,) = on.bob.connections(on.peers[0][0].peer_id)
        await gone.close()
        await asyncio.sleep(KEPT - 5)
        assert OUTSIDE in on.bob.addresses
        await asyncio.sleep(6)
        assert on.taken_back == [OUTSIDE]
        assert on.bob.addresses == on.bob.bound
        _, service = on.peers[-1]
        await until(lambda: OUTSIDE not in service.info(on.bob.peer_id).addresses)  # type: ignore[union-attr]


async def test_it_goes_with_the_listener() -> None:
    async with crowd() as on:
        await on.come(AGREED)
        (listener,) = on.bob.listeners.all
        (here,) = on.bob.bound
        listener.stop()
        assert on.bob.addresses == ()
        await until(lambda: len(on.taken_back) == 2)
        assert on.taken_back == [here, OUTSIDE]


async def test_what_is_hidden_is_not_told() -> None:
    async with crowd(announcer=Announcer(None, Hidden(["8.8.0.0/16"]))) as on:
        await on.come(AGREED)
        assert on.bob.addresses == on.bob.bound


async def test_what_a_peer_says_over_a_connection_that_is_over_does_not_count() -> None:
    async with crowd() as on:
        await on.come(1)
        (connection,) = on.bob.connections()
        observing = on.bob._added[0]._observing  # type: ignore[attr-defined]
        await connection.close()
        observing.told(connection, parse("/ip4/8.8.8.8/tcp/1"))
        assert [one.address for one in on.bob.announcer.observed()] == [OUTSIDE]


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        ("/ip4/192.0.2.7/tcp/1", True),
        ("/ip6/2001:db8::1/tcp/1/ws", True),
        (f"/ip4/192.0.2.7/tcp/1/p2p/{OTHER}/p2p-circuit", False),
        (f"/p2p/{OTHER}/p2p-circuit", False),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", False),
    ],
)
async def test_what_peers_are_told_of_where_they_are(remote: str, told: bool) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        Identify(alice, "a/1"), Identify(bob, "b/1")
        places(bob, remote=remote)
        await connect(alice, bob)
        (connection,) = bob.connections()
        assert seen_by_us(connection) == (parse(remote) if told else None)


async def test_our_own_name_behind_it_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """js says ``<address>/p2p/<who is seen>``."""
    async with Network(listen=["/ip4/127.0.0.1/tcp/0"]) as bob, Network() as alice:
        build = Template.message

        def as_js(self: Template, observed: Multiaddr | None) -> bytes:
            assert observed is not None
            named = bytes(parse(f"{observed}/p2p/{alice.peer_id}"))
            return build(self, None) + protobuf.encode(IdentifyMessage(observed_addr=named))

        monkeypatch.setattr(Template, "message", as_js)
        connection = await alice.connect(bob.addresses[0])
        info = await alice.identify(bob.peer_id)
        assert info.observed == connection.local_address
        assert alice.observed == ()  # nobody else reaches us by loopback
