"""What a rule costs is measured, and shown as a bar."""

from __future__ import annotations

import pytest

from benchmarks.firewall import RULES, Cost, measure
from benchmarks.runner.report import cost_line


@pytest.mark.speed
async def test_each_rule_is_compared_with_a_default_of_allow() -> None:
    costs = await measure(pairs=2, requests=20)
    assert [cost.rule for cost in costs] == list(RULES)
    assert all(0 < cost.base < 100_000 and -1 < cost.extra for cost in costs)


@pytest.mark.parametrize(("extra", "verdict"), [(0.05, "met"), (-0.01, "met"), (0.051, "**missed**")])
def test_a_bar_includes_its_bound(extra: float, verdict: str) -> None:
    line = cost_line(Cost("only", 160.4, extra))
    assert line.endswith(f"| {verdict} |")
    assert f"rule `only` for one peer at most 5% over a default of allow | {extra:+.1%} of 160 µs" in line
