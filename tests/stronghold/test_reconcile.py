"""Range-based set reconciliation: every difference is found, by both sides, and little else is said."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.stronghold import reconcile
from examples.stronghold.reconcile import Malformed, Records, answer, begin

Store = dict[bytes, bytes]


def looked_at(store: Store) -> Records:
    return Records({key: sha256(key + b"\0" + value).digest() for key, value in store.items()})


def played(one: Store, other: Store) -> tuple[set[bytes], set[bytes], int, int]:
    """What each side finds that it misses, how many bytes were said, and how many messages."""
    sides, missing = (looked_at(one), looked_at(other)), (set[bytes](), set[bytes]())
    message, turn, size, messages = begin(sides[0]), 1, 0, 0
    while message:
        size, messages = size + len(message), messages + 1
        found = answer(sides[turn], message)
        missing[turn].update(found.missing)
        missing[1 - turn].update(found.surplus)  # who finds them sends them
        message, turn = found.reply, 1 - turn
    return *missing, size, messages


def expected(one: Store, other: Store) -> set[bytes]:
    """What ``one`` has not, or with another value."""
    return {key for key, value in other.items() if one.get(key) != value}


@given(
    st.dictionaries(st.binary(min_size=1, max_size=6), st.binary(max_size=2), max_size=200),
    st.dictionaries(st.binary(min_size=1, max_size=6), st.binary(max_size=2), max_size=200),
    st.integers(0, 200),
)
@settings(max_examples=300, deadline=None)
def test_every_difference_is_found_by_both(one: Store, two: Store, shared: int) -> None:
    other = two | dict(list(one.items())[:shared])
    found = played(one, other)
    assert found[:2] == (expected(one, other), expected(other, one))


def test_ten_differences_among_a_hundred_thousand_cost_kilobytes() -> None:
    drawn = random.Random(1)
    one = {f"vault/{drawn.randrange(1 << 64):016x}/{at}".encode(): b"value" for at in range(100_000)}
    other = dict(one)
    for key in drawn.sample(sorted(one), 10):
        kind = drawn.randrange(3)
        if kind == 0:
            del other[key]
        elif kind == 1:
            del one[key]
        else:
            other[key] = b"another value"
    missing, there, size, messages = played(one, other)
    assert (missing, there) == (expected(one, other), expected(other, one))
    assert len(missing | there) == 10
    assert size <= 24_000
    assert messages <= 6  # three round trips, in which the records themselves travel, too


@pytest.mark.parametrize("count", [0, 1, 30, 3_000])
def test_equal_sets_say_one_message(count: int) -> None:
    store = {b"%d" % at: b"" for at in range(count)}
    found = answer(looked_at(store), begin(looked_at(store)))
    assert (found.reply, found.missing, found.surplus) == (b"", [], [])


@pytest.mark.parametrize(
    "message",
    [
        b"\x01",
        b"\x01a",
        b"\x01a\x03",
        b"\x01a\x01short",
        b"\x01b\x00\x01a\x00",
        b"\x01a\x00\x01a\x00",
        b"\x00\x00\x00\x00",
        b"\x00\x02\x05",
        b"\xff\xff\xff",
        b"\x81\x10" + b"k" * 2_049 + b"\x00",
        b"\x00\x02\xff\xff\x7f",
    ],
)
def test_what_nobody_can_have_meant(message: bytes) -> None:
    with pytest.raises(Malformed):
        answer(looked_at({b"a": b"b"}), message)


@given(st.binary(max_size=300))
def test_any_bytes_are_answered_or_refused(message: bytes) -> None:
    try:
        found = answer(looked_at({b"%d" % at: b"" for at in range(100)}), message)
    except Malformed:
        return
    assert len(found.reply) < 20_000


def test_what_is_sent_is_bounded_by_what_there_is() -> None:
    """A peer that tells wrong fingerprints makes us cut, and no more than that."""
    ours = looked_at({b"%06d" % at: b"" for at in range(10_000)})
    wrong = b"".join(b"\x06%06d\x01" % at + bytes(reconcile.SIZE) for at in range(1_000, 10_000, 1_000))
    assert len(answer(ours, wrong).reply) < 10_000
