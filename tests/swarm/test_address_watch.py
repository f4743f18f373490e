"""Addresses of the host that come and go. Virtual time."""

from __future__ import annotations

import asyncio

import pytest

from stronghold_p2p.addressing.multiaddrs import parse
from stronghold_p2p.events.events import AddressAdded, AddressRemoved
from stronghold_p2p.swarm.watches import ADDRESSES_EVERY as LOOK
from stronghold_p2p.transport import tcp
from tests.peers import swarm
from tests.swarm.raw import Events
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


async def test_addresses_follow_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["127.0.0.1", "192.0.2.7"]
    monkeypatch.setattr(tcp, "host_addresses", lambda _family: list(hosts))
    async with swarm(1) as alice:
        listener = await alice.listen(parse("/ip4/0.0.0.0/tcp/0"))
        events = Events(alice)
        hosts[1:] = ["192.0.2.8", "198.51.100.1"]
        await asyncio.sleep(LOOK + 1)
        assert [str(event.address).split("/")[2] for event in events.of(AddressRemoved)] == ["192.0.2.7"]
        assert [str(event.address).split("/")[2] for event in events.of(AddressAdded)] == ["192.0.2.8", "198.51.100.1"]
        assert [str(address).split("/")[2] for address in listener.addresses] == hosts
        assert set(listener.addresses) < set(alice.addresses)
        events.all.clear()
        await asyncio.sleep(3 * LOOK)
        assert events.all == []
        await listener.close()
        events.all.clear()
        hosts.pop()
        await asyncio.sleep(3 * LOOK)
        assert events.all == []


async def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    async with swarm(1) as alice:
        listener = await alice.listen(parse("/ip4/0.0.0.0/tcp/0"))
        before = listener.addresses

        def fail(_family: object) -> list[str]:
            raise OSError

        with monkeypatch.context() as patched:
            patched.setattr(tcp, "host_addresses", fail)
            await asyncio.sleep(2 * LOOK)
        assert listener.addresses == before


async def test_nothing_is_watched_for_one_address() -> None:
    async with swarm(1) as alice:
        assert alice._address_watch._timer is None
