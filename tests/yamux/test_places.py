"""Places for the streams of peers: of one connection, and of all together (hostile row 38)."""

from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.codes import Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.yamux.header import RST, WINDOW_UPDATE
from stronghold_p2p.yamux.places import OWN, STEP, Places, StreamPool
from tests.yamux.wire import Frame, Side, syn


def side(pool: StreamPool, limit: int | None = 512, *, protected: bool = False) -> Side:
    return Side(limits=Limits(streams_in=limit), places=Places(limit, pool, lambda: protected))


def opened(one: Side, number: int, *, first: int = 1) -> int:
    """How many streams there are when the peer has tried to open so many more."""
    for stream in range(first, first + 2 * number, 2):
        one.hear(syn(stream))
    return one.session.inbound


def test_what_is_everybodys_own_does_not_come_out_of_the_pool() -> None:
    pool = StreamPool(0)
    one = side(pool)
    assert opened(one, OWN) == OWN
    one.frames()
    assert opened(one, 1, first=2 * OWN + 1) == OWN
    assert one.frames() == [Frame(WINDOW_UPDATE, RST, 2 * OWN + 1, Reset.RESOURCE_LIMIT)]
    assert pool.taken == 0


def test_the_rest_is_shared_and_a_quarter_is_for_protected_peers() -> None:
    pool = StreamPool(8 * STEP)
    first, second, friend = side(pool), side(pool), side(pool, protected=True)
    assert opened(first, 300) == OWN + 6 * STEP
    assert pool.snapshot() == {"streams_in": 6 * STEP}
    assert opened(second, 100) == OWN
    assert opened(friend, 300) == OWN + 2 * STEP
    first.session.fail(ConnectionError("gone"))
    assert pool.taken == 2 * STEP
    assert opened(second, 90, first=201) == OWN + 90
    for one in (second, friend):
        one.session.fail(ConnectionError("gone"))
    assert pool.taken == 0


def test_a_refusal_names_its_limit() -> None:
    full = Places(None, StreamPool(4 * STEP), lambda: False)
    for number in range(OWN, 4 * OWN, OWN):
        assert full.refusal(number) is None
    refusal = full.refusal(4 * OWN)
    assert isinstance(refusal, LimitExceeded)
    assert (refusal.limit, refusal.maximum) == ("streams_in_total", 3 * STEP)
    refusal = Places(3, StreamPool(None), lambda: False).refusal(3)
    assert isinstance(refusal, LimitExceeded)
    assert (refusal.limit, refusal.current, refusal.maximum) == ("streams_in", 3, 3)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=600), st.integers(0, 12), st.integers(0, 300))
def test_the_pool_counts_what_its_connections_have(steps: list[tuple[int, bool]], size: int, limit: int) -> None:
    pool = StreamPool(size * STEP)
    several, counts = [Places(limit, pool, lambda: False) for _ in range(3)], [0, 0, 0]
    for at, comes in steps * 3:
        one = several[at]
        if comes:
            if counts[at] < one.maximum or one.refusal(counts[at]) is None:
                counts[at] += 1
        elif counts[at]:
            counts[at] -= 1
            if counts[at] <= one.spare:
                one.give_back(counts[at])
        assert counts[at] <= one.maximum <= limit
        assert pool.taken == sum(max(0, each.maximum - min(OWN, limit)) for each in several)
        assert pool.taken <= pool.share(protected=False) or not pool.taken
    for at, one in enumerate(several):
        counts[at] = 0
        one.give_back(0)
    assert pool.taken == 0
