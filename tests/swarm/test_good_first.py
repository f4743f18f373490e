"""A list whose first address is good is not slower than that address alone, whatever stands behind it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import pytest
from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import swarm
from tests.swarm.test_dialer import black_holes, closed_port

pytestmark = pytest.mark.serial

ROUNDS = 40
BAR = 0.010  # seconds


async def connect_time(alice: Swarm, bob: Swarm, addresses: Sequence[Multiaddr]) -> float:
    began = time.perf_counter()
    connection = await alice.dial(bob.peer_id, addresses)
    took = time.perf_counter() - began
    assert connection.remote_address == bob.addresses[0]
    await connection.close()
    alice.book.remove(bob.peer_id)
    return took


async def test_a_good_first_address_is_as_quick_as_alone() -> None:
    async with swarm(1, listen=False) as alice, swarm(2) as bob, black_holes(8) as holes:
        names = [parse(f"/dns/{number}.example.org/tcp/1") for number in range(4)]
        private = [parse(f"/ip4/10.0.0.{number}/tcp/1") for number in range(20)]
        many = [*bob.addresses, *holes, closed_port(), *names, *private]
        alone, listed = list[float](), list[float]()
        for _ in range(ROUNDS):
            alone.append(await connect_time(alice, bob, bob.addresses))
            listed.append(await connect_time(alice, bob, many))
        later = statistics.median(listed) - statistics.median(alone)
        print(f"alone {statistics.median(alone) * 1e3:.2f} ms, with {len(many) - 1} behind it {later * 1e3:+.2f} ms")
        assert later < BAR
