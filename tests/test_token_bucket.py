from __future__ import annotations

from stronghold_p2p.token_bucket import TokenBucket


def test_a_burst_and_what_comes_after_it() -> None:
    bucket = TokenBucket(200.0, 1_024)
    assert sum(bucket.take(1_000.0) for _ in range(2_000)) == 1_024
    assert sum(bucket.take(1_001.0) for _ in range(2_000)) == 200
    assert not bucket.take(1_001.004)
    assert bucket.take(1_001.006)
    assert sum(bucket.take(9_000.0) for _ in range(2_000)) == 1_024


def test_the_rate_can_be_kept_up_for_ever() -> None:
    bucket = TokenBucket(200.0, 10)
    assert all(bucket.take(1_000.0 + step / 200) for step in range(5_000))


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    bucket = TokenBucket(1.0, 2)
    assert bucket.take(1_000.0)
    assert bucket.take(900.0)
    assert not bucket.take(900.0)
