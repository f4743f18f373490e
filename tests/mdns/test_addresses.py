"""What we announce on a link, and what we make of what others announce."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.identity import PeerId
from stronghold_p2p.mdns.addresses import heard, port_of, worth_telling

TEXT = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
PEER = PeerId(TEXT)
LAN, DOCKER, LOOPBACK = (ip_address(one) for one in ("192.168.1.7", "172.17.0.1", "127.0.0.1"))
HOST = {LAN, DOCKER, LOOPBACK}


def told(*addresses: str, link: set[object]) -> list[str]:
    found = worth_telling(map(parse, addresses), PEER, link, HOST)  # type: ignore[arg-type]
    return [text.removesuffix(f"/p2p/{TEXT}") for text in found]


def test_each_link_is_told_its_own_addresses_and_those_that_no_link_has() -> None:
    ours = [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/172.17.0.1/tcp/1",
        "/dns4/example.org/tcp/443/tls/ws",
        "/ip4/192.168.1.7/tcp/1",
    ]
    assert told(*ours, link={LAN}) == ["/ip4/192.168.1.7/tcp/1", "/dns4/example.org/tcp/443/tls/ws"]
    assert told(*ours, link={LOOPBACK}) == ["/ip4/127.0.0.1/tcp/1", "/dns4/example.org/tcp/443/tls/ws"]
    assert told("/ip4/203.0.113.9/tcp/1", link={LAN}) == ["/ip4/203.0.113.9/tcp/1"]  # seen by others
    assert told("/ip4/127.0.0.2/tcp/1", "/ip6/fe80::1/tcp/1", link={LAN}) == []


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/192.168.1.7/tcp/0",
        f"/ip4/192.168.1.7/tcp/1/p2p/{TEXT}/p2p-circuit",
        "/ip4/192.168.1.7/udp/1/webrtc-direct",  # js would drop the packet for what it does not know
        "/ip6zone/eth0/ip6/fe80::1/tcp/1",
        f"/dns4/{'x' * 63}.{'y' * 63}.{'z' * 60}/tcp/1",
    ],
)
def test_what_is_not_told(address: str) -> None:
    assert told(address, "/ip4/192.168.1.7/tcp/1", link={LAN}) == ["/ip4/192.168.1.7/tcp/1"]


def test_the_port_of_srv() -> None:
    assert port_of(["/dns4/a", "/ip4/192.168.1.7/udp/4002/quic-v1", "/ip4/192.168.1.7/tcp/4003"]) == 4002
    assert port_of([]) is None


def at(text: str, *, here: bool = False, zone: str = "eth0") -> str | None:
    found = heard(f"{text}/p2p/{TEXT}", here=here, zone=zone)
    if found is None:
        return None
    assert found[0] == PEER
    return str(found[1])


@pytest.mark.parametrize(
    "text", ["/ip4/192.168.1.9/tcp/4001", "/ip6/2001:db8::1/tcp/4001", "/ip4/192.168.1.9/udp/4001/quic-v1"]
)
def test_what_others_say(text: str) -> None:
    assert at(text) == text


def test_loopback_is_that_of_this_machine() -> None:
    assert at("/ip4/127.0.0.1/tcp/1") is None
    assert at("/ip4/127.0.0.1/tcp/1", here=True) == "/ip4/127.0.0.1/tcp/1"


def test_a_link_local_address_has_the_zone_in_which_it_was_heard() -> None:
    assert at("/ip6/fe80::1/tcp/1") == "/ip6zone/eth0/ip6/fe80::1/tcp/1"
    assert at("/ip6zone/en7/ip6/fe80::1/tcp/1") == "/ip6zone/eth0/ip6/fe80::1/tcp/1"
    assert at("/ip6/fe80::1/tcp/1", zone="") is None
    assert at("/ip6zone/en7") is None


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/224.0.0.1/tcp/1",
        "/ip4/192.168.1.9/tcp/0",
        "/dns4/evil.example/tcp/1",
        f"/ip4/192.168.1.9/tcp/1/p2p/{TEXT}/p2p-circuit",
        "/ip4/192.168.1.9/tcp/70000",
        "/ip4/192.168.1.9/nonsense/1",
        "",
    ],
)
def test_what_means_nothing_here(text: str) -> None:
    assert at(text) is None


def test_an_address_without_a_peer_or_of_none_means_nothing() -> None:
    assert heard("/ip4/192.168.1.9/tcp/1", here=False, zone="eth0") is None
    assert heard(f"/p2p/{TEXT}", here=False, zone="eth0") is None
