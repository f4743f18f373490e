from __future__ import annotations

import pytest

from stronghold_p2p.per_peer import PerPeer


def test_each_peer_has_its_own_count() -> None:
    counts: PerPeer[str] = PerPeer(2)
    assert [counts.take(peer) for peer in ("alice", "alice", "alice", "bob")] == [True, True, False, True]
    assert [counts.full(peer) for peer in ("alice", "bob", "carol")] == [True, False, False]
    assert [counts.count(peer) for peer in ("alice", "bob", "carol")] == [2, 1, 0]
    assert (counts.total, len(counts)) == (3, 2)
    counts.give_back("alice")
    assert counts.take("alice")


def test_who_has_none_any_more_is_forgotten() -> None:
    counts: PerPeer[str] = PerPeer(1)
    assert counts.take("alice")
    counts.give_back("alice")
    assert (counts.total, len(counts), counts._counts) == (0, 0, {})
    with pytest.raises(KeyError):
        counts.give_back("alice")


def test_a_maximum_of_none_and_of_zero() -> None:
    endless: PerPeer[str] = PerPeer(None)
    assert all(endless.take("alice") for _ in range(1_000))
    assert not endless.full("alice")
    closed: PerPeer[str] = PerPeer(0)
    assert closed.full("alice")
    assert not closed.take("alice")
    assert (closed.total, len(closed)) == (0, 0)
