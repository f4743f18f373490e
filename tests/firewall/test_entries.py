from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.entries import Key, key_of
from stronghold_p2p.firewall.rules import CONNECTION, Rule
from tests.firewall.attempts import ALICE, ECHO

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
