"""Places at a relay: limits, renewals, ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.relay.messages import Status
from stronghold_p2p.relay.reservations import Reservations

PEERS = [Identity().peer_id for _ in range(6)]
REFUSED = Status.RESERVATION_REFUSED


def test_a_renewal_takes_no_other_place() -> None:
    table = Reservations(2, None, 60.0)
    assert [table.reserve(peer, None, 0.0) for peer in PEERS[:3]] == [60.0, 60.0, REFUSED]
    assert table.reserve(PEERS[0], None, 30.0) == 90.0
    assert table.reserve(PEERS[2], None, 59.9) is REFUSED
    assert table.reserve(PEERS[2], None, 60.0) == 120.0  # the second has not renewed
    assert table.peers() == (PEERS[0], PEERS[2])


def test_one_host_has_so_many() -> None:
    table = Reservations(None, 2, 60.0)
    assert [table.reserve(peer, "192.0.2.1", 0.0) for peer in PEERS[:3]] == [60.0, 60.0, REFUSED]
    assert table.reserve(PEERS[3], "192.0.2.2", 0.0) == 60.0
    assert table.reserve(PEERS[4], None, 0.0) == 60.0
    assert table.reserve(PEERS[0], "192.0.2.1", 1.0) == 61.0  # it renews
    assert table.reserve(PEERS[3], "192.0.2.1", 1.0) is REFUSED  # from there it does not: it keeps what it has
    assert PEERS[3] in table
    assert table.release(PEERS[0])
    assert not table.release(PEERS[0])
    assert table.reserve(PEERS[3], "192.0.2.1", 2.0) == 62.0


def test_who_is_preferred_gets_a_place_where_none_is_left() -> None:
    table = Reservations(0, 0, 60.0)
    assert table.reserve(PEERS[0], "192.0.2.1", 0.0) is REFUSED
    assert table.reserve(PEERS[0], "192.0.2.1", 0.0, preferred=True) == 60.0
    assert (table.due(), table.expire(59.0), table.expire(60.0), table.due()) == (60.0, (), (PEERS[0],), None)


@given(st.lists(st.tuples(st.sampled_from(PEERS), st.sampled_from(["a", "b", None]), st.integers(0, 9)), max_size=60))
def test_what_is_counted_is_what_there_is(steps: list[tuple[PeerId, str | None, int]]) -> None:
    table, now = Reservations(4, 2, 20.0), 0.0
    model: dict[PeerId, tuple[float, str | None]] = {}
    for peer, host, pause in steps:
        now += pause
        model = {one: place for one, place in model.items() if place[0] > now}
        if pause == 9:
            table.expire(now)
            assert set(table.peers()) == set(model)
            assert table.release(peer) == (model.pop(peer, None) is not None)
            continue
        others = [place for one, place in model.items() if one != peer]
        same = peer in model and model[peer][1] == host
        room = (peer in model or len(model) < 4) and (
            host is None or same or sum(place[1] == host for place in model.values()) < 2
        )
        assert table.reserve(peer, host, now) == (now + 20.0 if room else REFUSED)
        if room:
            model[peer] = (now + 20.0, host)
        assert len(table) == len(model) >= len(others)
    assert set(table.expire(now + 21.0)) == set(model)
    assert (len(table), table._of_hosts) == (0, {})
