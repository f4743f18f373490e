"""Defects of the Rust library's firewall that ours must not have: D4, D5, D23, D24, D26."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace

import pytest

from stronghold_p2p import (
    CONNECTION,
    STRONGHOLD,
    Attempt,
    Limits,
    Network,
    Rejected,
    Rule,
    Stream,
    Timeouts,
    UnsupportedProtocol,
)
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS
from tests.parity.pair import two
from tests.peers import LOOPBACK, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


async def test_d4_a_default_that_is_removed_is_gone() -> None:
    async with two() as pair:
        pair.bob.firewall.set(Rule.ALLOW)
        assert await pair.ask("Ping") == "answer"
        assert pair.bob.firewall.remove()
        assert pair.bob.firewall.rules() == ()
        assert await pair.ask("Ping") == "UnsupportedProtocol"
        assert not pair.bob.firewall.remove()


@pytest.mark.parametrize("name", [field.name for field in fields(Timeouts)])
def test_d5_each_timeout_is_its_own(name: str) -> None:
    """The Rust library sets another one for the time to answer."""
    changed = replace(Timeouts(), **{name: 3.75})
    assert [
        field.name for field in fields(Timeouts) if getattr(changed, field.name) != getattr(Timeouts(), field.name)
    ] == [name]


async def test_d5_the_time_to_answer_is_what_was_set() -> None:
    async def silence(asked: Attempt) -> bool:
        await asyncio.sleep(3_600)
        return True

    loop = asyncio.get_running_loop()
    for seconds in (1.0, 5.0):
        timeouts = Timeouts(ask=seconds)
        bob = Network(listen=[LOOPBACK], timeouts=timeouts)
        bob.firewall.set(Rule.ASK)
        bob.firewall.on_ask(silence)
        bob.on_request(lambda request: request.message)
        async with bob, Network() as alice:
            peer = (await alice.connect(bob.addresses[0])).peer
            start = loop.time()
            with pytest.raises(Rejected):
                await alice.request(peer, "Ping", timeout=20)
            assert loop.time() - start == pytest.approx(seconds, abs=0.1)
            assert timeouts.idle == Timeouts().idle


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


async def test_d24_questions_are_bounded() -> None:
    """The Rust library puts any number of them into its channel, whatever its capacity."""
    limits = Limits(asks=8, asks_per_peer=3, requests_per_peer=None)
    bob = Network(listen=[LOOPBACK], limits=limits)
    bob.firewall.set(Rule.ASK)
    running = 0
    most = 0

    @bob.firewall.on_ask
    async def silence(asked: Attempt) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(3_600)
        finally:
            running -= 1
        return True

    bob.on_request(lambda request: request.message)
    async with bob, Network(limits=limits) as alice, Network(limits=limits) as carol, Network(limits=limits) as dave:
        tasks = []
        for peer in (alice, carol, dave):
            await peer.connect(bob.addresses[0])
            tasks += [asyncio.create_task(peer.request(bob.peer_id, "Ping", timeout=60)) for _ in range(20)]
        refused, waiting = await asyncio.wait(tasks, timeout=1.0)
        assert (len(refused), len(waiting), bob.stats()["asks"]) == (52, 8, 8)
        assert all(isinstance(task.exception(), Rejected) for task in refused)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, Rejected) for outcome in outcomes)
        assert (most, bob.stats()["asks"]) == (8, 0)


async def test_d26_nothing_is_open_beside_the_rules() -> None:
    """In the Rust library a relay is on by default, and open to everybody behind the firewall's back."""
    bob = Network(listen=[LOOPBACK])

    @bob.on_stream("/raw/1", "/libp2p/circuit/relay/0.2.0/hop")
    async def anything(stream: Stream) -> None:
        await stream.write(b"in")

    bob.on_request(lambda request: request.message)
    async with bob, Network() as alice:
        connection = await alice.connect(bob.addresses[0])
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
