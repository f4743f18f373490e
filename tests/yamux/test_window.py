from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.yamux.header import INITIAL_WINDOW
from stronghold_p2p.yamux.window import GROW_WITHIN_ROUND_TRIPS, OWN, STEP, ReceiveBudget, ReceivePool, ReceiveWindow
from tests.yamux.wire import alone

MAXIMUM = 16 << 20
MEMORY = 32 << 20


def window(*, maximum: int = MAXIMUM, memory: int = MEMORY) -> tuple[ReceiveWindow, ReceiveBudget]:
    budget = alone(memory)
    return ReceiveWindow(budget, maximum), budget


def read_all(one: ReceiveWindow, now: float, round_trip: float = 0.1) -> int:
    """The peer uses up its credit and the reader takes everything; what is announced."""
    count = one.credit
    assert one.received(count)
    return one.announce(now, round_trip) if one.consumed(count) else 0


def test_a_window_used_up_quickly_doubles_up_to_the_maximum() -> None:
    one, budget = window()
    now, sizes = 1_000.0, []
    read_all(one, now)  # the first time there is nothing to compare with
    for _ in range(8):
        now += 0.3
        assert read_all(one, now) == one.credit
        sizes.append(one.size)
    assert sizes == [min(INITIAL_WINDOW << step, MAXIMUM) for step in range(1, 9)]
    assert budget.grown == MAXIMUM - INITIAL_WINDOW


@pytest.mark.parametrize(
    ("maximum", "apart", "round_trip", "size"),
    [
        (MAXIMUM, GROW_WITHIN_ROUND_TRIPS * 0.11, 0.1, INITIAL_WINDOW),
        (MAXIMUM, 0.0, 0.0, INITIAL_WINDOW),
        (INITIAL_WINDOW * 3, 0.0, 0.1, INITIAL_WINDOW * 3),
    ],
    ids=["used up slowly", "no round trip is known", "a maximum that is no power of two"],
)
def test_how_far_it_grows(maximum: int, apart: float, round_trip: float, size: int) -> None:
    one, _ = window(maximum=maximum)
    for step in range(5):
        read_all(one, 1_000.0 + step * apart, round_trip)
    assert one.size == size


def test_dropped_bytes_take_credit_but_no_memory_and_close_gives_everything_back() -> None:
    one, budget = window()
    one.received(100)
    one.dropped(100)
    assert (one.credit, one.buffered, budget.buffered) == (INITIAL_WINDOW - 100, 0, 0)
    for _ in range(4):
        read_all(one, 1_000.0)
    one.received(1_000)
    assert budget.grown
    one.close()
    one.close()
    assert (budget.buffered, budget.grown, one.buffered, one.size) == (0, 0, 0, INITIAL_WINDOW)


@given(
    st.integers(0, 3 * INITIAL_WINDOW),
    st.lists(
        st.tuples(st.sampled_from(["receive", "consume", "drop"]), st.integers(1, INITIAL_WINDOW), st.floats(0, 1))
    ),
)
def test_invariants(memory: int, steps: list[tuple[str, int, float]]) -> None:
    one, budget = window(maximum=3 * INITIAL_WINDOW, memory=memory)
    now, announced, taken = 0.0, INITIAL_WINDOW, 0
    for what, count, passed in steps:
        now += passed
        if what == "receive":
            before = one.credit
            taken += count if one.received(count) else 0
            assert (one.credit == before) == (count > before)
        elif what == "drop":
            one.dropped(min(count, one.buffered))
        elif one.consumed(min(count, one.buffered)):
            announced += one.announce(now, 0.2)
        assert one.credit == announced - taken >= 0
        assert one.buffered >= 0
        assert one.credit + one.buffered <= one.size
        assert INITIAL_WINDOW <= one.size <= 3 * INITIAL_WINDOW
        assert budget.buffered == one.buffered
        assert budget.grown == one.size - INITIAL_WINDOW <= memory


def fill(budget: ReceiveBudget, count: int) -> list[ReceiveWindow]:
    """Windows with ``count`` unread bytes in all, as a receiver fills them: each piece asks when it has to."""
    windows = []
    while count:
        piece = min(count, 100_000)
        one = ReceiveWindow(budget, MAXIMUM)
        assert one.received(piece)
        windows.append(one)
        count -= piece
        if budget.buffered > budget.maximum and budget.refusal() is not None:
            windows.pop().close()
            break
    return windows


def unread(windows: list[ReceiveWindow]) -> int:
    return sum(one.buffered for one in windows)


def test_the_first_256_kib_of_a_connection_are_its_own() -> None:
    pool = ReceivePool(0)
    for _ in range(3):
        budget = alone(MEMORY, pool)
        one = ReceiveWindow(budget, MAXIMUM)
        assert one.received(OWN)
        assert budget.buffered == budget.maximum == OWN
        other = ReceiveWindow(budget, MAXIMUM)
        assert other.received(1)
        refusal = budget.refusal()
        assert refusal is not None
        assert (refusal.limit, refusal.current, refusal.maximum) == ("receive_memory_total", 0, 0)
    assert pool.snapshot() == {"receive_memory": 0, "grown_windows": 0}


