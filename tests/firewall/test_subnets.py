from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from multiaddr import Multiaddr

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.subnets import host_of, parse_host, parse_subnet
from tests.firewall.attempts import ALICE, BOB


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::/0", "::/0"),
        ("::ffff:0:0/95", None),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("10.0.0.1/8", None),
        ("fe80::%eth0/64", None),
        ("10.0.0.0/33", None),
        ("", None),
        ("example.org", None),
        (5, None),
        (b"\x0a\0\0\1", None),
    ],
)
def test_subnet_texts(text: str, canonical: str | None) -> None:
    if canonical is None:
        with pytest.raises(ConfigError, match="subnet"):
            parse_subnet(text)
    else:
        assert str(parse_subnet(text)) == canonical


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", IPv4Address("10.0.0.1")),
        ("::ffff:10.0.0.1", IPv4Address("10.0.0.1")),
        ("fe80::1%eth0", IPv6Address("fe80::1")),
        ("peer", None),
        ("", None),
    ],
)
def test_hosts_of_sockets(text: str, address: IPv4Address | IPv6Address | None) -> None:
    assert parse_host(text) == address


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("/ip4/10.0.0.1/tcp/4001", "10.0.0.1"),
        ("/ip6/2001:db8::1/tcp/4001/ws", "2001:db8::1"),
        ("/ip6/::ffff:10.0.0.1/tcp/4001", "10.0.0.1"),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/4001", "fe80::1"),
        (f"/ip4/10.0.0.1/tcp/4001/p2p/{ALICE}/p2p-circuit", None),
        (f"/ip4/10.0.0.1/tcp/4001/p2p/{ALICE}/p2p-circuit/p2p/{BOB}", None),
        ("/dns4/example.org/tcp/4001", None),
        (f"/p2p/{ALICE}", None),
        ("/ip4/10.162.2.1/tcp/41474", "10.162.2.1"),  # holds the two bytes of p2p-circuit's code
    ],
)
def test_the_machine_behind_an_address(text: str, host: str | None) -> None:
    assert host_of(Multiaddr(text)) == (None if host is None else ip_address(host))
