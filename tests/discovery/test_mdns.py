"""The service around the core: networks of ours on the loopback interface find each other."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import (
    AddressBook,
    ConfigError,
    Event,
    Limits,
    Network,
    PeerDiscovered,
    PeerId,
    PeerIdMismatch,
    PeerLost,
)
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.discovery import interfaces, mdns
from stronghold_p2p.events.lines import line_of
from stronghold_p2p.mdns.core import Hint, Link
from stronghold_p2p.mdns.table import Change
from tests.peers import LOOPBACK, levels, turns, until


@asynccontextmanager
async def found(**options: Any) -> AsyncIterator[tuple[Network, list[Event]]]:
    """A network with mDNS, and what it is told of others."""
    events: list[Event] = []
    network = Network(**{"mdns": True, "listen": [LOOPBACK], **options})

    @network.on_event
    def keep(event: Event) -> None:
        if isinstance(event, PeerDiscovered | PeerLost):
            events.append(event)

    async with network:
        yield network, events
    network._swarm.hub._followers.clear()


def of(events: list[Event], peer: PeerId) -> list[Event]:
    """Other tests run on this machine, too."""
    return [event for event in events if isinstance(event, PeerDiscovered | PeerLost) and event.peer == peer]


async def test_two_of_ours_find_each_other_and_hear_goodbye(caplog: pytest.LogCaptureFixture) -> None:
    async with found() as (alice, seen):
        async with found() as (bob, others):
            await until(lambda: of(seen, bob.peer_id) and of(others, alice.peer_id), 3.0)
            place = bob.listeners[0].addresses[0]
            assert of(seen, bob.peer_id) == [PeerDiscovered(bob.peer_id, (place,))]
            assert alice.book.addresses(bob.peer_id) == (place,)
            connection = await alice.connect(bob.peer_id)
            assert connection.peer == bob.peer_id
        await until(lambda: of(seen, bob.peer_id)[-1] == PeerLost(bob.peer_id), 3.0)
        stats = alice.stats()
        assert stats["peers_discovered_total"] >= stats["peers_lost_total"] >= 1
        assert stats["mdns_packets_total"] > stats["mdns_dropped_total"]
    assert [level for level in levels(caplog) if level > logging.INFO] == []


async def test_somebody_who_moves_is_where_it_is_now() -> None:
    async with found() as (_, seen), found() as (bob, _):
        (first,) = bob.listeners
        place = first.addresses[0]
        await until(lambda: of(seen, bob.peer_id), 3.0)
        await first.close()
        moved = (await bob.listen(LOOPBACK)).addresses
        await until(lambda: of(seen, bob.peer_id)[-1] == PeerDiscovered(bob.peer_id, moved), 3.0)
        assert place not in moved


async def test_a_hint_is_no_more_than_that_and_is_not_saved(tmp_path: Path) -> None:
    """Whoever is there proves who it is; what was known before stays; a file has none of it."""
    book = AddressBook.load(tmp_path / "book.json")
    async with found(book=book) as (alice, seen), found() as (bob, _), Network(listen=[LOOPBACK]) as eve:
        await until(lambda: of(seen, bob.peer_id), 3.0)
        service = alice._mdns
        assert isinstance(service, mdns.MdnsService)
        book.save()
        assert str(bob.peer_id) not in (tmp_path / "book.json").read_text()
        (place,) = book.addresses(bob.peer_id)
        book.remove(bob.peer_id)
        spoofed = eve.listeners[0].addresses[0]
        service._do([Hint(bob.peer_id, (spoofed,), 120.0)])
        with pytest.raises(PeerIdMismatch):
            await alice.connect(bob.peer_id)
        book.add(bob.peer_id, place)
        assert (await alice.connect(bob.peer_id)).peer == bob.peer_id


async def test_what_goes_takes_its_hints_along_and_nothing_else() -> None:
    async with found() as (alice, _):
        service, bob = alice._mdns, Network().peer_id
        assert isinstance(service, mdns.MdnsService)
        given, hint, told = (Multiaddr(f"/ip4/192.0.2.1/tcp/{port}") for port in (1, 2, 3))
        alice.book.add(bob, given)
        store_of(alice.book).learn(bob, [told])
        service._do([Hint(bob, (given, hint, told), 120.0), Change(bob, (), (given, hint, told))])
        assert alice.book.addresses(bob) == (given, told, hint)
        service._do([Change(bob, (given, hint, told), ())])
        assert alice.book.addresses(bob) == (given, told)


async def test_who_only_looks_is_not_seen() -> None:
    async with found() as (alice, seen), found(listen=[]) as (hidden, others):
        await until(lambda: of(others, alice.peer_id), 3.0)
        await asyncio.sleep(0.3)
        assert of(seen, hidden.peer_id) == []


async def test_while_nothing_happens_there_is_one_timer_and_no_task() -> None:
    async with found() as (alice, _):
        service = alice._mdns
        assert isinstance(service, mdns.MdnsService)
        await until(lambda: service._ears)
        await turns()
        assert service._opening is not None
        assert service._opening.done()
        timer = service._timer
        assert timer is not None
        service._wait()
        assert service._timer is timer


async def test_limits_are_those_of_the_network() -> None:
    async with found(limits=Limits(mdns_peers=0)) as (_, seen), found():
        await asyncio.sleep(0.5)
        assert seen == []


async def test_closed_while_its_sockets_are_made() -> None:
    for pause in range(6):
        network = await Network(mdns=True).open()
        await turns(pause)
        await network.close()
        await network.close()


async def test_where_no_socket_can_be_had_the_log_tells_once_and_the_rest_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(link: Link, _: object) -> socket.socket:
        raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr(mdns, "socket_on", refused)
    monkeypatch.setattr(mdns, "LOOK_EVERY", 0.05)
    async with found() as (alice, _), Network(listen=[LOOPBACK]) as bob:
        await asyncio.sleep(0.3)
        assert (await alice.connect(bob.addresses[0])).peer == bob.peer_id
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line for line in told if "mDNS" in line] == [
        "nobody can be discovered by mDNS, nor discover us: [Errno 98] in use".replace("98", str(errno.EADDRINUSE))
    ]
    caplog.clear()


async def test_where_the_system_does_not_tell_its_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    def untold() -> dict[Any, Any]:
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(mdns, "links", untold)
    async with found() as (alice, seen):
        await turns()
        assert alice.stats()["mdns_packets_total"] == 0
        assert seen == []


async def test_a_link_that_breaks_gets_another_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdns, "LOOK_EVERY", 0.05)
    async with found() as (alice, _):
        service = alice._mdns
        assert isinstance(service, mdns.MdnsService)
        await until(lambda: service._ears)
        link, ear = next(iter(service._ears.items()))
        ear.error_received(OSError(errno.ENOBUFS, "full"))
        assert not ear.broken
        ear.error_received(OSError(errno.ENETDOWN, "down"))
        await until(lambda: service._ears.get(link) not in (None, ear))
        ear.pause_writing()
        ear.send(b"lost")
        ear.resume_writing()


async def test_a_fault_of_ours_ends_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with found() as (alice, seen), found() as (bob, _):
        service = alice._mdns
        assert isinstance(service, mdns.MdnsService)

        def fails(*_: object) -> None:
            raise RuntimeError("a fault")

        with monkeypatch.context() as patched:
            patched.setattr(service._mdns, "hear", fails)
            service.received(b"", "127.0.0.1", Link("lo", 1, 4))
        with monkeypatch.context() as patched:
            patched.setattr(service._mdns, "tick", fails)
            patched.setattr(service, "_open_each", fails)
            await until(lambda: service._opening is not None and service._opening.done())
            service._ears.popitem()[1].close()
            assert service._timer is not None
            service._timer.cancel()
            service._tick()
            assert service._timer.when() > service._swarm.loop.time() + 0.9
            service._look()
            await turns()
        assert levels(caplog) == [logging.ERROR] * 3
        await until(lambda: of(seen, bob.peer_id), 5.0)


def test_the_option_is_a_yes_or_a_no() -> None:
    with pytest.raises(ConfigError, match="mdns"):
        Network(mdns="yes")  # type: ignore[arg-type]


def test_lines_of_the_log() -> None:
    peer = Network().peer_id
    place = Multiaddr("/ip4/192.0.2.1/tcp/1")
    assert line_of(PeerDiscovered(peer, (place, place))) == f"discovered {peer} at {place} {place}"
    assert line_of(PeerLost(peer)) == f"lost {peer}"


@pytest.mark.skipif(sys.platform != "linux", reason="the flags of an interface are asked for on Linux")
def test_the_links_of_this_host() -> None:
    found_links = interfaces.links()
    assert any(link.name == "lo" and link.version == 4 for link in found_links)
    assert all(interface.version == link.version for link, own in found_links.items() for interface in own)
    assert not interfaces._carries_multicast("nothing0")
