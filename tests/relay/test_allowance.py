"""What may flow through a circuit."""

from __future__ import annotations

from math import inf

from stronghold_p2p.relay.allowance import UNLIMITED, Allowance, Meter, told
from stronghold_p2p.relay.messages import Limit


def test_what_is_told_is_what_is_meant() -> None:
    assert Allowance(data=131_072, duration=120).message() == Limit(duration=120, data=131_072)
    assert Allowance(data=131_072).message() == Limit(duration=0, data=131_072)
    assert UNLIMITED.message() is None
    assert told(None) == UNLIMITED
    assert told(Limit(duration=120, data=131_072)) == Allowance(data=131_072, duration=120)
    assert told(Limit(duration=0, data=0)) == UNLIMITED
    assert told(Limit(duration=1 << 40)).duration == inf


def test_a_direction_ends_at_its_last_byte() -> None:
    meter = Meter(Allowance(data=100, duration=60), began=1_000.0)
    assert (meter.take(60), meter.take(60), meter.take(1), meter.left, meter.ends) == (60, 40, 0, 0, 1_060.0)
    endless = Meter(UNLIMITED, began=1_000.0)
    assert (endless.take(1 << 40), endless.left, endless.ends) == (1 << 40, inf, inf)
