from __future__ import annotations

import random

from stronghold_p2p.yamux.budget import REMEMBERED, DroppedBytes


def test_bytes_within_the_buried_credit_are_free_and_a_body_beyond_it_counts_whole() -> None:
    dropped = DroppedBytes(100)
    dropped.bury(1, 50)
    for count, allowed in ((51, True), (20, True), (30, True), (50, False)):
        assert dropped.allow(1, count) == allowed


def test_bytes_for_unknown_streams_add_up() -> None:
    dropped = DroppedBytes(100)
    assert dropped.allow(7, 60)
    assert dropped.allow(9, 40)
    assert not dropped.allow(11, 1)


def test_only_so_many_graves_are_remembered() -> None:
    """Hostile row 43: no map of tombstones without bound."""
    dropped = DroppedBytes(0)
    for stream in range(1, 200_000, 2):
        dropped.bury(stream, 10)
    assert len(dropped._credit) == REMEMBERED
    assert not dropped.allow(1, 1)
    assert dropped.allow(199_999, 10)


def test_ids_may_overtake_each_other() -> None:
    """go-yamux draws ids before it takes the lock for sending."""
    order = random.Random(1)
    ids: list[int] = []
    for start in range(1, 20_000, 128):
        block = list(range(start, start + 128, 2))
        order.shuffle(block)
        ids += block
    dropped = DroppedBytes(0)
    assert all(dropped.fresh(stream) for stream in ids)
    assert not any(dropped.fresh(stream) for stream in ids)
    assert dropped._opened.bit_length() <= REMEMBERED


def test_no_id_is_fresh_again_however_many_follow() -> None:
    for count in range(REMEMBERED - 2, REMEMBERED + 3):
        dropped = DroppedBytes(0)
        ids = range(1, 2 * count, 2)
        assert all(dropped.fresh(stream) for stream in ids)
        assert not any(dropped.fresh(stream) for stream in ids), count