def test_beyond_that_connections_share_and_give_back_what_was_read() -> None:
    pool = ReceivePool(8 * STEP)  # six for everybody
    greedy, late = alone(MEMORY, pool), alone(MEMORY, pool)
    windows = fill(greedy, MEMORY)
    assert 6 * STEP < unread(windows) - OWN + 100_000 <= 6 * STEP + 100_000
    assert pool.taken == 6 * STEP
    assert unread(fill(late, MEMORY)) <= OWN
    for one in windows:
        one.consumed(one.buffered)
        needed = max(0, greedy.buffered - OWN)
        assert needed <= pool.taken < needed + STEP
    assert (pool.taken, greedy.maximum) == (0, OWN)
    assert unread(fill(late, MEMORY)) > 6 * STEP


def test_what_is_dropped_or_closed_goes_back_too() -> None:
    pool = ReceivePool(8 * STEP)
    budget = alone(MEMORY, pool)
    for give_back in (lambda one: one.dropped(one.buffered), ReceiveWindow.close):
        for one in fill(budget, 4 * STEP):
            give_back(one)
        assert pool.taken == 0


def test_the_last_quarter_is_for_protected_peers() -> None:
    """Hostile row 38: protected peers keep working."""
    pool, pinned = ReceivePool(8 * STEP), False
    fill(alone(MEMORY, pool), MEMORY)
    budget = ReceiveBudget(MEMORY, pool, lambda: pinned)
    windows = fill(budget, MEMORY)
    assert unread(windows) <= OWN
    pinned = True
    windows += fill(budget, MEMORY)
    assert pool.taken == 8 * STEP
    assert OWN + STEP < unread(windows) <= OWN + 2 * STEP
    assert ReceiveWindow(budget, MAXIMUM).received(STEP)
    refusal = budget.refusal()
    assert refusal is not None
    assert (refusal.current, refusal.maximum) == (8 * STEP, 8 * STEP)


def test_a_connection_takes_no_more_than_its_own_limit() -> None:
    pool = ReceivePool(64 * STEP)
    budget = alone(3 * STEP - 7, pool)
    assert 3 * STEP - 100_000 < unread(fill(budget, MEMORY)) <= 3 * STEP - 7
    assert pool.taken == 2 * STEP - 7
    one = ReceiveWindow(budget, MAXIMUM)
    one.received(200_000)
    refusal = budget.refusal()
    assert refusal is not None
    assert (refusal.limit, refusal.maximum) == ("receive_memory", 3 * STEP - 7)


def test_without_a_total_only_the_connection_limits() -> None:
    pool = ReceivePool(None)
    budgets = [alone(MEMORY, pool) for _ in range(20)]
    assert all(unread(fill(budget, MEMORY)) > MEMORY - 100_000 for budget in budgets)
    assert pool.grow(1 << 40, protected=False) == 1 << 40


def test_windows_grow_only_as_far_as_unread_bytes_leave_room() -> None:
    pool = ReceivePool(16 * STEP)  # twelve for everybody
    first, second = (ReceiveWindow(alone(MEMORY, pool), MAXIMUM) for _ in range(2))
    for _ in range(4):
        read_all(first, 1_000.0)
    assert pool.grown == 7 * STEP
    kept = fill(alone(MEMORY, pool), 4 * STEP)
    assert pool.taken == 3 * STEP
    for _ in range(4):
        read_all(second, 1_000.0)
    assert pool.grown == 9 * STEP
    assert second.size == INITIAL_WINDOW + 2 * STEP
    first.close()
    first.close()
    assert pool.grown == 2 * STEP
    for one in [*kept, second]:
        one.close()
    assert not any(pool.snapshot().values())


@given(
    st.integers(0, 12),
    st.lists(
        st.tuples(
            st.sampled_from(["receive", "consume", "drop", "close", "protect"]),
            st.integers(0, 5),
            st.integers(1, INITIAL_WINDOW),
        ),
        max_size=80,
    ),
)
def test_the_pool_holds_what_its_connections_do(size: int, steps: list[tuple[str, int, int]]) -> None:
    pool, protected = ReceivePool(size * STEP), {1}
    budgets = [ReceiveBudget(5 * STEP + 9, pool, lambda number=number: number in protected) for number in range(3)]  # type: ignore[misc]
    windows = [ReceiveWindow(budgets[number % 3], 3 * INITIAL_WINDOW) for number in range(6)]
    now = 0.0
    for what, number, count in steps:
        now += 0.1
        one, budget = windows[number], budgets[number % 3]
        if what == "receive" and one.received(count):
            if budget.buffered > budget.maximum and budget.refusal() is not None:
                one.close()
                windows[number] = ReceiveWindow(budget, 3 * INITIAL_WINDOW)
        elif what == "consume" and one.consumed(min(count, one.buffered)):
            one.announce(now, 0.5)
        elif what == "drop":
            one.dropped(min(count, one.buffered))
        elif what == "close":
            one.close()
            windows[number] = ReceiveWindow(budget, 3 * INITIAL_WINDOW)
        elif what == "protect":
            protected ^= {number % 3}
        assert pool.taken == sum(each.maximum - OWN for each in budgets) <= size * STEP
        assert pool.grown == sum(each.grown for each in budgets)
        for each in budgets:
            held = [other for at, other in enumerate(windows) if budgets[at % 3] is each]
            assert each.buffered == unread(held) <= each.maximum <= each.limit
            assert each.maximum < max(each.buffered, 1) + STEP + OWN * (each.maximum == OWN)
    for one in windows:
        one.close()
    assert not any(pool.snapshot().values())
