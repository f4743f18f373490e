"""Exactly one outcome for each request, at each end, wherever the connection is killed (hostile row 70)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.outcomes import KILLS, TOGETHER, Kill, Play, exhaust, script


@pytest.mark.speed
async def test_row_70_killed_at_each_step() -> None:
    """`make soak` kills there in every way."""
    play = await exhaust(seed=1, kills_per_step=1)
    rounds = len(script(1)) + 1
    assert sum(play.ends.values()) == rounds * TOGETHER
    assert set(play.ends) == {"answered", "ConnectionClosed"}
    assert min(play.ends.values()) > rounds * TOGETHER / 10


class Interleavings(RuleBasedStateMachine):
    """Requests are begun, released, given up and killed in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.play = Play()
        self.loop.run_until_complete(self.play.start())

    @rule(askers=st.lists(st.sampled_from([0, 1]), min_size=1, max_size=40))
    def begin(self, askers: list[int]) -> None:
        for asker in askers:
            if len([call for call in self.play.calls.values() if not call[1].done()]) < TOGETHER:
                self.loop.run_until_complete(self.play.begin(asker))

    @precondition(lambda self: self.play.calls)
    @rule(data=st.data(), cancelled=st.booleans())
    def end(self, data: st.DataObject, cancelled: bool) -> None:
        for number in data.draw(st.lists(st.sampled_from(sorted(self.play.calls)), max_size=10)):
            (self.play.cancel if cancelled else self.play.release)(number)

    @rule(turns=st.integers(1, 8))
    def go_on(self, turns: int) -> None:
        for _ in range(turns):
            self.loop.run_until_complete(asyncio.sleep(0))

    @rule(kill=st.sampled_from(KILLS))
    def kill(self, kill: tuple[Kill, int]) -> None:
        self.loop.run_until_complete(self.play.kill(*kill))

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self.play.finish())
        finally:
            self.loop.run_until_complete(self.play.close())
            self.loop.close()


def test_row_70_in_any_order() -> None:
    run_state_machine_as_test(Interleavings, settings=settings(max_examples=25, stateful_step_count=20))
