"""noise/records.py, ``seal_pieces``: the records are those of the joined plaintext, one buffer each when it is long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.noise.cipher import CipherState
from stronghold_p2p.noise.records import MAX_PLAINTEXT, Sealer
from tests.noise.pair import KEY

LAST = 2**64 - 2
RECORD = MAX_PLAINTEXT + 18


def sealer(n: int = 0) -> Sealer:
    return Sealer(CipherState(KEY, n=n))


def text(size: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


def check(pieces: list[bytes | memoryview]) -> None:
    buffers = sealer().seal_pieces(pieces)
    whole = b"".join(pieces)
    assert b"".join(buffers) == sealer().seal(whole)
    assert len(buffers) == -(-len(whole) // MAX_PLAINTEXT)
    assert all(len(buffer) == RECORD for buffer in buffers[:-1])


@given(sizes=st.lists(st.sampled_from([0, 1, 12, 500, 16_384, 65_507, 65_519, 65_520, 140_000]), max_size=6))
def test_pieces_are_sealed_as_if_joined(sizes: list[int]) -> None:
    check([text(size) for size in sizes])


def test_views_are_taken_as_they_are() -> None:
    whole = memoryview(text(200_000))
    check([whole[:70_000], b"", whole[70_000:70_012], whole[70_012:]])


def test_many_small_pieces_are_one_plaintext() -> None:
    check([text(1_000)] * 200)


def test_no_pieces_are_no_records() -> None:
    assert sealer().seal_pieces([]) == []
    assert sealer().seal_pieces([b"", b""]) == []


def test_the_counter_ends_in_the_middle() -> None:
    with pytest.raises(ConnectionClosed):
        sealer(LAST).seal_pieces([text(MAX_PLAINTEXT + 1)])
