"""Circuits from end to end: a relay of ours, a target that listens there, and a source that dials through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import pytest
from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import through_relay
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import CircuitLimit, ConfigError, DialError, ListenError, P2PError, RelayRefused
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.relay.client import place as places
from stronghold_p2p.relay.client.transport import RelayClient
from stronghold_p2p.relay.messages import HOP, STOP, Status
from stronghold_p2p.relay.options import RelayLimits
from stronghold_p2p.relay.service.relay import RelayService
from stronghold_p2p.swarm.listeners import LiveListener
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import ECHO, LOOPBACK, echo, swarm, until


@dataclass
class Mesh:
    """``at``: where the target is reached through the relay."""

    relay: Swarm
    service: RelayService
    target: Swarm
    source: Swarm
    at: Multiaddr

    async def dial(self) -> LiveConnection:
        return await self.source.dial(self.target.peer_id, [self.at])


def address_of(relay: Swarm) -> Multiaddr:
    """Where one listens at it."""
    return through_relay(relay.addresses[0], relay.peer_id)


@asynccontextmanager
async def mesh(limits: RelayLimits | None = None, *, trusted: bool = False) -> AsyncIterator[Mesh]:
    async with swarm(1) as relay, swarm(2, listen=False) as target, swarm(3, listen=False) as source:
        service = RelayService(relay, limits)
        for one in (target, source):
            RelayClient(one)
        if trusted:
            relay.firewall.set(Rule.ALLOW, peer=target.peer_id, protocol=HOP)
        target.handle(ECHO, echo)
        listener = await target.listen(address_of(relay))
        yield Mesh(relay, service, target, source, listener.addresses[0])


async def test_a_circuit_is_a_connection_like_any_other() -> None:
    async with mesh() as at:
        connection = await at.dial()
        assert connection.peer == at.target.peer_id
        async with await connection.open_stream(ECHO) as stream:
            await stream.write(b"through the relay")
            assert await stream.readexactly(17) == b"through the relay"
        (arrived,) = at.target.connections(at.source.peer_id)
        assert arrived.direction == "in"
        assert str(arrived.remote_address).endswith(f"/p2p/{at.relay.peer_id}/p2p-circuit")
        assert at.service.snapshot()["circuits"] == 1
        assert await at.dial() is connection
        await connection.close(0)
        await until(lambda: at.service.snapshot()["circuits"] == 0)
        assert not at.relay.connections(at.source.peer_id)[0].closed  # the outer ones stay
        assert at.target.connections(at.relay.peer_id)


async def test_what_would_strike_the_limit_fails_and_says_why() -> None:
    async with mesh(RelayLimits(data=20_000)) as at:
        connection = await at.dial()
        async with asyncio.timeout(1.0):
            stream = await connection.open_stream(ECHO)
            with pytest.raises(CircuitLimit):
                await stream.write(bytes(15_000))
                await stream.write(bytes(15_000))
                await stream.read_to_end()
        await until(lambda: connection.closed)
        assert isinstance(connection.error, CircuitLimit)
        assert (connection.error.limit, connection.error.maximum) == ("data", 20_000)
        (await (await at.dial()).open_stream(ECHO)).reset(0)  # a new circuit begins anew


async def test_the_end_of_its_time_is_told_as_that() -> None:
    async with mesh(RelayLimits(duration=1)) as at:
        connection = await at.dial()
        await until(lambda: connection.closed)
        assert isinstance(connection.error, CircuitLimit)
        assert connection.error.limit == "duration"


async def test_an_unlimited_circuit_carries_what_it_is_given() -> None:
    async with mesh(trusted=True) as at:
        connection = await at.dial()
        async with await connection.open_stream(ECHO) as stream:

            async def send() -> None:
                for _ in range(64):
                    await stream.write(bytes(65_536))
                stream.finish()

            async def receive() -> int:
                size = 0
                while piece := await stream.read():
                    size += len(piece)
                return size

            assert (await asyncio.gather(send(), receive()))[1] == 64 * 65_536


async def test_the_relay_says_no() -> None:
    async with mesh(RelayLimits(circuits=0)) as at:
        with pytest.raises(RelayRefused) as caught:
            await at.dial()
        assert (caught.value.status, caught.value.relay) == (Status.RESOURCE_LIMIT_EXCEEDED, at.relay.peer_id)
        stranger = parse(f"{at.at}/p2p/{at.relay.peer_id}")
        with pytest.raises(P2PError):
            await at.source.dial(None, [stranger])
    async with mesh() as at:
        at.relay.firewall.set(Rule.REJECT, peer=at.source.peer_id, protocol=HOP)
        with pytest.raises(P2PError):
            await at.dial()
        other = at.relay.peer_id
        with pytest.raises(ListenError):
            await at.source.listen(address_of(at.relay))
        assert other not in at.source.connections()


async def test_addresses_that_lead_nowhere() -> None:
    async with mesh() as at:
        twice = Multiaddr(f"{at.at}/p2p/{at.source.peer_id}/p2p-circuit")
        with pytest.raises(ConfigError, match="2 relays"):
            await at.source.listen(twice)
        with pytest.raises(DialError):
            await at.source.dial(at.target.peer_id, [twice])
        with pytest.raises(DialError, match="itself"):
            await at.source.dial(at.relay.peer_id, [at.at])
        with pytest.raises(DialError, match="who is behind"):
            await at.source.dial(None, [at.at])


async def test_an_offer_of_a_relay_without_a_place_there_is_refused() -> None:
    async with mesh() as at, swarm(4) as other:
        dialed = await at.target.dial(other.peer_id, list(other.addresses))
        (back,) = other.connections(at.target.peer_id)
        async with await back.open_stream(STOP) as stream:
            await stream.write_message(b"\x08\x00\x12\x28\x0a\x26" + bytes(at.source.peer_id))
            assert (await stream.read_message(100) or b"").endswith(b"\x20\xcc\x01")  # NO_RESERVATION
        assert not dialed.closed


async def test_it_listens_again_when_the_relay_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "FIRST", 0.1)
    async with swarm(2, listen=False) as target, swarm(3, listen=False) as source:
        for one in (target, source):
            RelayClient(one)
        target.handle(ECHO, echo)
        listener: LiveListener | None = None
        at = parse(LOOPBACK)
        for _ in range(3):
            async with swarm(1, listen=False) as relay:
                RelayService(relay)
                at = (await relay.listen(at)).addresses[0]
                if listener is None:
                    listener = await target.listen(through_relay(at, relay.peer_id))
                await until(partial(attrgetter("addresses"), listener))
                connection = await source.dial(target.peer_id, [listener.addresses[0]])
                assert connection.peer == target.peer_id
            await until(lambda: not target.bound)
        target.listeners.close()
