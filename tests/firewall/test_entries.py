from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.entries import Bans, Entries, Key, banned_of, key_of
from stronghold_p2p.firewall.rules import CONNECTION, Rule
from tests.firewall.attempts import ALICE, BOB, ECHO, UPPER

HERE, THERE = IPv4Address("10.0.0.1"), IPv4Address("192.0.2.1")


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


def test_the_strongest_entry_is_found_until_it_is_dropped() -> None:
    entries = Entries()
    weak, strong, out = key_of(protocol=ECHO), key_of(ALICE, subnet="10.0.0.0/8"), key_of(direction="out")
    for key, rule in ((weak, Rule.ALLOW), (strong, Rule.REJECT), (strong, Rule.ASK), (out, Rule.REJECT)):
        entries.put(key, rule)

    def found(named_only: bool = False, host: IPv4Address | None = HERE) -> Rule | None:
        judgement = entries.find("in", ALICE, ECHO, host, named_only=named_only)
        return None if judgement is None else judgement.rule

    assert (found(), found(named_only=True), found(host=THERE), found(host=None)) == (
        Rule.ASK,
        Rule.ALLOW,
        Rule.ALLOW,
        Rule.ALLOW,
    )
    assert entries.find("in", BOB, UPPER, HERE, named_only=False) is None
    assert (entries.with_subnet, len(entries.rules)) == (1, 3)
    assert [entries.drop(strong), entries.drop(strong), entries.drop(weak)] == [True, False, True]
    assert (found(), entries.with_subnet, set(entries.rules)) == (None, 0, {out})
    assert entries._tables["in"] == {}


def test_bans_of_peers_and_networks() -> None:
    bans = Bans()
    for whom in (banned_of(ALICE), banned_of("10.0.0.0/8")):
        bans.add(whom)
        bans.add(whom)
    assert [bans.hold(ALICE, None), bans.hold(BOB, HERE), bans.hold(BOB, THERE), bans.hold(BOB, None)] == [
        True,
        True,
        False,
        False,
    ]
    assert bans.with_subnet
    bans.drop(banned_of("10.0.0.0/8"))
    bans.drop(banned_of("10.0.0.0/8"))
    bans.drop(banned_of(BOB))
    assert (bans.all, bans.with_subnet, bans.hold(BOB, HERE)) == ({ALICE}, False, False)
    with pytest.raises(ConfigError):
        banned_of(str(ALICE))
