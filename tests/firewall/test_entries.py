from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.entries import Entries, Judgement, Key, key_of
from stronghold_p2p.firewall.rules import CONNECTION, Rule
from stronghold_p2p.firewall.subnets import Network, place_of
from tests.firewall.attempts import ALICE, ECHO, attempt


def test_a_scope_has_one_key() -> None:
    key = key_of(ALICE, ECHO, "::ffff:10.0.0.0/104", "out")
    assert key == Key("out", ALICE, ECHO, ip_network("10.0.0.0/8"))
    assert key.scope == {"direction": "out", "peer": ALICE, "protocol": ECHO, "subnet": "10.0.0.0/8"}
    assert key_of(**key.scope) == key
    assert key_of() == Key("in", None, None, None)
    assert key.source(Rule.ASK) == "ask@peer+protocol+subnet:10.0.0.0/8"
    with pytest.raises(ConfigError, match="direction"):
        key_of(direction="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["connections", "x", "echo/1.0.0", ""])
def test_a_protocol_that_nobody_can_serve_has_no_rule(protocol: str) -> None:
    """A slip in a rule that rejects would let everything through."""
    with pytest.raises(ConfigError, match="protocol"):
        key_of(protocol=protocol)
    assert key_of(protocol=CONNECTION).protocol == CONNECTION


NETWORKS = st.builds(
    lambda number, length, six: ip_network(
        (number << (120 if six else 24), length * (16 if six else 4)) if six else (number << 24, length * 4),
        strict=False,
    ),
    st.integers(0, 255),
    st.integers(0, 8),
    st.booleans(),
)
HOSTS = st.builds(
    lambda number, six: IPv6Address(number << 120) if six else IPv4Address(number << 24),
    st.integers(0, 255),
    st.booleans(),
)


@given(st.lists(NETWORKS, unique=True, max_size=20), st.data())
def test_the_smallest_network_is_found(networks: list[Network], data: st.DataObject) -> None:
    entries = Entries()
    for network in networks:
        entries.put(Key("in", None, None, network), Rule.ASK)
        entries.ban(network)
    removed = data.draw(st.lists(st.sampled_from(networks), unique=True)) if networks else []
    for network in removed:
        entries.drop(Key("in", None, None, network))
        entries.unban(network)
    left = set(networks) - set(removed)
    host = data.draw(HOSTS)
    around = entries.around(Multiaddr(f"/ip{host.version}/{host}/tcp/1"))
    holding = [network for network in left if network.version == host.version and host in network]
    holding.sort(key=lambda network: -network.prefixlen)
    places = [place_of(network) for network in left]
    assert [place for place in around if place in places] == [place_of(network) for network in holding]
    found = entries.find(attempt(), around, named_only=False)
    assert found == (Judgement(Rule.ASK, f"ask@subnet:{holding[0]}") if holding else None)
    assert entries.holds_back(ALICE, around) == bool(holding)
    assert {(version, length) for version, counts in entries._lengths.items() for length in counts} == {
        (network.version, network.prefixlen) for network in left
    }


def test_a_rule_may_name_any_id_of_a_protocol() -> None:
    """Hostile row 133. Of several one that rejects speaks, else that of the first id."""
    entries = Entries()
    entries.same["/new"] = ("/mid", "/old")

    def found(protocol: str) -> Rule | None:
        judged = entries.find(attempt(protocol=protocol), entries.around(Multiaddr("/ip4/10.0.0.1")), named_only=True)
        return None if judged is None else judged.rule

    for name, rule, of_all in (
        ("/old", Rule.ALLOW, Rule.ALLOW),
        ("/mid", Rule.ASK, Rule.ASK),
        ("/old", Rule.REJECT, Rule.REJECT),
        ("/new", Rule.ALLOW, Rule.REJECT),
    ):
        entries.put(key_of(protocol=name), rule)
        assert found("/new") == of_all
    assert found("/old") == Rule.REJECT
    assert found("/other") is None
    entries.put(key_of(ALICE, "/new"), Rule.ASK)
    assert found("/new") == Rule.ASK  # who names the peer, too, is stronger
    judged = entries.find(attempt(protocol="/new"), entries.around(Multiaddr("/ip4/10.0.0.1")), named_only=False)
    assert judged == Judgement(Rule.ASK, "ask@peer+protocol", named=True)


TRANSLATED = ["64:ff9b::cb00:7105", "2002:cb00:7105::1", "::ffff:203.0.113.5"]


@pytest.mark.parametrize("host", TRANSLATED)
def test_b19_an_ipv4_address_inside_an_ipv6_one_is_in_its_networks_too(host: str) -> None:
    """By NAT64 and by 6to4; a mapped one is the IPv4 address itself. Text is what a socket tells."""
    for address in (Multiaddr(f"/ip6/{host}/tcp/4001"), host):
        entries = Entries()
        assert not entries.holds_back(None, entries.around(address))
        entries.ban(ip_network("203.0.113.0/24"))
        assert entries.holds_back(None, entries.around(address))
        entries.unban(ip_network("203.0.113.0/24"))
        entries.ban(ip_network("203.0.112.0/24"))
        assert not entries.holds_back(None, entries.around(address))


def test_b19_its_own_networks_come_first() -> None:
    entries = Entries()
    entries.put(key_of(subnet="203.0.113.5"), Rule.ALLOW)
    entries.put(key_of(subnet="2002::/16"), Rule.ASK)
    around = entries.around(Multiaddr("/ip6/2002:cb00:7105::1/tcp/1"))
    assert [place[:2] for place in around] == [(6, 16), (4, 32), (0, 0)]
    found = entries.find(attempt(), around, named_only=False)
    assert found is not None
    assert found.rule == Rule.ASK
