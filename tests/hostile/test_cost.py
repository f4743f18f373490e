"""``make cost`` in small: all its traffic is played, and answered with no more than the bar; no time is asserted."""

from __future__ import annotations

import pytest

from tests.hostile.arena import Arena
from tests.hostile.cost import BYTES_OUT, KINDS, SECONDS_PER_MB, SERVED, Cost, measured, missed, row


@pytest.mark.long(10)
def test_no_traffic_is_answered_with_many_times_its_bytes(arena: Arena) -> None:
    with arena.guard(*SERVED) as guard:
        for kind in KINDS:
            cost = measured(guard, kind, 0.2, log=True)
            assert cost.sent > 0, kind
            assert cost.out <= BYTES_OUT, kind


def test_what_is_above_a_bar_is_told() -> None:
    handshake, stream = KINDS[0], KINDS[-1]
    assert handshake.handshake
    dear = Cost(seconds=1.0, sent=100_000, received=900_000, logged=5_000)
    assert (dear.rate, dear.out, dear.log) == (10.0, 9.0, 0.05)
    assert missed(handshake, dear) == ["out"]
    assert missed(stream, dear) == ["s/MB", "out"]
    assert missed(stream, Cost(SECONDS_PER_MB, 1_000_000, 1_000_000)) == []
    assert row(stream, dear, dear).endswith("above the bar: s/MB, out")
    assert "no bar for s/MB" in row(handshake, Cost(1.0, 1_000), Cost())
