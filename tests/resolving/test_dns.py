"""The option of a network: whom to ask."""

from __future__ import annotations

from typing import Any

import pytest

from stronghold_p2p import ConfigError, Dns, Network
from stronghold_p2p.resolving.dns import server_of


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
        ("fe80::1%eth0", ("fe80::1%eth0", 53)),
    ],
)
def test_a_nameserver_is_an_ip_address_and_perhaps_a_port(text: str, server: tuple[str, int]) -> None:
    assert server_of(text) == server


@pytest.mark.parametrize(
    "text", ["dns.example", "dns.example:53", "", ":53", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:70000", "[::1]53x"]
)
def test_other_nameservers_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a nameserver is an IP address") as caught:
        Dns(nameservers=[text])
    assert caught.value.where == "nameservers"


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"nameservers": "192.0.2.53"}, "nameservers"),
        ({"nameservers": 5}, "nameservers"),
        ({"nameservers": [5]}, "nameservers"),
        ({"private_domains": "corp"}, "private_domains"),
        ({"private_domains": [""]}, "private_domains"),
        ({"private_domains": ["."]}, "private_domains"),
        ({"private_domains": ["a b"]}, "private_domains"),
    ],
)
def test_other_kinds_are_refused(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Dns(**options)
    assert caught.value.where == where


def test_domains_have_one_form() -> None:
    assert Dns(private_domains={".Corp.Example."}).private_domains == ("corp.example",)
    assert Dns() == Dns(nameservers=[], private_domains=())


def test_a_network_takes_nothing_else() -> None:
    with pytest.raises(ConfigError, match=r"Dns\(nameservers="):
        Network(dns="192.0.2.53")  # type: ignore[arg-type]
