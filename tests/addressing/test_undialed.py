"""addressing/undialed.py: why an address cannot be dialed, and what to give instead (B18)."""

from __future__ import annotations

import pytest

from stronghold_p2p.addressing.parse import known_part, parse, shown
from stronghold_p2p.addressing.undialed import RELAYED, UNKNOWN, why_not
from stronghold_p2p.errors import DecodeError
from tests.addressing.test_addresses import OTHER, PEER

DIALED = [
    "/ip4/192.0.2.7/tcp/4001",
    f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}",
    "/ip6/2001:db8::1/tcp/1",
    "/ip6zone/eth0/ip6/fe80::1/tcp/1",
    "/ip4/192.0.2.7/tcp/80/ws",
    "/ip4/192.0.2.7/tcp/443/wss/http-path/ws",
    "/ip4/192.0.2.7/tcp/443/tls/sni/example.com/ws",
]
NOT_DIALED = {
    "/dns4/example.com/tcp/4001": "it has a name: give the IP address of example.com",
    f"/dnsaddr/bootstrap.libp2p.io/p2p/{PEER}": "the IP address of bootstrap.libp2p.io",
    f"/ip4/192.0.2.7/tcp/4001/p2p/{OTHER}/p2p-circuit/p2p/{PEER}": RELAYED,
    "/ip4/192.0.2.7/tcp/443/tls/http": "tls/http is not supported: give an address that ends in /tcp/<port>, or",
    f"/ip4/192.0.2.7/udp/4001/quic-v1/p2p/{PEER}": "udp/quic-v1 is not supported: give",
    "/ip4/192.0.2.7/udp/4001/utp": "udp/utp is not supported",
    "/ip4/192.0.2.7/tcp/1/tcp/2": "tcp/tcp is not supported",
    "/ip4/192.0.2.7/tcp/0/ws": "port 0 stands for any free one",
    "/ip4/192.0.2.7/tcp/0": "port 0 stands for any free one: take the port that the peer listens on",
    "/ip4/192.0.2.7": "it names no port: add /tcp/<port>",
    "/ip4/0.0.0.0/tcp/4001": "0.0.0.0 stands for all addresses of a machine: take one of them",
    "/ip6/::/tcp/4001": ":: stands for all addresses",
    "/ip4/224.0.0.1/tcp/4001": "224.0.0.1 stands for a group",
    "/unix/tmp/socket": "sockets in the file system are not supported: give /ip4/127.0.0.1/tcp/<port>",
    "/ip6/fe80::1/tcp/1": "fe80::1 is one in each link: name the zone, as in /ip6zone/eth0/ip6/fe80::1",
    "/ip6zone/eth0/ip4/192.0.2.7/tcp/1": UNKNOWN,
    "/ip6zone/eth0": UNKNOWN,
    "/memory/1": UNKNOWN,
    "/tcp/1": UNKNOWN,
    f"/p2p/{PEER}": UNKNOWN,
}


@pytest.mark.parametrize("text", DIALED)
def test_b18_what_can_be_dialed(text: str) -> None:
    assert why_not(parse(text)) is None


@pytest.mark.parametrize("text", NOT_DIALED)
def test_b18_what_cannot_be_dialed_is_told_in_words_of_its_own(text: str) -> None:
    assert NOT_DIALED[text] in (why_not(parse(text)) or "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/ip6/fe80::1%eth0/tcp/1", "no IPv6 address: the zone stands before it, /ip6zone/eth0/ip6/fe80::1"),
        ("/ip6/fe80::1%/tcp/1", "no IPv6 address$"),
        ("/ip4/192.0.2.7%eth0/tcp/1", "no IPv4 address$"),
        ("/ip6/example%eth0/tcp/1", "no IPv6 address$"),
    ],
)
def test_b18_a_zone_as_other_programs_write_it(text: str, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        parse(text)


def test_b18_what_was_given_stands_in_one_line_of_a_message() -> None:
    assert shown("/ip4/192.0.2.7/tcp/4001") == "/ip4/192.0.2.7/tcp/4001"
    assert shown("/ip4/192.0.2.7/tcp/4001\n") == r"'/ip4/192.0.2.7/tcp/4001\n'"
    assert shown(None) == "None"
    assert len(shown("/" * 10_000)) < 300


@pytest.mark.parametrize(
    ("text", "front"),
    [
        ("/ip4/192.0.2.7/tcp/4001", None),
        ("/unix/garlic32/x", None),
        ("", None),
        ("/IP4/192.0.2.7", None),
        ("/ip4/192.0.2.7/ tcp/1", None),
        ("/garlic32", ""),
        ("/ip4/192.0.2.7/udp/4001/quic-v2", "/ip4/192.0.2.7/udp/4001"),
        ("/ip4/192.0.2.7/tcp/80/x-parity-ws/%2F", "/ip4/192.0.2.7/tcp/80"),
        ("/ip4/no address/libp2p-webrtc-star", "/ip4/no address"),
    ],
)
def test_what_stands_before_a_kind_that_we_do_not_know(text: str, front: str | None) -> None:
    assert known_part(text) == front
