"""Defects of the Rust library's firewall that ours must not have.

D4, D5, D8 and D24 are played by tools/decisions (docs/from-rust.md) and in tests/firewall.
"""

from __future__ import annotations

import asyncio

import pytest

from stronghold_p2p import (
    CONNECTION,
    STRONGHOLD,
    Attempt,
    Rule,
    Stream,
    UnsupportedProtocol,
)
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS
from tests.parity.pair import two
from tests.peers import connected, mirror, network, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


async def test_d23_a_late_rule_does_not_replace_one_that_was_set() -> None:
    """And an older question does not refuse those who wait for a newer one."""
    async with two() as pair:
        release = [asyncio.Event(), asyncio.Event()]
        asked: list[Attempt] = []

        @pair.bob.firewall.on_no_rule
        async def introduce(attempted: Attempt) -> Rule | None:
            asked.append(attempted)
            mine = release[len(asked) - 1]
            while not mine.is_set():
                try:
                    await mine.wait()
                except asyncio.CancelledError:
                    continue  # as late as can be: it answers although nobody waits
            return Rule.REJECT

        first = asyncio.create_task(pair.ask("Ping"))
        await until(lambda: len(asked) == 1)
        pair.bob.firewall.set(Rule.ALLOW, peer=pair.alice.peer_id)
        assert await first == "answer"
        pair.bob.firewall.remove(peer=pair.alice.peer_id)
        second = asyncio.create_task(pair.ask("Ping"))
        await until(lambda: len(asked) == 2)
        release[0].set()  # the first answer comes while the second is waited for
        await asyncio.sleep(0.05)
        assert not second.done()
        assert pair.bob.firewall.rules() == ()
        pair.bob.firewall.set(Rule.ALLOW)
        assert await second == "answer"
        release[1].set()
        await until(lambda: not pair.bob.stats()["asks"])
        assert [rule for _, rule in pair.bob.firewall.rules()] == [Rule.ALLOW]
        assert await pair.ask("Ping") == "answer"


async def test_d26_nothing_is_open_beside_the_rules() -> None:
    """In the Rust library a relay is on by default, and open to everybody behind the firewall's back."""
    bob = network(mirror, None)

    @bob.on_stream("/raw/1", "/libp2p/circuit/relay/0.2.0/hop")
    async def anything(stream: Stream) -> None:
        await stream.write(b"in")

    async with connected(bob) as alice:
        (connection,) = alice.connections()
        served = set(bob._swarm._services)
        for protocol in sorted(served - OPEN_PROTOCOLS):
            assert protocol not in (await alice.identify(bob.peer_id)).protocols
            async with alice.open_stream(bob.peer_id, protocol) as stream:
                with pytest.raises(UnsupportedProtocol):
                    await stream.read()
            named = STRONGHOLD.ids[0] if protocol in STRONGHOLD.ids else protocol
            bob.firewall.set(Rule.ALLOW, protocol=named, peer=alice.peer_id)
            async with alice.open_stream(bob.peer_id, protocol) as stream:
                await stream.close_write()
                await stream.read()
            bob.firewall.remove(protocol=named, peer=alice.peer_id)
        for protocol in sorted(served & OPEN_PROTOCOLS):  # what is open is under the rules as well
            bob.firewall.set(Rule.REJECT, protocol=protocol)
            async with alice.open_stream(bob.peer_id, protocol) as stream:
                with pytest.raises(UnsupportedProtocol):
                    await stream.read()
        assert not connection.closed
        bob.firewall.set(Rule.REJECT, protocol=CONNECTION)
        await until(lambda: connection.closed)
