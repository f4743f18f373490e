from __future__ import annotations

from collections.abc import Callable

import pytest

from stronghold_p2p.per_peer import Hold, Memory, PerPeer


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


def test_a_share_for_each_and_a_reserve_for_some() -> None:
    memory: Memory[str] = Memory(100, 40)
    assert [memory.take("alice", size) for size in (30, 11, 10)] == [True, False, True]
    assert memory.take("bob", 35)
    assert not memory.take("carol", 1)  # three quarters are taken
    assert memory.take("carol", 25, preferred=True)
    assert not memory.take("carol", 1, preferred=True)
    assert memory.snapshot() == {"request_memory": 100}
    memory.give_back("alice", 40)
    memory.give_back("carol", 5)
    assert (memory.total, memory._sizes) == (55, {"bob": 35, "carol": 20})
    endless: Memory[str] = Memory(None, None)
    assert all(endless.take("alice", 1 << 40) for _ in range(10))


def test_what_nobody_needs_is_given_back_where_there_is_no_room() -> None:
    memory: Memory[str] = Memory(100, 40)
    asked: list[str | None] = []
    kept = {"alice": 30, "bob": 40}
    for peer, size in kept.items():
        assert memory.take(peer, size)

    def relieve(peer: str | None, fits: Callable[[], bool]) -> bool:
        asked.append(peer)
        for whose in (*kept,) if peer is None else (peer,):
            memory.give_back(whose, kept.pop(whose, 0))
            if fits():
                return True
        return False

    held = Hold(memory, "alice", lambda: False)
    assert not held.resize(20)  # as before
    memory.relieve = relieve
    assert held.resize(20)
    assert asked == ["alice"]
    other = Hold(memory, "carol", lambda: False)
    assert other.resize(40)
    assert asked == ["alice", None]
    assert not other.resize(41)
    assert asked == ["alice", None, "carol"]
    for one in (held, other):
        one.let_go()
    assert memory.total == 0


def test_what_is_held_counts_until_the_last_one_lets_go() -> None:
    memory: Memory[str] = Memory(None, 40)
    held = Hold(memory, "alice", lambda: False)
    assert [held.resize(size) for size in (10, 41, 40, 20)] == [True, False, True, True]
    assert (held.size, memory.total) == (20, 20)
    held.keep()
    held.let_go()
    assert memory.size("alice") == 20
    held.let_go()
    assert (memory.total, memory._sizes) == (0, {})
