"""What is remembered of addresses at which dials have failed."""

from __future__ import annotations

from stronghold_p2p.swarm.failures import FIRST, LONGEST, REMEMBERED, Failures
from tests.transport.ends import identity

PEER, OTHER = identity(1).peer_id, identity(2).peer_id


def waits_for(failures: Failures, now: float) -> float:
    """How many seconds from ``now`` on the address still waits, as far as halves of seconds tell."""
    return next(half / 2 for half in range(10_000) if not failures.waits(PEER, b"a", now + half / 2))


def test_each_failure_makes_it_longer() -> None:
    failures, now, waited = Failures(), 100.0, []
    for _ in range(20):
        failures.add(PEER, b"a", now)
        waited.append(waits_for(failures, now))
        now += waited[-1]
    assert waited[:4] == [FIRST, FIRST + 1, FIRST + 4, FIRST + 9]
    assert waited[-1] == LONGEST
    failures.add(PEER, b"a", now + LONGEST + 1)  # a long time after
    assert waits_for(failures, now + LONGEST + 1) == FIRST


def test_it_is_of_one_peer_at_one_address() -> None:
    failures = Failures()
    failures.add(PEER, b"a", 0.0)
    assert failures.waits(PEER, b"a", 1.0)
    assert not any(failures.waits(*other, 1.0) for other in [(PEER, b"b"), (OTHER, b"a"), (None, b"a")])
    failures.forget(OTHER, b"a")
    assert failures.waits(PEER, b"a", 1.0)
    failures.forget(PEER, b"a")
    assert not failures.waits(PEER, b"a", 1.0)


def test_peers_cannot_fill_it() -> None:
    failures = Failures()
    for number in range(10 * REMEMBERED):
        failures.add(PEER, number.to_bytes(4, "big"), 0.0)
    assert len(failures._known) == REMEMBERED
    assert failures.waits(PEER, (10 * REMEMBERED - 1).to_bytes(4, "big"), 1.0)
    assert not failures.waits(PEER, (0).to_bytes(4, "big"), 1.0)
