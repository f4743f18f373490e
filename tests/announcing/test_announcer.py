"""announcing/announcer.py and hidden.py: what others are told of where we are."""

from __future__ import annotations

import pytest
from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.announcing.announcer import Announcer, ObservedAddress
from stronghold_p2p.announcing.hidden import Hidden
from stronghold_p2p.announcing.observations import AGREED
from stronghold_p2p.errors import ConfigError
from tests.addressing.test_addresses import OTHER, PEER
from tests.announcing.test_observations import PEERS

TCP, WS = "/ip4/10.0.0.5/tcp/4001", "/ip4/10.0.0.5/tcp/4001/ws"
OUTSIDE = "/ip4/8.8.4.4/tcp/34001"
OTHERS = [f"/ip4/{number}.1.1.1/tcp/9" for number in range(41, 49)]  # public, each in its own network


def addresses(*texts: str) -> tuple[Multiaddr, ...]:
    return tuple(map(parse, texts))


def seen(announcer: Announcer, told: str, *, local: str = TCP, remotes: list[str] = OTHERS[:4]) -> bool:
    """Whether what peers at ``remotes`` tell counts."""
    bound = addresses(TCP, WS)
    counted = [
        announcer.observe(PEERS[number], (parse(local), parse(remote)), parse(told), bound) is not None
        for number, remote in enumerate(remotes)
    ]
    assert len(set(counted)) == 1
    return counted[0]


def test_where_we_listen_is_told() -> None:
    assert Announcer().addresses(addresses(TCP, WS, TCP)) == addresses(TCP, WS)


def test_what_four_networks_see_is_told_for_all_that_is_spoken_there() -> None:
    announcer = Announcer()
    assert seen(announcer, OUTSIDE, remotes=OTHERS[: AGREED - 1])
    assert announcer.addresses(addresses(TCP, WS)) == addresses(TCP, WS)
    assert seen(announcer, OUTSIDE)
    assert announcer.addresses(addresses(TCP, WS)) == addresses(TCP, WS, OUTSIDE, f"{OUTSIDE}/ws")
    assert announcer.addresses(addresses("/ip4/10.0.0.5/tcp/4002")) == addresses("/ip4/10.0.0.5/tcp/4002")
    assert announcer.observed() == (ObservedAddress(parse(OUTSIDE), 4, True),)


def test_a_listener_that_is_seen_where_it_is_is_told_once() -> None:
    announcer = Announcer()
    assert seen(announcer, TCP, remotes=[f"/ip4/10.{number}.0.1/tcp/1" for number in range(4)])
    assert announcer.addresses(addresses(TCP)) == addresses(TCP)


def test_what_the_caller_announces_is_told_instead() -> None:
    announcer = Announcer(addresses("/dns4/example.org/tcp/443/wss"))
    assert seen(announcer, OUTSIDE)
    assert announcer.addresses(addresses(TCP)) == addresses("/dns4/example.org/tcp/443/wss")


def test_of_a_connection_that_we_have_dialed_only_the_ip_address_counts() -> None:
    """Its port is one that the system chose, and a translator maps it as it likes."""
    announcer = Announcer()
    assert seen(announcer, OUTSIDE, local="/ip4/10.0.0.5/tcp/50123")
    assert announcer.observed() == (ObservedAddress(parse("/ip4/8.8.4.4"), 4, True),)
    assert announcer.addresses(addresses(TCP)) == addresses(TCP)


@pytest.mark.parametrize(
    "told",
    [
        "/ip4/127.0.0.1/tcp/4001",  # go ignores these, and NAT64's
        "/ip6/64:ff9b::808:808/tcp/4001",
        "/ip6/2002:808:808::1/tcp/4001",
        "/ip6/2606:4700::1/tcp/4001",  # of another kind than our end
        "/ip4/8.8.4.4/udp/4001/quic-v1",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip4/224.0.0.1/tcp/4001",
        "/ip4/169.254.1.1/tcp/4001",
        "/ip4/10.0.0.9/tcp/4001",  # nobody in the Internet sees us there
        "/ip4/8.8.4.4/tcp/0",
        "/ip4/8.8.4.4",
        "/dns4/example.org/tcp/4001",
        f"/ip4/8.8.4.4/tcp/4001/p2p/{OTHER}/p2p-circuit",
        f"/p2p/{PEER}",
    ],
)
def test_what_tells_others_nothing_does_not_count(told: str) -> None:
    announcer = Announcer()
    assert not seen(announcer, told)
    assert not seen(announcer, told, local="/ip4/10.0.0.5/tcp/50123")
    assert announcer.observed() == ()


