"""How many requests run at once with each peer."""

from __future__ import annotations

import pytest

from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.request_response.places import Places

ALICE, BOB = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in (1, 2))


def test_places_are_counted_per_peer() -> None:
    places = Places(2)
    for peer in (ALICE, ALICE, BOB):
        places.enter(peer)
    assert places.taken == 3
    with pytest.raises(LimitExceeded, match=r"requests_per_peer 2/2 .*Limits") as caught:
        places.enter(ALICE)
    assert (caught.value.limit, caught.value.current, caught.value.maximum) == ("requests_per_peer", 2, 2)
    assert caught.value.peer == ALICE
    assert places.taken == 3
    places.leave(ALICE)
    places.enter(ALICE)
    for peer in (ALICE, ALICE, BOB):
        places.leave(peer)
    assert places.taken == 0
    assert not places._taken


def test_there_may_be_no_place_at_all_or_any_number() -> None:
    with pytest.raises(LimitExceeded):
        Places(0).enter(ALICE)
    places = Places(None)
    for _ in range(1_000):
        places.enter(ALICE)
    assert places.taken == 1_000
