"""Which address of a peer is dialed when. Time is virtual."""

from __future__ import annotations

import asyncio
import ipaddress
from functools import partial

import pytest

from stronghold_p2p.addressing.parse import parse, with_peer
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import DeadlineExceeded, DialError, P2PError
from stronghold_p2p.events.events import Dialing
from stronghold_p2p.identity import PeerId
from stronghold_p2p.swarm import dialer, failures
from stronghold_p2p.swarm.dialer import IN_FLIGHT, STAGGER
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import now, swarm
from tests.swarm.scripted import REFUSED, scripted
from tests.transport.ends import identity
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

STRANGER = identity(7).peer_id
RELAY = identity(5).peer_id
alone = partial(swarm, 77, None, listen=False)

PUBLIC_6, PUBLIC_4 = "/ip6/2606:4700::1/tcp/1", "/ip4/8.8.8.8/tcp/1"
NEAR, ELSEWHERE = "/ip4/192.168.7.1/tcp/1", "/ip4/10.1.2.3/tcp/1"
WEB = "/ip4/8.8.8.8/tcp/1/ws"


@pytest.fixture(autouse=True)
def in_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own address is 192.168.7.77, whereto ever."""
    monkeypatch.setattr(dialer, "source_towards", lambda packed: ipaddress.ip_address("192.168.7.77").packed)


async def fails(alice: Swarm, *addresses: str, peer: PeerId | None = STRANGER) -> DialError:
    with pytest.raises(DialError) as caught:
        await alice.dial(peer, [parse(one) for one in addresses])
    return caught.value


def add(alice: Swarm, *addresses: str, peer: PeerId = STRANGER) -> None:
    for address in addresses:
        alice.book.add(peer, address)


async def test_the_addresses_of_a_peer_are_ranked() -> None:
    """However the book has them; 250 ms apart."""
    async with alone() as alice:
        tried, events = scripted(alice), list[object]()
        alice.hub.follow(events.append)
        add(alice, ELSEWHERE, WEB, PUBLIC_4, PUBLIC_6, NEAR)
        began = now()
        await fails(alice)
        right = [NEAR, PUBLIC_6, PUBLIC_4, WEB, ELSEWHERE]
        assert tried.order == right
        assert [one.at - began for one in tried.begun] == pytest.approx([n * STAGGER for n in range(5)], abs=0.01)
        assert [str(event.address) for event in events if isinstance(event, Dialing)] == right
        events.clear()


async def test_the_last_success_comes_first() -> None:
    async with alone() as alice, swarm(2) as bob:
        tried = scripted(alice)
        tried.fates[WEB] = bob.addresses[0]
        add(alice, PUBLIC_6, WEB, NEAR, peer=bob.peer_id)
        await (await alice.dial(bob.peer_id)).close()
        assert tried.order == [NEAR, PUBLIC_6, WEB]
        await alice.dial(bob.peer_id)
        assert tried.order[3:] == [WEB]


async def test_a_book_from_a_file_knows_the_last_success() -> None:
    async with alone() as alice:
        tried = scripted(alice)
        store_of(alice.book).worked(STRANGER, parse(WEB))
        store_of(alice.book).worked(STRANGER, parse(PUBLIC_4))
        store_of(alice.book).worked(STRANGER, parse(PUBLIC_6))
        store_of(alice.book).worked(STRANGER, parse(WEB))
        text = alice.book.export()
        async with alone() as other:
            tried = scripted(other)
            other.book.import_(text)
            await fails(other)
            assert tried.order == [WEB, PUBLIC_6, PUBLIC_4]


async def test_what_a_call_gives_comes_before_what_is_known() -> None:
    async with alone() as alice:
        tried = scripted(alice)
        store_of(alice.book).worked(STRANGER, parse(PUBLIC_4))
        add(alice, NEAR)
        await fails(alice, WEB, ELSEWHERE)
        assert tried.order == [WEB, ELSEWHERE, PUBLIC_4, NEAR]


async def test_what_has_failed_lately_comes_last() -> None:
    """For 5 seconds, then for longer; a success ends it."""
    async with alone() as alice, swarm(2) as bob:
        tried = scripted(alice, otherwise=REFUSED)
        add(alice, NEAR, PUBLIC_4, peer=bob.peer_id)
        tried.fates[PUBLIC_4] = bob.addresses[0]
        await (await alice.dial(bob.peer_id)).close()
        assert tried.order == [NEAR, PUBLIC_4]
        add(alice, PUBLIC_6, peer=bob.peer_id)
        store_of(alice.book)._lasting[bob.peer_id].last = b""  # only what has failed makes a difference here
        tried.begun.clear()
        tried.fates[PUBLIC_4], tried.fates[PUBLIC_6] = REFUSED, bob.addresses[0]
        await (await alice.dial(bob.peer_id)).close()
        assert tried.order == [PUBLIC_6]
        for later, right in ((0.0, [PUBLIC_6, PUBLIC_4, NEAR]), (failures.FIRST + 0.1, [NEAR, PUBLIC_6, PUBLIC_4])):
            await asyncio.sleep(later)
            tried.begun.clear()
            tried.fates.clear()
            tried.fates[right[-1]] = bob.addresses[0]
            store_of(alice.book)._lasting[bob.peer_id].last = b""
            await (await alice.dial(bob.peer_id)).close()
            assert tried.order == right


async def test_all_have_failed_and_all_are_tried_again() -> None:
    """A peer that is back is found at once: nothing is kept from who asks."""
    async with alone() as alice, swarm(2) as bob:
        tried = scripted(alice, otherwise=REFUSED)
        add(alice, NEAR, PUBLIC_4, peer=bob.peer_id)
        await fails(alice, peer=bob.peer_id)
        tried.fates[PUBLIC_4] = bob.addresses[0]
        began = now()
        await alice.dial(bob.peer_id)
        assert now() - began < 0.05
        assert tried.order == [NEAR, PUBLIC_4, NEAR, PUBLIC_4]


async def test_our_own_limits_and_rules_are_no_failures() -> None:
    async with alone() as alice:
        tried = scripted(alice, otherwise=REFUSED)
        add(alice, NEAR, PUBLIC_4)
        alice.firewall.ban("192.168.0.0/16")
        assert str(parse(NEAR)) in map(str, (await fails(alice)).attempts)
        assert tried.order == [PUBLIC_4]
        alice.firewall.unban("192.168.0.0/16")
        await fails(alice)
        assert tried.order == [PUBLIC_4, NEAR, PUBLIC_4]


async def test_each_place_is_dialed_once() -> None:
    """With and without the peer behind it, in IPv6 form, and in capitals."""
    async with alone() as alice:
        tried = scripted(alice, otherwise=REFUSED)
        add(alice, PUBLIC_4, "/ip6/::ffff:808:808/tcp/1", "/ip4/8.8.8.8/tcp/1/tls/ws", "/ip4/8.8.8.8/tcp/1/wss")
        store_of(alice.book).learn(STRANGER, [parse(PUBLIC_4)])
        error = await fails(alice, str(with_peer(parse(PUBLIC_4), STRANGER)))
        assert tried.order == [PUBLIC_4, "/ip4/8.8.8.8/tcp/1/tls/ws"]
        assert len(error.attempts) == 2


async def test_sixteen_at_the_same_time_and_no_more() -> None:
    """The seventeenth begins when the first one has failed; a good one behind 30 that refuse is found at once."""
    async with alone() as alice, swarm(2) as bob:
        tried = scripted(alice)
        many = [f"/ip4/8.8.0.{n}/tcp/1" for n in range(40)]
        began = now()
        await fails(alice, *many)
        assert tried.most == IN_FLIGHT
        assert len(tried.begun) == 40
        assert tried.begun[15].at - began == pytest.approx(15 * STAGGER, abs=0.01)
        assert tried.begun[16].at - began == pytest.approx(5.0, abs=0.01)
        tried.otherwise = REFUSED
        tried.fates[many[30]] = bob.addresses[0]
        began = now()
        await alice.dial(bob.peer_id, [parse(one) for one in many])
        assert now() - began < 0.1


async def test_the_next_caller_brings_an_address_that_begins_at_once() -> None:
    async with alone() as alice, swarm(2) as bob:
        tried = scripted(alice)
        tried.fates[PUBLIC_4] = bob.addresses[0]
        first = asyncio.ensure_future(alice.dial(bob.peer_id, [parse(NEAR)]))
        await asyncio.sleep(1.1)
        began = now()
        second = await alice.dial(bob.peer_id, [parse(PUBLIC_4)])
        assert now() - began < 0.05
        assert await first is second


async def test_relays_come_last_or_first_as_the_caller_wishes() -> None:
    async with alone() as alice:
        tried = scripted(alice, otherwise=REFUSED)
        add(alice, NEAR, peer=RELAY)
        add(alice, ELSEWHERE)
        through = f"{NEAR}/p2p/{RELAY}/p2p-circuit"
        for relays, order in ((None, [ELSEWHERE, through]), ([RELAY], [through, ELSEWHERE])):
            alice.book.relays = [RELAY]
            alice.book.via(STRANGER, relays)
            tried.begun.clear()
            tried.relays = False
            error = await fails(alice)
            assert tried.order == [ELSEWHERE]
            assert "skipped, relays are not supported yet" in str(error)
            tried.relays, alice.dialer._failures = True, failures.Failures()
            tried.begun.clear()
            await fails(alice)
            assert tried.order == order


async def test_a_dial_that_is_late_tells_what_became_of_each_address() -> None:
    async with alone(timeouts=Timeouts(dial=2.0)) as alice:
        tried = scripted(alice)
        tried.fates[NEAR] = REFUSED
        add(alice, NEAR, PUBLIC_4)
        with pytest.raises(DeadlineExceeded) as caught:
            await alice.dial(STRANGER)
        cause = caught.value.__cause__
        assert isinstance(cause, DialError)
        assert str(cause) == f"{NEAR}: Connection refused; without an answer until then: {PUBLIC_4}"
        assert list(map(str, cause.attempts)) == [NEAR]


async def test_an_address_that_is_none_costs_the_others_nothing() -> None:
    async with alone() as alice, swarm(2) as bob:
        only_a_name = parse(f"/p2p/{bob.peer_id}")
        connection = await alice.dial(bob.peer_id, [only_a_name, *bob.addresses])
        assert connection.peer == bob.peer_id
        with pytest.raises(P2PError):
            await alice.dial(STRANGER, [parse(f"/p2p/{STRANGER}")])


async def test_the_network_is_asked_for_private_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for a single one: most dials have one address."""
    asked: list[bytes] = []
    monkeypatch.setattr(dialer, "source_towards", asked.append)
    async with alone() as alice:
        scripted(alice, otherwise=REFUSED)
        await fails(alice, NEAR)
        await fails(alice, PUBLIC_4, PUBLIC_6)
        assert asked == []
        await fails(alice, NEAR, PUBLIC_4)
        assert asked == [ipaddress.ip_address("192.168.7.1").packed]


async def test_nobody_is_woken_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dial whose addresses all are under way has no timer but its deadlines."""
    async with alone() as alice:
        scripted(alice)
        task = asyncio.ensure_future(alice.dial(STRANGER, [parse(NEAR)]))
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        due = [handle.when() - now() for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        assert min(due) > STAGGER
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
