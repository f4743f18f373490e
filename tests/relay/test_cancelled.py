"""Hostile row 108 with relays: to listen and to dial through one, cancelled at each suspension and after each turn."""

from __future__ import annotations

import asyncio

import pytest

from stronghold_p2p import Connection, Listener, Network
from stronghold_p2p.relay.service import relay as services
from stronghold_p2p.relay.service.relay import RelayService
from tests import cancel
from tests.peers import until
from tests.test_relaying import three


def left(*networks: Network) -> dict[str, int]:
    """What may not grow."""
    names = ("streams", "peers", "inbound", "outbound", "pending_in", "pending_out", "listeners", "relays_used")
    found = {f"{one.name} {name}": one.stats()[name] for one in networks for name in names}
    return {**found, "tasks": len(asyncio.all_tasks())}


def service_of(network: Network) -> RelayService:
    (found,) = [one for one in network._swarm._added if isinstance(one, RelayService)]
    return found


async def test_row_108_a_reservation_cancelled_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "ASKS_AT_ONCE", 10_000)
    async with three() as at:
        await at.alice.connect(at.relay.addresses[0])
        await until(lambda: not at.relay.stats()["streams"])
        base = left(at.relay, at.bob, at.alice)

        async def listen() -> Listener:
            return await at.alice.listen(f"{at.relay.addresses[0]}/p2p-circuit")

        async def finished(listener: Listener) -> None:
            await listener.close()

        async def check() -> None:
            await until(lambda: left(at.relay, at.bob, at.alice) == base)
            (connection,) = at.alice._swarm.connections(at.relay.peer_id)
            assert connection.kept == 0

        assert await cancel.everywhere(listen, check, finished) >= 1
        await cancel.at_each_turn(listen, check, finished)


async def test_row_108_a_circuit_cancelled_everywhere() -> None:
    async with three() as at:
        await at.alice.connect(at.relay.addresses[0])
        await until(lambda: not at.relay.stats()["streams"])
        base = left(at.relay, at.bob, at.alice)

        async def dial() -> Connection:
            return await at.alice.connect(at.at)

        async def finished(connection: Connection) -> None:
            await connection.close()

        async def check() -> None:
            await until(lambda: left(at.relay, at.bob, at.alice) == base and not at.relay.stats()["circuits"])
            assert service_of(at.relay)._of_peers.total == 0

        assert await cancel.everywhere(dial, check, finished) >= 1
        await cancel.at_each_turn(dial, check, finished)
        assert not (await at.alice.connect(at.at)).closed
