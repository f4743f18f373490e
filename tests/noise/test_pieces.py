"""noise/records.py, ``seal_pieces``: the records are those of the joined plaintext, four of them in a write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.noise.cipher import CipherState
from stronghold_p2p.noise.records import MAX_PLAINTEXT, Sealer, Workspace
from tests.noise.pair import KEY

NUMBERS = b"".join(number.to_bytes(4, "big") for number in range(1 << 16))
LAST = 2**64 - 2
RECORD = MAX_PLAINTEXT + 18
TOGETHER = 4
SPACE = Workspace()


def sealer(n: int = 0) -> Sealer:
    return Sealer(CipherState(KEY, n=n))


def text(size: int) -> bytes:
    return NUMBERS[:size]


def check(pieces: list[bytes | memoryview]) -> None:
    written: list[bytes] = []

    def write(sealed: bytes | memoryview) -> None:
        written.append(bytes(sealed))
        SPACE.sealed[:] = bytes(len(SPACE.sealed))

    sealer().seal_pieces(pieces, SPACE, write, sum(map(len, pieces)))
    whole = b"".join(pieces)
    assert b"".join(written) == sealer().seal(whole)
    assert len(written) == -(-len(whole) // (TOGETHER * MAX_PLAINTEXT))
    assert all(len(sealed) == TOGETHER * RECORD for sealed in written[:-1])


@given(sizes=st.lists(st.sampled_from([0, 1, 12, 500, 16_384, 65_507, 65_519, 65_520, 140_000]), max_size=6))
def test_pieces_are_sealed_as_if_joined(sizes: list[int]) -> None:
    check([text(size) for size in sizes])


def test_views_are_taken_as_they_are() -> None:
    whole = memoryview(text(200_000))
    check([whole[:70_000], b"", whole[70_000:70_012], whole[70_012:]])


def test_many_small_pieces_are_one_plaintext() -> None:
    check([text(1_000)] * 200)


def test_no_pieces_are_no_records() -> None:
    check([])
    check([b"", b""])


def test_the_counter_ends_in_the_middle() -> None:
    with pytest.raises(ConnectionClosed):
        sealer(LAST).seal_pieces([text(MAX_PLAINTEXT + 1)], SPACE, len, MAX_PLAINTEXT + 1)


def test_the_counter_ends_before_a_short_piece() -> None:
    with pytest.raises(ConnectionClosed):
        sealer(LAST + 1).seal_pieces([b"x"], SPACE, len, 1)
