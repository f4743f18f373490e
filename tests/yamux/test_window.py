from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.yamux.header import INITIAL_WINDOW
from stronghold_p2p.yamux.window import GROW_WITHIN_ROUND_TRIPS, ReceiveBudget, ReceiveWindow

MAXIMUM = 16 << 20
MEMORY = 32 << 20


def window(*, maximum: int = MAXIMUM, memory: int = MEMORY) -> tuple[ReceiveWindow, ReceiveBudget]:
    budget = ReceiveBudget(memory)
    return ReceiveWindow(budget, maximum), budget


def read_all(one: ReceiveWindow, now: float, round_trip: float = 0.1) -> int:
    """The peer uses up its credit and the reader takes everything; what is announced."""
    count = one.credit
    assert one.received(count)
    return one.announce(now, round_trip) if one.consumed(count) else 0


def test_a_window_starts_with_256_kib() -> None:
    one, budget = window()
    assert (one.size, one.credit, one.buffered) == (INITIAL_WINDOW, INITIAL_WINDOW, 0)
    assert (budget.buffered, budget.grown) == (0, 0)


def test_one_byte_beyond_the_credit_is_refused_and_changes_nothing() -> None:
    one, budget = window()
    assert not one.received(INITIAL_WINDOW + 1)
    assert one.received(INITIAL_WINDOW)
    assert not one.received(1)
    assert (one.credit, one.buffered, budget.buffered) == (0, INITIAL_WINDOW, INITIAL_WINDOW)


def test_credit_comes_back_when_half_is_free() -> None:
    one, budget = window()
    one.received(INITIAL_WINDOW)
    assert not one.consumed(INITIAL_WINDOW // 2 - 1)
    assert one.consumed(1)
    assert one.announce(1_000.0, 0.1) == INITIAL_WINDOW // 2
    assert one.credit + one.buffered == one.size
    assert budget.buffered == INITIAL_WINDOW // 2


def test_unread_bytes_are_not_promised_twice() -> None:
    """delta = target - (buffered + outstanding credit) (wire-facts 6.3)."""
    one, _ = window()
    one.received(200_000)
    assert one.consumed(150_000)
    delta = one.announce(1_000.0, 0.0)
    assert delta == INITIAL_WINDOW - 50_000 - (INITIAL_WINDOW - 200_000)
    assert one.credit + one.buffered == INITIAL_WINDOW


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


def test_a_window_used_up_slowly_stays() -> None:
    one, _ = window()
    for step in range(5):
        read_all(one, 1_000.0 + step * GROW_WITHIN_ROUND_TRIPS * 0.11, 0.1)
    assert one.size == INITIAL_WINDOW


def test_without_a_round_trip_time_nothing_grows() -> None:
    one, _ = window()
    for _ in range(5):
        read_all(one, 1_000.0, 0.0)
    assert one.size == INITIAL_WINDOW


def test_growth_ends_where_the_budget_does() -> None:
    budget = ReceiveBudget(1_000_000)
    first, second = ReceiveWindow(budget, MAXIMUM), ReceiveWindow(budget, MAXIMUM)
    for _ in range(9):
        read_all(first, 1_000.0)
        read_all(second, 1_000.0)
    assert budget.grown == 1_000_000
    assert first.size + second.size == 2 * INITIAL_WINDOW + 1_000_000
    first.close()
    read_all(second, 1_000.0)
    assert budget.grown == second.size - INITIAL_WINDOW <= 1_000_000


def test_a_maximum_that_is_no_power_of_two() -> None:
    one, _ = window(maximum=INITIAL_WINDOW * 3)
    for _ in range(5):
        read_all(one, 1_000.0)
    assert one.size == INITIAL_WINDOW * 3


def test_dropped_bytes_take_credit_but_no_memory() -> None:
    one, budget = window()
    one.received(100)
    one.dropped(100)
    assert (one.credit, one.buffered, budget.buffered) == (INITIAL_WINDOW - 100, 0, 0)


def test_close_gives_everything_back() -> None:
    one, budget = window()
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