def test_mapped_addresses_are_ip4() -> None:
    announcer = Announcer()
    assert seen(announcer, "/ip6/::ffff:8.8.4.4/tcp/34001", remotes=["/ip6/::ffff:41.1.1.1/tcp/9", *OTHERS[1:4]])
    assert announcer.observed() == (ObservedAddress(parse(OUTSIDE), 4, True),)


def test_neighbours_may_see_us_at_a_private_address() -> None:
    announcer = Announcer()
    assert seen(announcer, "/ip4/192.168.1.5/tcp/4001", remotes=["/ip4/192.168.7.7/tcp/9"])


def test_over_a_relay_nobody_sees_us() -> None:
    announcer = Announcer()
    assert not seen(announcer, OUTSIDE, remotes=[f"/ip4/41.1.1.1/tcp/9/p2p/{OTHER}/p2p-circuit"])
    assert not seen(announcer, OUTSIDE, local=f"/p2p/{OTHER}/p2p-circuit")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ([], [0, 1, 2, 3, 4]),
        (["10.0.0.0/8"], [1, 2, 3, 4]),
        (["10.0.0.5"], [1, 2, 3, 4]),
        (["/ip4/10.0.0.0/ipcidr/8", "fd00::/8"], [1, 3, 4]),
        (["/ip6/fd00::/ipcidr/8"], [0, 1, 3, 4]),
        (["/ip4/10.0.0.5"], [1, 2, 3, 4]),
        (["/ip4/10.0.0.5/tcp/40"], [0, 1, 2, 3, 4]),
        ([f"/dns4/EXAMPLE.org/tcp/443/p2p/{PEER}"], [0, 1, 2, 4]),
        (["/dns4/example.org/tcp/443/tls/ws"], [0, 1, 2, 4]),
        ([parse("/ip4/8.8.8.8/tcp/1"), "0.0.0.0/0", "::/0"], [3, 4]),
    ],
)
def test_what_is_hidden(given: list[str | Multiaddr], left: list[int]) -> None:
    told = addresses(
        "/ip4/10.0.0.5/tcp/4001",
        "/ip4/8.8.8.8/tcp/1",
        "/ip6/fd00::1/tcp/1",
        "/dns4/example.org/tcp/443/wss",
        f"/ip4/10.0.0.5/tcp/4001/p2p/{OTHER}/p2p-circuit"
        if "10.0.0.5" not in str(given)
        else f"/p2p/{OTHER}/p2p-circuit",
    )
    assert Announcer(None, Hidden(given)).addresses(told) == tuple(told[at] for at in left)
    assert Announcer(told, Hidden(given)).addresses(()) == tuple(told[at] for at in left)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("10.0.0.0/8", r"no_announce is one: take \['10.0.0.0/8'\]"),
        (7, "no_announce is an int: a list: take a network like"),
        ([7], "no_announce is an int: take a network like"),
        (["10.0.0.1/8"], "no_announce: 10.0.0.1/8: .* has host bits set: take a network"),
        (["example.org"], "no_announce: example.org: .*: take a network like"),
        (["/ip4/10.0.0.1/ipcidr/8"], "has host bits set"),
        (["/ip4/10.0.0.0/ipcidr/33"], "no_announce: /ip4/10.0.0.0/ipcidr/33: "),
        (["/tcp/1/ipcidr/8"], "/ipcidr/ stands behind an IP address"),
        (["/ip4/10.0.0.0/tcp/x"], "is no number of 16 bits"),
        ([f"/p2p/{PEER}"], "it names a peer, and no place"),
    ],
)
def test_what_hides_nothing_is_refused(given: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Hidden(given)  # type: ignore[arg-type]
