"""Who was heard of, and where: what sources say, take back, and let expire."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.mdns.table import LONGEST, PER_PEER, RESCUE, Change, Table, grouped

PEERS = [Identity.from_seed(bytes([number]) * 32).peer_id for number in range(12)]
PEER, OTHER = PEERS[:2]
A, B, C = (parse(f"/ip4/192.168.1.{number}/tcp/4001") for number in range(1, 4))
MANY = [parse(f"/ip4/10.0.0.1/tcp/{port}") for port in range(1, 40)]


def says(table: Table, addresses: Any, *, peer: PeerId = PEER, now: float = 0.0, **given: Any) -> list[Change]:
    told = {"source": "192.168.1.1", "name": "a", "ttl": 120, **given}
    return table.take(peer, addresses, now=now, **told)


def test_a_peer_appears_changes_and_expires() -> None:
    table = Table(9)
    assert says(table, [A]) == [Change(PEER, (), (A,))]
    assert says(table, [A], now=60.0) == []
    assert says(table, [A, B], name="b", now=70.0) == [Change(PEER, (A,), (A, B))]
    assert table.due <= 190.0  # it may be too early
    assert table.expire(189.9) == []
    assert table.expire(190.0) == [Change(PEER, (A, B), ())]
    assert (len(table), table.due) == (0, math.inf)


def test_what_one_says_under_one_name_replaces_what_it_said_before() -> None:
    """So does js, which keeps its name when it moves."""
    table = Table(9)
    says(table, [A, B])
    assert says(table, [B, C]) == [Change(PEER, (A, B), (B, C))]
    assert says(table, []) == [Change(PEER, (B, C), ())]
    assert says(table, []) == []


def test_each_answer_of_rust_has_a_new_name() -> None:
    table = Table(9)
    assert says(table, [A], name="1", ttl=360) == [Change(PEER, (), (A,))]
    assert says(table, [A], name="2", ttl=360, now=300.0) == []
    assert table.expire(360.0) == []
    assert table.expire(660.0) == [Change(PEER, (A,), ())]


def test_a_goodbye_takes_back_what_its_source_has_said_under_that_name_a_second_later() -> None:
    table = Table(9)
    says(table, [A, B])
    says(table, [B], name="new", now=1.0)
    table.leave({"a"}, source="192.168.1.66", now=2.0)  # in the name of others
    assert table.expire(2.0 + RESCUE) == []
    table.leave({"a"}, source="192.168.1.1", now=3.0)
    assert table.due == 3.0 + RESCUE
    assert table.expire(3.0 + RESCUE) == [Change(PEER, (A, B), (B,))]
    table.leave({"new"}, source="192.168.1.1", now=5.0)
    says(table, [B], name="new", now=5.5)  # rescued
    assert table.expire(5.0 + RESCUE) == []


def test_somebody_else_takes_nothing_away() -> None:
    """Neither by saying the same for a moment, or with a goodbye to that, nor by saying something else."""
    table = Table(9)
    says(table, [A])
    assert says(table, [A], source="192.168.1.66", name="mine", ttl=1) == []
    table.leave({"mine"}, source="192.168.1.66", now=0.0)
    assert says(table, [], source="192.168.1.66", name="mine") == []
    assert table.expire(100.0) == []
    assert says(table, [A], source="192.168.1.7", name="also", now=100.0) == []  # its other address, by IPv6 perhaps
    assert table.expire(200.0) == []
    table = Table(9)
    says(table, [A])
    assert says(table, [C], source="192.168.1.66") == [Change(PEER, (A,), (A, C))]
    table.leave({"a"}, source="192.168.1.66", now=1.0)
    assert table.expire(1.0 + RESCUE) == [Change(PEER, (A, C), (A,))]


@pytest.mark.parametrize("ttl", [3_200, 1 << 31, (1 << 32) - 1])
def test_nothing_holds_longer_than_ten_minutes(ttl: int) -> None:
    table = Table(9)
    says(table, [A], ttl=ttl)
    assert table.due == LONGEST == 600.0


def test_of_addresses_the_source_with_most_gives_way() -> None:
    table = Table(9)
    says(table, MANY, source="bad")
    assert len(table.addresses(PEER)) == PER_PEER
    says(table, [A, B], source="good", name="g")
    assert {A, B} <= set(table.addresses(PEER))
    says(table, MANY[20:], source="bad", name="more")
    assert {A, B} <= set(table.addresses(PEER))
    assert len(table.addresses(PEER)) == PER_PEER


def test_of_peers_the_source_with_most_gives_way() -> None:
    table = Table(4)
    for peer in PEERS[:6]:
        says(table, [A], peer=peer, source="bad")
    assert len(table) == 4
    assert says(table, [B], peer=PEERS[6], source="good") == [Change(PEERS[0], (A,), ()), Change(PEERS[6], (), (B,))]
    says(table, [B], peer=PEERS[7], source="good")
    assert says(table, [B], peer=PEERS[8], source="good") == []  # as many as the other one
    assert says(table, [A], peer=PEERS[9], source="bad") == []
    assert len(table) == 4


def test_without_a_limit_and_with_none_at_all() -> None:
    table, none = Table(None), Table(0)
    assert [says(table, [A], peer=peer) for peer in PEERS] == [[Change(peer, (), (A,))] for peer in PEERS]
    assert says(none, [A]) == []


def test_the_peer_is_the_one_of_the_first_address() -> None:
    assert grouped([(PEER, A), (OTHER, B), (PEER, C), (PEER, A)]) == (PEER, [A, C])
    assert grouped([]) == (None, [])


STEPS = st.lists(
    st.tuples(
        st.sampled_from(PEERS[:6]),
        st.lists(st.sampled_from([A, B, C, *MANY]), max_size=20, unique=True),
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from(["m", "n"]),
        st.integers(0, 1_000),
        st.floats(0, 300),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_whatever_is_said_the_changes_tell_what_is_there(steps: Any) -> None:
    """What the changes add up to is what the table holds; it stays within its limits; in the end nothing is left."""
    table, seen, now = Table(4), dict[PeerId, set[Any]](), 0.0

    def follow(changes: list[Change]) -> None:
        for change in changes:
            assert seen.get(change.peer, set()) == set(change.before) != set(change.after)
            seen[change.peer] = set(change.after)

    for peer, addresses, source, name, ttl, passed in steps:
        now += passed
        follow(table.expire(now))
        assert table.due > now
        if ttl:
            follow(table.take(peer, addresses, source=source, name=name, ttl=ttl, now=now))
        else:
            table.leave({name}, source=source, now=now)
        assert {one: set(table.addresses(one)) for one in PEERS if table.addresses(one)} == {
            one: places for one, places in seen.items() if places
        }
        assert len(table) <= 4
        assert all(len(table.addresses(one)) <= PER_PEER for one in PEERS)
    follow(table.expire(now + LONGEST))
    assert (len(table), table.due, table._per_source) == (0, math.inf, {})
