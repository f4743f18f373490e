"""Names among the addresses of a peer: looked up beside the dialing of the others. Time is virtual."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from stronghold_p2p.addressing.parse import parse, with_peer
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.errors import ConnectionClosed, DialError, NameResolutionError, PeerIdMismatch
from stronghold_p2p.events.events import DialFailed
from stronghold_p2p.identity import PeerId
from stronghold_p2p.swarm.dial import TOLD_NAMES
from stronghold_p2p.swarm.dialer import HEAD_START, RESOLUTION_DELAY, STAGGER
from stronghold_p2p.swarm.swarm import Swarm
from tests import cancel
from tests.peers import now, swarm, turns, until
from tests.swarm.raw import Events
from tests.swarm.scripted import REFUSED, names, scripted
from tests.swarm.test_dialer import closed_port
from tests.transport.ends import identity
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

STRANGER = identity(7).peer_id
alone = partial(swarm, 77, None, listen=False)

NAME, OTHER = "/dns/example.org/tcp/1", "/dns4/example.com/tcp/1"
ONE_6, ONE_4, TWO_4 = "/ip6/2606:4700::1/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip4/8.8.4.4/tcp/1"
HOLE = "/ip4/9.9.9.9/tcp/1"


async def fails(alice: Swarm, *addresses: str, peer: PeerId | None = STRANGER) -> DialError:
    with pytest.raises(DialError) as caught:
        await alice.dial(peer, [parse(one) for one in addresses])
    return caught.value


def reasons(error: DialError) -> dict[str, str]:
    return {str(address): str(cause) for address, cause in error.attempts.items()}


# ---------------------------------------------------------------------- where a name leads


@pytest.mark.parametrize("expected", [True, False])
async def test_a_name_leads_to_the_peer(expected: bool) -> None:
    """The transport is told the name; the book has the name, as it may lead elsewhere the next time."""
    async with alone() as alice, swarm(2) as bob:
        tried, asked = scripted(alice), names(alice, {NAME: [(0.1, ONE_4)]})
        tried.fates[ONE_4] = bob.addresses[0]
        connection = await alice.dial(bob.peer_id if expected else None, [parse(NAME)])
        assert connection.peer == bob.peer_id
        assert [(one.address, one.told) for one in tried.begun] == [(ONE_4, "example.org")]
        assert [(one.address, one.told) for one in asked.begun] == [(NAME, True)]
        assert alice.book.addresses(bob.peer_id) == (parse(NAME),)
        await connection.close()
        await alice.dial(bob.peer_id)
        assert [one.told for one in asked.begun] == [True, True]  # the caller has named it once


async def test_who_has_answered_behind_a_name_is_not_dialed_again() -> None:
    async with alone() as alice, swarm(2) as bob:
        place, port = str(bob.addresses[0]), str(bob.addresses[0]).split("/")[4]
        name = f"/dns4/bob.example/tcp/{port}"
        other = f"/dns6/bob.example/tcp/{port}"
        asked = names(alice, {name: [(0.0, place)], other: [(0.0, place)]})
        first = await alice.dial(None, [parse(name)])
        assert first.remote_address == bob.addresses[0]
        assert await alice.dial(None, [parse(name)]) is first
        assert len(asked.begun) == 1  # who is connected needs no nameserver
        for _ in range(2):
            assert await alice.dial(None, [parse(other)]) is first
        assert len(asked.begun) == 2
        assert await alice.dial(None, [with_peer(parse(name), bob.peer_id)]) is first
        with pytest.raises(PeerIdMismatch):  # it is somebody else who is wanted there
            await alice.dial(None, [with_peer(parse(name), STRANGER)])
        assert len(alice.connections()) == 1


async def test_names_lead_to_ranked_addresses() -> None:
    """Both look-ups run at the same time; what they find joins in order."""
    async with alone() as alice:
        tried = scripted(alice)
        web = "/ip4/8.8.8.8/tcp/1/ws"
        asked = names(alice, {NAME: [(0.2, web), (0.0, ONE_6)], OTHER: [(0.2, TWO_4)]})
        began = now()
        await fails(alice, NAME, OTHER)
        assert [one.at - began for one in asked.begun] == [0.0, 0.0]
        assert tried.order == [ONE_6, TWO_4, web]
        assert tried.begun[0].at - began == pytest.approx(0.2, abs=0.01)
        assert [one.told for one in tried.begun] == ["example.org", "example.com", "example.org"]


async def test_ipv4_waits_a_little_for_ipv6() -> None:
    """The "Resolution Delay" of RFC 8305, 3; no longer than that, and not where all answers are there."""
    async with alone() as alice:
        for second, right, wait in (
            (RESOLUTION_DELAY / 2, [ONE_6, ONE_4], RESOLUTION_DELAY / 2),
            (RESOLUTION_DELAY * 2, [ONE_4, ONE_6], RESOLUTION_DELAY),
            (None, [ONE_4], 0.0),
        ):
            tried = scripted(alice, otherwise=REFUSED)
            late = [] if second is None else [(second, ONE_6)]
            names(alice, {NAME: [(0.0, ONE_4), *late]})
            began = now()
            await fails(alice, NAME)
            assert tried.order == right
            assert tried.begun[0].at - began == pytest.approx(wait, abs=0.005)
            alice.transports[:] = [tried.tcp]


@pytest.mark.parametrize("first", [True, False])
async def test_a_name_and_its_address_are_one_attempt(first: bool) -> None:
    async with alone() as alice:
        tried = scripted(alice, otherwise=REFUSED)
        names(alice, {NAME: [(0.0, ONE_4)], OTHER: [(0.0, ONE_4)]})
        error = await fails(alice, *((ONE_4, NAME, OTHER) if first else (NAME, OTHER, ONE_4)))
        assert tried.order == [ONE_4]
        assert reasons(error) == {ONE_4: f"{ONE_4}: Connection refused"}


async def test_over_websocket_the_name_makes_a_difference() -> None:
    """A proxy or a certificate may know the name only."""
    async with alone() as alice:
        tried = scripted(alice, otherwise=REFUSED)
        place, name = "/ip4/8.8.8.8/tcp/1/tls/ws", "/dns4/example.org/tcp/1/tls/ws"
        names(alice, {name: [(0.0, place)]})
        await fails(alice, place, name)
        assert [(one.address, one.told) for one in tried.begun] == [(place, ""), (place, "example.org")]


async def test_a_dnsaddr_names_peers() -> None:
    """Nobody else is taken for them."""
    async with alone() as alice, swarm(2) as bob:
        name, tried = "/dnsaddr/example.org", scripted(alice)
        tried.fates[ONE_4] = tried.fates[TWO_4] = bob.addresses[0]
        names(alice, {name: [(0.0, f"{ONE_4}/p2p/{STRANGER}"), (0.0, f"{TWO_4}/p2p/{bob.peer_id}")]})
        connection = await alice.dial(None, [parse(name)])
        assert connection.peer == bob.peer_id
        assert tried.order == [ONE_4, TWO_4]
        assert alice.book.addresses(bob.peer_id) == (parse(name),)


async def test_a_transport_may_take_the_name_itself() -> None:
    """As where a proxy looks it up: it is an address like any other, and the firewall is asked of it."""
    async with alone() as alice, swarm(2) as bob:
        tried, asked = scripted(alice), names(alice, {})
        tried.takes_names = True
        tried.fates[OTHER] = bob.addresses[0]
        assert (await alice.dial(bob.peer_id, [parse(OTHER)])).peer == bob.peer_id
        assert [(one.address, one.told) for one in tried.begun] == [(OTHER, "")]
        assert asked.begun == []


async def test_what_peers_tell_is_kept_if_it_may_lead_somewhere() -> None:
    async with alone() as alice:
        for address, right in {
            "/dns4/example.org/tcp/1": True,
            "/dnsaddr/example.org": True,
            "/dns4/example.org": False,
            "/dns4/example.org/udp/1/quic-v1": False,
            "/ip4/8.8.8.8/tcp/1": True,
            "/ip4/8.8.8.8/udp/1/quic-v1": False,
        }.items():
            assert alice.can_dial(parse(address)) is right, address


# ---------------------------------------------------------------------- beside the others


async def test_an_address_that_answers_needs_no_name() -> None:
    """Whoever answers within the head start is not slower for the names beside it: they are not looked up."""
    async with alone() as alice, swarm(2) as bob:
        asked = names(alice, {NAME: None})
        began = now()
        await alice.dial(bob.peer_id, [parse(NAME), *bob.addresses])
        assert now() - began < HEAD_START
        assert asked.begun == []


async def test_names_are_looked_up_beside_an_address_that_is_silent() -> None:
    """The second attempt begins 250 ms after the first one, wherever it comes from."""
    async with alone() as alice, swarm(2) as bob:
        tried, asked = scripted(alice), names(alice, {NAME: [(0.1, ONE_4)], OTHER: None})
        tried.fates[ONE_4] = bob.addresses[0]
        began = now()
        await alice.dial(bob.peer_id, [parse(HOLE), parse(NAME), parse(OTHER)])
        assert [one.at - began for one in asked.begun] == pytest.approx([HEAD_START] * 2, abs=0.001)
        assert [one.at - began for one in tried.begun] == pytest.approx([0.0, STAGGER], abs=0.001)
        await until(lambda: asked.cancelled == 1)


async def test_names_are_looked_up_at_once_where_an_address_refuses() -> None:
    async with alone() as alice, swarm(2) as bob:
        names(alice, {NAME: [(0.0, str(bob.addresses[0]))]})
        began = now()
        await alice.dial(bob.peer_id, [closed_port(), parse(NAME)])
        assert now() - began < HEAD_START


# ---------------------------------------------------------------------- what does not work


async def test_each_name_that_leads_nowhere_is_told() -> None:
    async with alone() as alice:
        scripted(alice, otherwise=REFUSED)
        names(alice, {NAME: [(0.0, ONE_4)]})
        error = await fails(alice, NAME, OTHER, HOLE)
        assert reasons(error) == {
            HOLE: f"{HOLE}: Connection refused",
            ONE_4: f"{ONE_4}: Connection refused",
            OTHER: f"{OTHER} leads nowhere: example.com does not exist",
        }
        assert str(error) == "no address worked: " + "; ".join(reasons(error).values())
        single = await fails(alice, OTHER)
        assert isinstance(single, NameResolutionError)
        assert list(map(str, single.attempts)) == [OTHER]
        assert single.peer == STRANGER


async def test_what_nobody_can_dial_is_not_looked_up() -> None:
    async with alone() as alice:
        asked = names(alice, {})
        relay = f"/dns4/example.org/tcp/1/p2p/{identity(5).peer_id}/p2p-circuit"
        error = await fails(alice, relay, "/dns4/example.org/udp/1/quic-v1", "/dns4/example.org")
        assert asked.begun == []
        relayed, quic, bare = reasons(error).values()
        assert "skipped, relays are not supported yet" in relayed
        assert quic.startswith("/dns4/example.org/udp/1/quic-v1 cannot be dialed: ")
        assert bare.startswith("/dns4/example.org cannot be dialed: ")


async def test_the_system_tells_of_a_name_and_its_address() -> None:
    async with alone() as alice:
        place = closed_port()
        name = f"/dns4/bob.example/tcp/{str(place).split('/')[4]}"
        names(alice, {name: [(0.0, str(place))]})
        error = await fails(alice, name)
        assert str(error) == f"{place} (bob.example): Connection refused"


async def test_the_firewall_is_asked_again_of_what_a_name_leads_to() -> None:
    """Hostile row 10: nothing is sent to an address that is not allowed, by which name ever."""
    async with alone() as alice:
        tried, asked = scripted(alice, otherwise=REFUSED), names(alice, {NAME: [(0.0, ONE_4), (0.0, TWO_4)]})
        alice.firewall.ban("8.8.8.0/24")
        error = await fails(alice, NAME)
        assert tried.order == [TWO_4]
        assert reasons(error)[ONE_4].startswith("our own firewall keeps us from")
        alice.firewall.ban(STRANGER)
        await fails(alice, NAME)
        assert len(asked.begun) == 1  # for a banned peer nobody is asked anything


async def test_a_ban_ends_look_ups_at_once() -> None:
    async with alone() as alice:
        asked = names(alice, {NAME: None})
        task = asyncio.ensure_future(alice.dial(STRANGER, [parse(NAME)]))
        await asyncio.sleep(1)
        began = now()
        alice.firewall.ban(STRANGER)
        with pytest.raises(DialError, match="our own firewall keeps us from"):
            await task
        assert now() - began < 0.1
        assert asked.cancelled == 1


@pytest.mark.parametrize("peer", [STRANGER, None])
async def test_our_own_address_behind_a_name(peer: PeerId | None) -> None:
    async with swarm(1) as alice:
        (place,) = alice.addresses
        name = f"/dns4/localhost/tcp/{str(place).split('/')[4]}"
        tried = scripted(alice)
        names(alice, {name: [(0.0, str(place))]})
        error = await fails(alice, name, peer=peer)
        assert str(error) == f"{place} is our own address"
        assert tried.order == []


async def test_names_that_peers_tell() -> None:
    """They may lead to public addresses only, which the resolver sees to, and eight of them are looked up."""
    async with alone() as alice, swarm(2) as bob:
        told = [f"/dns4/{n}.example.org/tcp/1" for n in range(12)]
        tried, asked = scripted(alice, otherwise=REFUSED), names(alice, {NAME: [(0.0, ONE_4)], told[0]: [(0.0, TWO_4)]})
        store_of(alice.book).learn(bob.peer_id, map(parse, told))
        alice.book.add(bob.peer_id, NAME)
        error = await fails(alice, peer=bob.peer_id)
        assert [one.address for one in asked.begun if one.told] == [NAME]
        assert len(asked.begun) == 1 + TOLD_NAMES
        assert sum("passed over" in reason for reason in reasons(error).values()) == 12 - TOLD_NAMES
        tried.fates[TWO_4] = bob.addresses[0]
        await (await alice.dial(bob.peer_id)).close()
        asked.begun.clear()
        await alice.dial(bob.peer_id)
        assert {one.address: one.told for one in asked.begun}[told[0]] is False  # it worked, and still is the peer's


# ---------------------------------------------------------------------- cancelled, closed


async def test_cancelled_at_each_suspension() -> None:
    """Hostile row 108: a dial by name and by address, with a look-up that never ends beside it."""
    async with alone() as alice, swarm(2) as bob:
        answers = {NAME: [(0.0, TWO_4)], OTHER: None}
        tried, asked = scripted(alice), names(alice, answers)
        tried.fates[TWO_4] = bob.addresses[0]
        tasks = len(asyncio.all_tasks())

        async def call() -> None:
            connection = await alice.dial(bob.peer_id, [parse(OTHER), parse(NAME)])
            await connection.close()

        async def check() -> None:
            for connection in alice.connections():
                await connection.close()
            await until(lambda: not bob.connections() and len(asyncio.all_tasks()) <= tasks)
            assert alice.gate.snapshot()["pending_out"] == 0
            assert not alice.dialer._all
            assert not alice.dialer._shared

        events = Events(alice)
        assert await cancel.everywhere(call, check) >= 1
        await cancel.at_each_turn(call, check)
        assert asked.cancelled >= 1
        events.all.clear()


async def test_close_ends_look_ups() -> None:
    async with alone() as alice:
        asked, events = names(alice, {NAME: None}), Events(alice)
        task = asyncio.ensure_future(alice.dial(STRANGER, [parse(NAME)]))
        await turns()
        await alice.close()
        with pytest.raises(ConnectionClosed):
            await task
        assert asked.cancelled == 1
        assert events.of(DialFailed) == []
