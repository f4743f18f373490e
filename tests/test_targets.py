"""What calls are given: whom to reach, at which addresses, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.targets import check_peer, named_by, own, parsed, parsed_all, resolved, seconds

PEER = Identity().peer_id
PLACE = "/ip4/192.0.2.7/tcp/4001"


def test_whom_to_reach() -> None:
    assert resolved(PEER) == (PEER, ())
    assert resolved(f"{PLACE}/p2p/{PEER}") == (PEER, (parse(PLACE),))
    assert resolved(PLACE) == (None, (parse(PLACE),))
    assert resolved(f"/p2p/{PEER}") == resolved(str(PEER)) == resolved(PEER.to_cid()) == (PEER, ())
    assert parsed_all("listen", [PLACE, parse(PLACE)]) == (parse(PLACE), parse(PLACE))


@pytest.mark.parametrize("given", ["", "nonsense", 5, None, ["/ip4/1.2.3.4/tcp/1"]])
def test_what_is_no_address(given: Any) -> None:
    with pytest.raises(ConfigError):
        parsed(given)


@pytest.mark.parametrize("given", [PLACE, parse(PLACE), 5, None])
def test_what_is_no_list_of_addresses(given: Any) -> None:
    with pytest.raises(ConfigError, match="listen"):
        parsed_all("listen", given)


def test_for_how_long() -> None:
    assert [seconds(given) for given in (None, 0, 1.5)] == [None, 0, 1.5]
    for given in (-1, float("nan"), "5"):
        with pytest.raises(ConfigError, match="timeout"):
            seconds(given)  # type: ignore[arg-type]


def test_an_address_of_our_own_names_nobody_else() -> None:
    mine, other = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in (1, 2))
    assert str(own("/ip4/192.0.2.1/tcp/1", mine)) == "/ip4/192.0.2.1/tcp/1"
    assert str(own(f"/ip4/192.0.2.1/tcp/1/p2p/{mine}", mine)) == "/ip4/192.0.2.1/tcp/1"
    with pytest.raises(ConfigError, match="names another peer than us"):
        own(f"/ip4/192.0.2.1/tcp/1/p2p/{other}", mine)


def test_a_peer_is_a_peer_id() -> None:
    check_peer(Identity.from_seed(bytes(32)).peer_id)
    with pytest.raises(ConfigError, match="take a PeerId"):
        check_peer("12D3KooW")


def test_a_peer_is_named_by_its_id_its_text_or_an_address() -> None:
    for given in (PEER, str(PEER), PEER.to_cid(), f"{PLACE}/p2p/{PEER}", parse(f"{PLACE}/p2p/{PEER}"), f"/p2p/{PEER}"):
        assert named_by(given) == PEER


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (PLACE, "peer '/ip4/192.0.2.7/tcp/4001' names nobody: it has to end in /p2p/ and a peer id"),
        ("bob", "peer 'bob': peer id: .*: take a PeerId, its text, or an address"),
        ("", "peer '': peer id: "),
        ("/nonsense", "peer '/nonsense': "),
        (5, "peer is an int: take a PeerId"),
        ([PEER, PEER], "peer is a list: take one peer, and make the call for each"),
    ],
)
def test_what_names_no_peer(given: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        named_by(given)
    assert caught.value.where == "peer"
