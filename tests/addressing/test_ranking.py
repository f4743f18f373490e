"""In which order addresses are dialed, as a function of what they look like."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.addressing.ranking import Rank, first_of, in_one_network, rank
from tests.transport.ends import identity

RELAY = identity(5).peer_id
PEER = identity(6).peer_id


def is_near(packed: bytes) -> bool:
    return str(ipaddress.ip_address(packed)).startswith(("192.168.7.", "fd00:7:"))


def in_order(*addresses: str, preferences: dict[str, int] | None = None) -> list[str]:
    """As a dial takes them, one after the other."""
    left = list(addresses)
    before, taken = None, []
    while left:
        ranks = [rank(parse(one), is_near, (preferences or {}).get(one, 0)) for one in left]
        at = first_of(ranks, before)
        before = ranks[at]
        taken.append(left.pop(at))
    return taken


ORDERS = {
    "near, then public, then elsewhere": (
        *("/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip4/10.1.2.3/tcp/1"),
        "/ip4/0.0.0.0/tcp/1",
    ),
    "our own network": ("/ip4/192.168.7.9/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip4/192.168.8.9/tcp/1"),
    "our own site": ("/ip6/fd00:7::1/tcp/1", "/ip6/2606:4700::1/tcp/1", "/ip6/fd00:8::1/tcp/1"),
    "a zone is a neighbour": ("/ip6zone/eth0/ip6/fe80::1/tcp/1", "/ip6/2606:4700::1/tcp/1", "/ip4/169.254.1.1/tcp/1"),
    "IPv6, then IPv4": ("/ip6/2606:4700::1/tcp/1", "/ip4/8.8.8.8/tcp/1"),
    "they alternate": (
        *("/ip6/2606:4700::1/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip6/2606:4700::2/tcp/1", "/ip4/8.8.4.4/tcp/1"),
        *("/ip6/2606:4700::3/tcp/1", "/ip6/2606:4700::4/tcp/1"),
    ),
    "TCP, then WebSocket": (
        *("/ip6/2606:4700::1/tcp/1", "/ip4/8.8.8.8/tcp/1"),
        *("/ip6/2606:4700::1/tcp/1/ws", "/ip4/8.8.8.8/tcp/1/ws"),
        *("/ip6/2606:4700::1/tcp/1/wss", "/ip4/8.8.8.8/tcp/1/tls/sni/example.org/ws"),
        *("/ip6/2606:4700::1/tcp/1/tls/ws", "/dns4/example.org/tcp/1/wss"),
        "/ip4/8.8.8.8/udp/1/quic-v1",
    ),
    "direct, then relayed": (
        *("/ip4/10.1.2.3/tcp/1", f"/ip4/192.168.7.1/tcp/1/p2p/{RELAY}/p2p-circuit"),
        f"/ip4/8.8.8.8/tcp/1/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders(name: str) -> None:
    right = list(ORDERS[name])
    assert in_order(*right) == right
    assert [one.split("/")[1] for one in in_order(*reversed(right))] == [one.split("/")[1] for one in right]


def test_what_is_known_counts_more_than_the_form() -> None:
    far, near = "/ip4/10.1.2.3/tcp/1/ws", "/ip4/127.0.0.1/tcp/1"
    assert in_order(near, far) == [near, far]
    assert in_order(near, far, preferences={near: 1}) == [far, near]


def test_equal_ones_stay_as_they_came() -> None:
    equal = [f"/ip4/8.8.8.{n}/tcp/1" for n in range(5)]
    assert in_order(*equal) == equal


ranks = some.builds(
    Rank,
    some.integers(0, 2),
    some.booleans(),
    some.integers(0, 2),
    some.integers(0, 2),
    some.integers(0, 2),
)


@given(some.lists(ranks, min_size=1, max_size=12))
def test_families_alternate_and_nothing_else_is_out_of_order(given_ranks: list[Rank]) -> None:
    left, before, taken = list(given_ranks), None, list[Rank]()
    while left:
        last, before = before, left.pop(first_of(left, before))
        taken.append(before)
        if last is not None and last == before:  # two of a family in a row: there is no other one of their kind
            assert all(other.family == before.family for other in left if other[:-1] == before[:-1])
    assert [one[:-1] for one in taken] == [one[:-1] for one in sorted(given_ranks)]


NETWORKS = [
    ("10.1.2.3", "10.200.0.1", True),
    ("10.1.2.3", "192.168.0.1", False),
    ("172.16.0.1", "172.16.255.1", True),
    ("172.16.0.1", "172.17.0.1", False),
    ("192.168.1.7", "192.168.1.200", True),
    ("192.168.1.7", "192.168.2.7", False),
    ("100.64.0.1", "100.127.255.1", True),
    ("169.254.1.1", "169.254.200.1", True),
    ("8.8.8.8", "8.8.8.9", False),
    ("8.8.8.8", "10.1.2.3", False),
    ("fd00:1:2:3::1", "fd00:1:2:9::1", True),
    ("fd00:1:2:3::1", "fd00:1:3:3::1", False),
    ("2606:4700::1", "2606:4700::2", False),
    ("10.1.2.3", "fd00:1:2:3::1", False),
]


@pytest.mark.parametrize(("ours", "theirs", "one"), NETWORKS)
def test_one_network(ours: str, theirs: str, one: bool) -> None:
    packed = ipaddress.ip_address(ours).packed, ipaddress.ip_address(theirs).packed
    assert in_one_network(*packed) is one
    assert in_one_network(*reversed(packed)) is one
