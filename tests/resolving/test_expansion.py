"""What an address leads to, as a function of answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.addressing.components import IP4, IP6
from stronghold_p2p.addressing.parse import parse, split_peer, walk
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.resolving.expansion import BRANCHES, DEPTH, LOOKUPS, RESULTS, TEXTS, Expansion
from stronghold_p2p.resolving.permitted import Source
from stronghold_p2p.resolving.questions import Answer, Question

BOB, EVE = (Identity.from_seed(seed * 32).peer_id for seed in (b"b", b"e"))
P2P = f"/p2p/{BOB}"
Zone = Mapping[str, Sequence[str]]
"""``"name TYPE"`` to its records."""


def packed(question: Question, zone: Zone) -> Answer:
    records = zone.get(str(question), ())
    if question.kind == "TXT":
        return Answer(tuple(text.encode() for text in records))
    return Answer(tuple(ipaddress.ip_address(text).packed for text in records))


class Run:
    """An expansion whose questions are answered from ``zone``, in the order in which they come."""

    def __init__(
        self, zone: Zone, address: str, *, peer: PeerId | None = None, source: Source = Source.GIVEN, **more: Any
    ) -> None:
        self.asked: list[str] = []
        self.expansion = Expansion(parse(address), peer, source, **more)
        while self.expansion.questions:
            question = self.expansion.questions.pop(0)
            self.asked.append(str(question))
            self.expansion.answer(question, packed(question, zone))
        assert self.expansion.done
        self.found = [str(one.address) for one in self.expansion.found]
        self.names = [one.name for one in self.expansion.found]

    @property
    def why(self) -> str:
        return self.expansion.why_nothing()


RELAY: Zone = {"relay.example A": ["8.8.8.8", "9.9.9.9"], "relay.example AAAA": ["2a00::1"]}


@pytest.mark.parametrize(
    ("address", "asked", "found"),
    [
        ("/dns4/relay.example/tcp/1", ["A"], ["/ip4/8.8.8.8/tcp/1", "/ip4/9.9.9.9/tcp/1"]),
        ("/dns6/relay.example/tcp/1", ["AAAA"], ["/ip6/2a00::1/tcp/1"]),
        ("/dns/relay.example", ["AAAA", "A"], ["/ip6/2a00::1", "/ip4/8.8.8.8", "/ip4/9.9.9.9"]),
        ("/dns6/Relay.Example./tcp/443/tls/ws" + P2P, ["AAAA"], ["/ip6/2a00::1/tcp/443/tls/ws" + P2P]),
        (
            f"/dns6/relay.example/tcp/1{P2P}/p2p-circuit/p2p/{EVE}",
            ["AAAA"],
            [f"/ip6/2a00::1/tcp/1{P2P}/p2p-circuit/p2p/{EVE}"],
        ),
        ("/dns6/relay.example/dns4/other.example", ["AAAA"], ["/ip6/2a00::1/dns4/other.example"]),
    ],
)
def test_the_name_is_replaced_and_the_rest_is_kept(address: str, asked: list[str], found: list[str]) -> None:
    run = Run(RELAY, address)
    assert run.asked == [f"relay.example {kind}" for kind in asked]
    assert run.found == found
    assert set(run.names) == {"relay.example"}


def test_results_come_with_each_answer() -> None:
    expansion = Expansion(parse("/dns/relay.example/tcp/1"), None, Source.GIVEN)
    aaaa, a = expansion.questions
    expansion.answer(a, packed(a, RELAY))
    assert len(expansion.found) == 2
    assert not expansion.done
    expansion.fail(aaaa, "relay.example AAAA: nobody answers")
    assert len(expansion.found) == 2
    assert expansion.done


BOOT: Zone = {
    "_dnsaddr.boot.example TXT": [
        f"dnsaddr=/ip4/8.8.8.8/tcp/1{P2P}",
        f"dnsaddr=/ip4/9.9.9.9/tcp/1/p2p/{EVE}",
        "v=spf1 -all",
        "dnsaddr=",
        "dnsaddr=nonsense",
        "dnsaddr=/ip4/8.8.8.8/tcp/99999",
        "dnsaddr=/unknown/8.8.8.8",
        "dnsaddr=/ip4/8.8.4.4/tcp/1",
        f"dnsaddr=/unix/a{P2P[4:]}",
        f"dnsaddr=/dns4/relay.example/tcp/443/wss{P2P}",
        f"dnsaddr=/dnsaddr/eu.boot.example{P2P}",
        f"dnsaddr=/dnsaddr/us.boot.example/p2p/{EVE}",
        f"dnsaddr=/ip6zone/eth0/ip6/fe80::1/tcp/1{P2P}",
    ],
    "_dnsaddr.eu.boot.example TXT": [f"dnsaddr=/ip6/2a00::5/tcp/1{P2P}", f"dnsaddr=/ip6/2a00::6/tcp/1/p2p/{EVE}"],
    "_dnsaddr.us.boot.example TXT": [f"dnsaddr=/ip6/2a00::7/tcp/1/p2p/{EVE}"],
    "relay.example A": ["9.9.9.10"],
}
OF_BOB = [f"/ip4/8.8.8.8/tcp/1{P2P}", f"/ip4/9.9.9.10/tcp/443/wss{P2P}", f"/ip6/2a00::5/tcp/1{P2P}"]


@pytest.mark.parametrize("address", ["/dnsaddr/boot.example", f"/dnsaddr/boot.example{P2P}"])
def test_of_a_dnsaddr_what_ends_in_the_wanted_peer_counts(address: str) -> None:
    run = Run(BOOT, address, peer=BOB)
    assert run.found == OF_BOB
    assert run.names == ["", "relay.example", ""]
    assert run.asked == ["_dnsaddr.boot.example TXT", "relay.example A", "_dnsaddr.eu.boot.example TXT"]


def test_of_a_dnsaddr_that_names_its_peer_the_same_counts_for_anybody() -> None:
    assert Run(BOOT, f"/dnsaddr/boot.example{P2P}").found == OF_BOB


def test_of_a_dnsaddr_all_counts_where_nobody_is_wanted() -> None:
    of_others = [f"/ip4/9.9.9.9/tcp/1/p2p/{EVE}", "/ip4/8.8.4.4/tcp/1", f"/ip6/2a00::7/tcp/1/p2p/{EVE}"]
    assert set(Run(BOOT, "/dnsaddr/boot.example").found) == {*OF_BOB, *of_others}


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (f"/dnsaddr/boot.example/tcp/1{P2P}", [OF_BOB[0], OF_BOB[2]]),
        (f"/dnsaddr/boot.example/tcp/443/wss{P2P}", [OF_BOB[1]]),
        (f"/dnsaddr/boot.example/ip4/8.8.8.8/tcp/1{P2P}", [OF_BOB[0]]),
        (f"/dnsaddr/boot.example/tcp/2{P2P}", []),
    ],
)
def test_all_that_stands_behind_a_dnsaddr_is_what_the_results_end_in(address: str, found: list[str]) -> None:
    """multiaddr, protocols/DNSADDR.md: the example with /tcp/4001/ipfs/..."""
    assert Run(BOOT, address, peer=BOB).found == found


def test_an_ending_is_one_of_whole_components() -> None:
    """The last bytes of this IP address are those of ``/tcp/1``."""
    inside = "/ip6/2a00::6:1"
    assert bytes(parse(inside)).endswith(bytes(parse("/tcp/1")))
    zone = {"_dnsaddr.a.example TXT": [f"dnsaddr={inside}", f"dnsaddr={inside}/tcp/1"]}
    assert Run(zone, "/dnsaddr/a.example/tcp/1").found == [f"{inside}/tcp/1"]


def test_a_nested_dnsaddr_may_leave_the_peer_open() -> None:
    zone = {
        "_dnsaddr.a.example TXT": ["dnsaddr=/dnsaddr/b.example", "dnsaddr=/dnsaddr/b.example/tcp/1"],
        "_dnsaddr.b.example TXT": [f"dnsaddr=/ip4/8.8.8.8/tcp/1{P2P}", f"dnsaddr=/ip4/9.9.9.9/tcp/1/p2p/{EVE}"],
    }
    assert Run(zone, "/dnsaddr/a.example", peer=BOB).found == [f"/ip4/8.8.8.8/tcp/1{P2P}"]


def test_of_a_relayed_dnsaddr_only_the_relay_is_resolved() -> None:
    zone = {
        "_dnsaddr.relay.example TXT": [f"dnsaddr=/ip4/8.8.8.8/tcp/1/p2p/{EVE}", f"dnsaddr=/ip4/9.9.9.9/tcp/1{P2P}"],
        "_dnsaddr.bob.example TXT": [f"dnsaddr=/dnsaddr/relay.example/p2p/{EVE}/p2p-circuit{P2P}"],
    }
    relayed = f"/ip4/8.8.8.8/tcp/1/p2p/{EVE}/p2p-circuit{P2P}"
    assert Run(zone, f"/dnsaddr/relay.example/p2p/{EVE}/p2p-circuit{P2P}", peer=BOB).found == [relayed]
    assert Run(zone, f"/dnsaddr/relay.example/p2p/{EVE}/p2p-circuit", peer=BOB).found == [relayed.removesuffix(P2P)]
    assert Run(zone, "/dnsaddr/bob.example", peer=BOB).found == [relayed]
    assert Run(zone, "/dnsaddr/bob.example", peer=EVE).found == []


def test_an_address_of_another_peer_leads_nowhere() -> None:
    run = Run(BOOT, f"/dnsaddr/boot.example{P2P}", peer=EVE)
    assert (run.asked, run.found) == ([], [])
    assert "another peer" in run.why


def test_an_address_is_found_once() -> None:
    zone = {
        "_dnsaddr.a.example TXT": ["dnsaddr=/ip4/8.8.8.8/tcp/1", "dnsaddr=/dns4/b.example/tcp/1"],
        "b.example A": ["8.8.8.8", "8.8.8.8"],
    }
    assert Run(zone, "/dnsaddr/a.example").found == ["/ip4/8.8.8.8/tcp/1"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (Source.GIVEN, ["8.8.8.8", "10.0.0.5", "127.0.0.1"]),
        (Source.OF_SITE, ["8.8.8.8", "10.0.0.5"]),
        (Source.OF_MACHINE, ["8.8.8.8", "127.0.0.1"]),
        (Source.TOLD, ["8.8.8.8"]),
    ],
)
def test_every_result_is_judged(source: Source, found: list[str]) -> None:
    zone = {"a.example A": ["8.8.8.8", "10.0.0.5", "127.0.0.1", "0.0.0.0", "169.254.169.254"]}
    assert Run(zone, "/dns4/a.example/tcp/1", source=source).found == [f"/ip4/{ip}/tcp/1" for ip in found]
    texts = {"_dnsaddr.a.example TXT": [f"dnsaddr=/ip4/{ip}/tcp/1" for ip in ("8.8.8.8", "10.0.0.5", "127.0.0.1")]}
    within = [ip for ip in found if source is not Source.GIVEN or ip != "127.0.0.1"]
    assert Run(texts, "/dnsaddr/a.example", source=source).found == [f"/ip4/{ip}/tcp/1" for ip in within]


def test_what_is_refused_is_told_with_the_way_out() -> None:
    run = Run({"a.example A": ["10.0.0.5"]}, "/dns4/a.example/tcp/1", source=Source.TOLD)
    assert run.found == []
    assert "a.example leads to 10.0.0.5, which is in a private network" in run.why
    assert "private_domains" in run.why


def test_domains_of_our_own_may_lead_into_private_networks() -> None:
    zone = {
        f"{name} A": ["10.0.0.5", "127.0.0.1"] for name in ("corp.example", "a.corp.example", "notcorp.example", "b.c")
    }
    found = {
        name: Run(zone, f"/dns4/{name}/tcp/1", source=Source.TOLD, own=("corp.example",)).found
        for name in ("corp.example", "a.Corp.example", "notcorp.example", "b.c")
    }
    inside = ["/ip4/10.0.0.5/tcp/1"]
    assert found == {"corp.example": inside, "a.Corp.example": inside, "notcorp.example": [], "b.c": []}


def test_only_names_that_the_application_gives_are_searched_for() -> None:
    def searches(address: str, source: Source) -> list[bool]:
        return [question.search for question in Expansion(parse(address), None, source).questions]

    assert searches("/dns/relay/tcp/1", Source.GIVEN) == [True, True]
    assert searches("/dns/relay./tcp/1", Source.GIVEN) == [False, False]
    assert searches("/dns/relay/tcp/1", Source.TOLD) == [False, False]
    assert searches("/dns/relay/tcp/1", Source.OF_SITE) == [False, False]


def test_a_circle_ends() -> None:
    zone = {
        "_dnsaddr.a.example TXT": ["dnsaddr=/dnsaddr/a.example", "dnsaddr=/dnsaddr/b.example"],
        "_dnsaddr.b.example TXT": ["dnsaddr=/dnsaddr/a.example"],
    }
    run = Run(zone, "/dnsaddr/a.example")
    assert run.found == []
    assert set(run.asked) == {"_dnsaddr.a.example TXT", "_dnsaddr.b.example TXT"}
    assert f"more than {DEPTH} times" in run.why


def test_so_many_in_each_other_and_no_more() -> None:
    zone: dict[str, list[str]] = {
        f"_dnsaddr.d{at}.example TXT": [f"dnsaddr=/dnsaddr/d{at + 1}.example"] for at in range(9)
    }
    zone["_dnsaddr.d3.example TXT"] = ["dnsaddr=/ip4/8.8.8.8/tcp/1", "dnsaddr=/dnsaddr/d4.example"]
    zone["_dnsaddr.d4.example TXT"] = ["dnsaddr=/ip4/9.9.9.9/tcp/1"]
    run = Run(zone, "/dnsaddr/d0.example")
    assert run.found == ["/ip4/8.8.8.8/tcp/1"]
    assert len(run.asked) == DEPTH


def test_fan_out_is_bounded() -> None:
    zone = {"_dnsaddr.a.example TXT": [f"dnsaddr=/dnsaddr/b{at}.example" for at in range(100)]}
    for at in range(100):
        zone[f"_dnsaddr.b{at}.example TXT"] = [f"dnsaddr=/dns4/c{at}-{other}.example/tcp/1" for other in range(100)]
    run = Run(zone, "/dnsaddr/a.example")
    assert len(run.asked) == LOOKUPS
    assert f"more than {LOOKUPS} look-ups" in run.expansion.causes
    assert len([name for name in run.asked if name.startswith("_dnsaddr.b")]) == TEXTS


def test_results_are_bounded() -> None:
    zone: dict[str, list[str]] = {"_dnsaddr.a.example TXT": [f"dnsaddr=/dns4/b{at}.example/tcp/1" for at in range(16)]}
    for at in range(16):
        zone[f"b{at}.example A"] = [f"8.8.{at}.{host}" for host in range(200)]
    assert len(Run(zone, "/dnsaddr/a.example").found) == RESULTS


def test_names_in_records_are_bounded_also_where_they_cost_no_question() -> None:
    """Records that lead to themselves through relays: each time another address, and always the same questions."""
    texts = [f"dnsaddr=/dnsaddr/a.example/p2p-circuit/dns4/{at}" for at in range(16)]
    run = Run({"_dnsaddr.a.example TXT": texts}, "/dnsaddr/a.example", source=Source.TOLD)
    assert (run.asked, run.found) == (["_dnsaddr.a.example TXT"], [])
    more = [f"dnsaddr=/dns4/a.example/tcp/{at}" for at in range(8)]
    run = Run({"_dnsaddr.a.example TXT": [*texts[:8], *more], "a.example A": ["8.8.8.8"]}, "/dnsaddr/a.example")
    assert run.asked.count("a.example A") == 1
    assert 0 < len(run.found) <= RESULTS
    zone: dict[str, list[str]] = {"a.example A": ["8.8.8.8"]}
    zone["_dnsaddr.a.example TXT"] = [f"dnsaddr=/dnsaddr/b{at}.example" for at in range(16)]
    for at in range(16):
        texts = [f"dnsaddr=/dns4/a.example/tcp/{at * 16 + port}" for port in range(16)]
        zone[f"_dnsaddr.b{at}.example TXT"] = texts
    run = Run(zone, "/dnsaddr/a.example")
    assert len(run.found) == RESULTS
    assert f"more than {BRANCHES} names in the TXT records" in run.expansion.causes


def test_look_ups_of_a_search_list_count() -> None:
    expansion = Expansion(parse("/dnsaddr/a"), None, Source.GIVEN)
    (question,) = expansion.questions
    expansion.questions.clear()
    texts = tuple(f"dnsaddr=/dns4/b{at}.example".encode() for at in range(16))
    expansion.answer(question, Answer(texts, lookups=LOOKUPS - 3))
    assert len(expansion.questions) == 3


def test_an_answer_that_was_not_asked_for_changes_nothing() -> None:
    expansion = Expansion(parse("/dns4/a.example/tcp/1"), None, Source.GIVEN)
    expansion.answer(Question("b.example", "A"), Answer((bytes((8, 8, 8, 8)),)))
    expansion.fail(Question("b.example", "A"), "nobody")
    assert (expansion.found, expansion.failed, expansion.done) == ([], [], False)


@pytest.mark.parametrize(
    ("zone", "why", "failed"),
    [
        ({}, "a.example has no such record", "a.example AAAA"),
        ({"a.example A": ["0.0.0.0"]}, "0.0.0.0, which is no machine's", "a.example AAAA"),
    ],
)
def test_causes_are_told(zone: Zone, why: str, failed: str) -> None:
    run = Run(zone, "/dns/a.example/tcp/1")
    assert why in run.why
    assert str(run.expansion.failed[0]) == failed


def test_of_many_causes_the_first_are_told() -> None:
    zone = {"_dnsaddr.a.example TXT": [f"dnsaddr=/dns4/b{at}.example" for at in range(9)]}
    assert Run(zone, "/dnsaddr/a.example").why.count(";") == 3
    assert Run(zone, "/dnsaddr/a.example").why.endswith("and 6 more")


NAMES = st.sampled_from(["a.example", "b.example", "c.example", "d.example"])
ENDS = st.sampled_from(
    ["", P2P, f"/p2p/{EVE}", f"{P2P}/p2p-circuit", f"/p2p/{EVE}/p2p-circuit{P2P}", "/tcp/1", "/tcp/1" + P2P]
)
ADDRESSES = st.one_of(
    st.builds("/dnsaddr/{}{}".format, NAMES, ENDS),
    st.builds("/dns/{}{}".format, NAMES, ENDS),
    st.builds("/ip4/8.8.8.{}{}".format, st.integers(0, 255), ENDS),
    st.sampled_from(["/ip4/10.0.0.1/tcp/1", "nonsense", "/unix/a", "/ip6/::1/tcp/1"]),
)
ZONES = st.dictionaries(
    NAMES.map("_dnsaddr.{} TXT".format), st.lists(ADDRESSES.map("dnsaddr={}".format), max_size=20), max_size=4
)


@given(zone=ZONES, address=st.builds("/dnsaddr/{}{}".format, NAMES, ENDS), peer=st.sampled_from([None, BOB, EVE]))
def test_whatever_records_say_it_ends_and_keeps_its_promises(zone: Zone, address: str, peer: PeerId | None) -> None:
    ips = {
        f"{name} {kind}": ["8.8.4.4"] if kind == "A" else ["2a00::1"]
        for name in ("a.example", "b.example")
        for kind in ("A", "AAAA")
    }
    run = Run({**zone, **ips}, address, peer=peer, source=Source.TOLD)
    assert len(run.asked) <= LOOKUPS
    assert len(set(run.asked)) == len(run.asked)
    assert len(run.found) == len(set(run.found)) <= RESULTS
    named = split_peer(parse(address))[1]
    for one in run.expansion.found:
        parts = walk(bytes(one.address))
        assert parts[0].protocol in {IP4, IP6}
        assert ipaddress.ip_address(parts[0].value).is_global
        assert named is None or split_peer(one.address)[1] == named
        assert peer is None or "p2p-circuit" in address or split_peer(one.address)[1] == peer


@given(st.lists(st.binary(max_size=60).map(b"dnsaddr=".__add__), max_size=5))
def test_no_text_is_too_strange(texts: list[bytes]) -> None:
    expansion = Expansion(parse("/dnsaddr/a.example"), None, Source.GIVEN)
    expansion.answer(expansion.questions.pop(), Answer(tuple(texts)))
    assert all(walk(bytes(one.address)) for one in expansion.found)
