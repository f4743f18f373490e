"""mDNS as a function of bytes, source, link and virtual time; and several of ours that hear each other."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from ipaddress import ip_interface
from itertools import count, pairwise

import pytest

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.mdns import core, messages, speaker
from stronghold_p2p.mdns.core import Hint, Interface, Link, Mdns, Output, Send
from stronghold_p2p.mdns.messages import META, SERVICE, Announcement, read
from stronghold_p2p.mdns.speaker import LONGEST_QUERY
from stronghold_p2p.mdns.table import LONGEST, Change
from tests.mdns.packets import IN, PTR, TXT, name, packet, record, strings

ETH4, ETH6, LO = Link("eth0", 2, 4), Link("eth0", 2, 6), Link("lo", 1, 4)
LINKS: dict[Link, tuple[Interface, ...]] = {
    ETH4: (ip_interface("192.168.1.1/24"),),
    ETH6: (ip_interface("fe80::1/64"), ip_interface("2001:db8::1/64")),
    LO: (ip_interface("127.0.0.1/8"),),
}
ADDRESS = parse("/ip4/192.168.1.1/tcp/4001")
OTHER = Identity.from_seed(b"o" * 32).peer_id
FAR = "192.168.1.9"
THERE = "/ip4/192.168.1.9/tcp/4001"


def drawing(seed: bytes) -> Callable[[int], bytes]:
    """The same for the same seed."""
    numbers = count()
    return lambda size: hashlib.shake_128(seed + next(numbers).to_bytes(8, "big")).digest(size)


class Node:
    """One of ours, and when it has said what."""

    def __init__(self, seed: bytes = b"a", *, links: dict[Link, tuple[Interface, ...]] = LINKS, **limits: int) -> None:
        self.identity = Identity.from_seed(seed * 32)
        self.core = Mdns(self.identity.peer_id, draw=drawing(seed), **{"peers": 256, "rate": 20, **limits})
        self.said: list[tuple[float, Link, bytes]] = []
        self.changes: list[tuple[float, Change]] = []
        self.hints: list[Hint] = []
        self.now = 0.0
        self.core.set_links(links, 0.0)

    def did(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self.said.append((self.now, output.link, output.data))
            elif isinstance(output, Hint):
                self.hints.append(output)
            else:
                self.changes.append((self.now, output))

    def run(self, until: float) -> None:
        while self.core.due <= until:
            self.now = max(self.now, self.core.due)
            self.did(self.core.tick(self.now))
        self.now = until

    def hears(self, data: bytes, source: str = FAR, link: Link = ETH4) -> None:
        self.did(self.core.hear(data, source, link, self.now))

    def times(self, kind: str, link: Link = ETH4) -> list[float]:
        return [at for at, on, data in self.said if on == link and kind == kind_of(data)]


def kind_of(data: bytes) -> str:
    said = read(data)
    if said.asked:
        return "query"
    ttls = {one.ttl for one in said.announced}
    return "services" if not ttls else "goodbye" if ttls == {0} else "announcement"


def announcement(*places: str, label: str = "x", peer: object = OTHER, ttl: int = 120) -> bytes:
    owner = f"{label}.{SERVICE}"
    told = strings(*(f"dnsaddr={place}/p2p/{peer}" for place in places))
    answers = [record(SERVICE, PTR, name(owner), ttl), record(owner, TXT, told, ttl)]
    return packet(0x8400, answers=answers)


QUERY = messages.query()


def test_the_cadence_of_queries_and_announcements() -> None:
    node = Node()
    node.core.set_addresses([ADDRESS], 0.0)
    node.run(200.0)
    queries, announcements = node.times("query"), node.times("announcement")
    gaps = [later - earlier for earlier, later in pairwise(queries)]
    assert queries[0] <= 0.12
    for gap, expected in zip(gaps, [1, 2, 4, 8, 16, 32, LONGEST_QUERY, LONGEST_QUERY], strict=False):
        assert expected <= gap <= 1.1 * expected
    assert len(announcements) == 3
    assert [round(later - announcements[0], 3) for later in announcements] == [0.0, 1.0, 3.0]
    assert announcements[0] <= 0.12
    assert node.core.due < math.inf


def test_it_answers_within_an_eighth_of_a_second_and_once_a_second() -> None:
    node = Node()
    node.core.set_addresses([ADDRESS], 0.0)
    node.run(60.0)
    node.said.clear()
    node.hears(QUERY)
    node.run(61.5)
    ((at,),) = [node.times("announcement")]
    assert 60.02 <= at <= 60.12
    node.said.clear()
    for _ in range(100):  # ten seconds of questions from different sources
        node.run(node.now + 0.1)
        node.hears(QUERY, f"192.168.1.{int(node.now * 10) % 200 + 10}")
    answers = node.times("announcement")
    assert 9 <= len(answers) <= 10
    assert min(b - a for a, b in pairwise(answers)) >= 1.0
    assert not node.times("announcement", ETH6)  # where nobody has asked


def test_who_knows_us_is_not_answered_and_who_asks_for_us_by_name_is() -> None:
    node = Node()
    node.core.set_addresses([ADDRESS], 0.0)
    node.run(60.0)
    (mine,) = {one.name for _, link, data in node.said if link == ETH4 for one in read(data).announced}
    node.said.clear()
    knowing = packet(0, question=(SERVICE, PTR, IN), answers=[record(SERVICE, PTR, name(mine), 100)])
    node.hears(knowing)
    node.run(70.0)
    assert node.times("announcement") == []
    node.hears(packet(0, question=(mine, TXT, IN)))
    node.hears(packet(0, question=(META, PTR, IN)))
    node.hears(packet(0, question=(META, PTR, IN)))
    node.run(72.0)
    assert [len(node.times(kind)) for kind in ("announcement", "services")] == [1, 1]


def test_whoever_listens_nowhere_asks_only() -> None:
    node = Node()
    node.hears(QUERY)
    node.run(300.0)
    assert {kind_of(data) for _, _, data in node.said} == {"query"}
    assert node.core.close() == []


def test_a_new_name_when_addresses_change_and_goodbye_to_the_old_one() -> None:
    node = Node()
    node.core.set_addresses([ADDRESS], 0.0)
    node.run(10.0)
    (old,) = {one.name for _, link, data in node.said if link == ETH4 for one in read(data).announced}
    node.said.clear()
    node.core.set_addresses([], 10.0)
    node.core.set_addresses([parse("/ip4/192.168.1.1/tcp/4002")], 10.0)
    node.core.set_addresses([parse("/ip4/192.168.1.1/tcp/4002")], 10.5)  # nothing new
    node.run(20.0)
    told = [(at, read(data).announced) for at, link, data in node.said if link == ETH4 and kind_of(data) != "query"]
    assert told[0] == (told[0][0], (Announcement(old, 0),))
    assert told[0][0] <= 10.12
    (new,) = told[1][1]
    assert new.name != old
    assert len(new.name) == len(SERVICE) + 33
    assert "/tcp/4002/" in new.texts[0]
    assert [one for one in told[2:] if one[1][0].ttl == 0] == []
    assert [read(send.data).announced for send in node.core.close() if send.link == ETH4] == [
        (Announcement(new.name, 0),)
    ]


def test_changes_without_end_are_announced_once_a_second() -> None:
    node = Node()
    for step in range(500):
        node.core.set_addresses([parse(f"/ip4/192.168.1.1/tcp/{4_000 + step}")], node.now)
        node.run(node.now + 0.02)
    assert len(node.times("announcement")) <= 11
    assert len(node.times("goodbye")) <= 10


def test_many_addresses_are_several_packets_each_under_a_name_of_its_own() -> None:
    node = Node()
    many = [parse(f"/ip4/192.168.1.1/tcp/{4_000 + number}") for number in range(100)]
    node.core.set_addresses(many, 0.0)
    node.run(0.12)
    packets = [data for _, link, data in node.said if link == ETH4 and kind_of(data) == "announcement"]
    assert len(packets) == speaker.INSTANCES
    assert all(1_200 < len(data) <= messages.LARGEST for data in packets)
    found = [one for data in packets for one in read(data).announced]
    assert len({one.name for one in found}) == speaker.INSTANCES
    assert [text for one in found for text in one.texts] == [
        f"{address}/p2p/{node.identity.peer_id}" for address in many[: sum(len(one.texts) for one in found)]
    ]


def test_regular_queries_are_left_out_where_somebody_else_has_asked_but_not_twice() -> None:
    node = Node()
    node.run(120.0)
    node.said.clear()
    while node.now < 500.0:  # somebody asks all the time
        node.hears(QUERY)
        node.run(node.now + 1.0)
    queries = node.times("query")
    gaps = [later - earlier for earlier, later in pairwise(queries)]
    assert max(gaps) <= 2.1 * LONGEST_QUERY
    assert min(gaps) > 1.4 * LONGEST_QUERY


def test_a_peer_is_told_with_hints_and_lost_by_its_goodbye() -> None:
    node = Node()
    node.run(5.0)
    node.hears(announcement(THERE, "/ip4/127.0.0.1/tcp/4001", "/ip4/192.168.1.9/tcp/1/ws"))
    places = (parse(THERE), parse("/ip4/192.168.1.9/tcp/1/ws"))
    assert node.hints == [Hint(OTHER, places, 120)]
    assert node.changes == [(5.0, Change(OTHER, (), places))]
    assert node.core.peers == 1
    node.hears(packet(0x8400, answers=[record(SERVICE, PTR, name(f"x.{SERVICE}"), 0)]))
    node.run(8.0)
    assert node.changes[1] == (6.0, Change(OTHER, places, ()))


@pytest.mark.parametrize(("ttl", "ends"), [(120, 120.0), (360, 360.0), (3_200, LONGEST)], ids=["js", "rust", "go"])
def test_who_says_no_goodbye_goes_when_its_time_ends(ttl: int, ends: float) -> None:
    node = Node()
    node.hears(announcement(THERE, ttl=ttl))
    node.run(1_000.0)
    assert [at for at, _ in node.changes] == [0.0, ends]


def test_a_peer_that_moves_under_a_new_name_is_at_its_new_place_alone() -> None:
    """What ours, and a go peer that starts its mDNS anew, say."""
    node = Node()
    node.hears(announcement(THERE))
    node.now = 10.0
    node.hears(packet(0x8400, answers=[record(SERVICE, PTR, name(f"x.{SERVICE}"), 0)]))
    node.hears(announcement("/ip4/192.168.1.9/tcp/5", label="y"))
    node.run(13.0)
    assert [change.after for _, change in node.changes][-1] == (parse("/ip4/192.168.1.9/tcp/5"),)
    assert node.changes[-1][0] == 11.0


def test_our_own_words_come_back() -> None:
    node = Node()
    node.core.set_addresses([ADDRESS], 0.0)
    node.run(10.0)
    for _, link, data in list(node.said):
        node.hears(data, "192.168.1.1", link)
    assert not node.changes
    assert not node.hints


def test_a_goodbye_in_our_name_is_answered() -> None:
    node = Node()
    node.core.set_addresses([ADDRESS], 0.0)
    node.run(60.0)
    mine = next(iter(one.name for _, link, data in node.said if link == ETH4 for one in read(data).announced))
    node.said.clear()
    node.hears(messages.goodbye([mine]))
    node.run(61.0)
    assert len(node.times("announcement")) == 1


def test_loopback_of_this_machine_and_link_local_addresses() -> None:
    node = Node()
    node.hears(announcement("/ip4/127.0.0.1/tcp/4001"), "192.168.1.1")
    node.hears(announcement("/ip6/fe80::9/tcp/4001", label="z"), "fe80::9", ETH6)
    assert set(node.changes[-1][1].after) == {
        parse("/ip4/127.0.0.1/tcp/4001"),
        parse("/ip6zone/eth0/ip6/fe80::9/tcp/4001"),
    }


@pytest.mark.parametrize(
    ("source", "link", "near"),
    [
        ("192.168.1.9", ETH4, True),
        ("192.168.1.1", LO, True),  # ours, by another way
        ("192.168.2.9", ETH4, False),
        ("8.8.8.8", ETH4, False),
        ("192.168.1.9", LO, False),
        ("fe80::9", ETH6, True),
        ("2001:db8::9", ETH6, True),
        ("2001:db8:1::9", ETH6, False),
        ("192.168.1.9", Link("eth9", 9, 4), False),
        ("nowhere", ETH4, False),
    ],
)
def test_who_is_not_on_the_link_is_not_heard_and_not_answered(source: str, link: Link, near: bool) -> None:
    node = Node()
    node.core.set_addresses([ADDRESS], 0.0)
    node.run(60.0)
    node.said.clear()
    node.hears(announcement(THERE), source, link)
    node.hears(QUERY, source, link)
    node.run(61.0)
    assert bool(node.changes) is near
    assert node.core.dropped == (0 if near else 2)
    assert bool(node.said) is (near and link != LO)


def test_twenty_packets_a_second_of_each_source_and_four_hundred_of_all() -> None:
    node = Node()
    for number in range(1_000):
        node.hears(announcement(THERE, label=f"n{number}"))
    assert node.core.heard - node.core.dropped == 60  # at once
    node.now = 10.0
    for number in range(1_000):
        node.hears(announcement(THERE, label=f"n{number}"))
    assert node.core.heard - node.core.dropped == 120
    for number in range(5_000):
        node.hears(QUERY, f"192.168.1.{number % 250 + 2}")
    assert node.core.heard - node.core.dropped == 1_260  # of all together 1,200 at once
    assert len(node.core._sources) <= core.SOURCES
    free = Node(rate=None)  # type: ignore[arg-type]
    for _ in range(1_000):
        free.hears(QUERY)
    assert free.core.dropped == 0


def test_links_come_and_go() -> None:
    node = Node(links={})
    node.core.set_addresses([ADDRESS], 0.0)
    assert node.core.due == math.inf
    node.now = 10.0
    node.core.set_links({ETH4: LINKS[ETH4]}, 10.0)
    node.run(15.0)
    assert [len(node.times(kind)) for kind in ("query", "announcement")] == [3, 3]
    node.said.clear()
    node.core.set_links({}, 15.0)
    node.run(100.0)
    assert node.said == []
    node.core.set_links({ETH4: (ip_interface("192.168.7.1/24"),)}, 100.0)
    node.core.set_addresses([parse("/ip4/192.168.7.1/tcp/4001")], 100.0)
    node.run(101.0)
    assert any(
        "/ip4/192.168.7.1/" in text for _, _, data in node.said for one in read(data).announced for text in one.texts
    )


def test_ours_among_each_other() -> None:
    """Five peers on one link: all see all within a second, nobody is lost in twenty minutes, and little is said."""
    nodes = [
        Node(bytes([65 + number]), links={ETH4: (ip_interface(f"192.168.1.{number + 1}/24"),)}) for number in range(5)
    ]
    for number, node in enumerate(nodes):
        node.core.set_addresses([parse(f"/ip4/192.168.1.{number + 1}/tcp/4001")], 0.0)
    now, packets = 0.0, 0
    while now < 1_200.0:
        now = min(node.core.due for node in nodes)
        for number, node in enumerate(nodes):
            node.now, before = now, len(node.said)
            node.did(node.core.tick(now))
            for _, link, data in node.said[before:]:
                packets += 1
                for other in nodes:
                    other.now = now
                    other.hears(data, f"192.168.1.{number + 1}", link)
    assert [node.core.dropped for node in nodes] == [0] * 5
    for node in nodes:
        assert len(node.changes) == 4
        assert max(at for at, _ in node.changes) < 1.0
    assert packets / 1_200 < 1.0, f"{packets / 1_200:.2f} packets a second"  # in 35 s one query and five answers
    goodbyes = nodes[0].core.close()
    for send in goodbyes:
        nodes[1].hears(send.data, "192.168.1.1", send.link)
    nodes[1].run(now + 2.0)
    assert nodes[1].changes[-1][1].after == ()


@pytest.mark.speed
@pytest.mark.serial
def test_a_packet_costs_a_millisecond_at_most() -> None:
    """The dearest one: as many addresses as are looked at, which is what costs. Processor time, the best of many."""
    node = Node(rate=None)  # type: ignore[arg-type]
    data = announcement(*(f"/ip6/2001:db8::{number}/tcp/4001" for number in range(16)))
    taken: list[float] = []
    while len(taken) < 2_000 and min(taken, default=1.0) > 0.001:
        start = time.thread_time()
        node.hears(data)
        taken.append(time.thread_time() - start)
    assert min(taken) <= 0.001
