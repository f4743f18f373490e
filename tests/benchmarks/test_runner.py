"""``benchmarks.run`` in small: a round with its processor time, what a rule costs, what tables and bars say of it."""

from __future__ import annotations

import sys

import pytest

from benchmarks.firewall import RULES, Cost, measure
from benchmarks.runner.measure import Results, Round, for_one
from benchmarks.runner.plan import BARS, COUNTED, METRICS, PAIRINGS, QUICK, Implementation, Pairing
from benchmarks.runner.processes import Spent
from benchmarks.runner.report import bars, cost_line, processor, render

RAW = Implementation("raw", lambda: (), modes=frozenset({"seq"}))
BROKEN = Implementation("broken", lambda: (), modes=frozenset({"seq"}))
COMMANDS: dict[str, tuple[str, ...]] = {
    "raw": (sys.executable, "-m", "benchmarks.raw"),
    "broken": (sys.executable, "-c", "raise SystemExit('no')"),
}
TINY = {"fast": dict.fromkeys(QUICK["fast"], 200)}


@pytest.mark.speed
def test_a_round_measures_rate_and_processor_time_of_both_ends() -> None:
    results = Results(load="0")
    row = Pairing("raw", "raw asyncio", RAW, RAW)
    Round(COMMANDS, results, TINY, free=False).run((row,))
    assert results.failures == {}
    assert results.of("raw", "seq").median
    [spent] = results.spent["raw", "seq"]
    assert -1000 < spent.client < 10_000  # its start, which is subtracted, is no constant
    assert 0 < spent.server < 10_000
    Round(COMMANDS, results, TINY, free=True).run((row,))
    assert len(results.of("raw", "seq").unpinned) == len(results.of("raw", "seq").pinned) == 1
    assert len(results.spent["raw", "seq"]) == 1


@pytest.mark.parametrize(("client", "server"), [(RAW, BROKEN), (BROKEN, RAW)], ids=["server", "client"])
def test_a_peer_that_fails_is_a_row_with_its_reason(client: Implementation, server: Implementation) -> None:
    results = Results(load="0")
    Round(COMMANDS, results, TINY, free=False).run((Pairing("ours", "ours → ours", client, server),))
    assert results.failures == {("ours", "seq"): ["no"]}
    text = render(results, PAIRINGS[:1], QUICK, 1, pinned=False)
    assert "| ours → ours | failed | - | - | - |" in text
    assert "- ours → ours, seq: no\n" in text


@pytest.mark.parametrize(
    ("mode", "count", "expected"),
    [("seq", 1_001, [100, 30]), ("conc", 101, [1_000, 300]), ("upload", 100_001, [1e6, 3e5])],
)
def test_what_a_run_of_one_takes_is_in_no_figure(mode: str, count: int, expected: list[float]) -> None:
    found = for_one(mode, count, Spent(0.5, 0.1), Spent(0.6, 0.13))
    assert [found.client, found.server] == pytest.approx(expected)


def test_processor_time_stands_beside_that_of_go() -> None:
    results = Results(load="0")
    results.spent["go", "seq"] = [Spent(40, 60)]
    results.spent["ours", "seq"] = [Spent(50, 60), Spent(70, 80), Spent(60, 100)]
    lines = processor(results, PAIRINGS).splitlines()
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| ours → ours", "| go → go"]
    assert lines[-2].endswith("| - | - | - | - | 60 + 80 = 150 | 1.50 | - | - |")


def test_each_bar_speaks_of_rows_that_are_measured() -> None:
    modes = {metric.name: metric.mode for metric in METRICS}
    rows = {pairing.key: pairing for pairing in PAIRINGS}
    assert all(rows[key].has(modes[bar.metric]) for bar in BARS for key in (bar.row, bar.reference))
    assert set(COUNTED) <= set(modes.values())


@pytest.mark.parametrize(("ours", "verdict"), [(60.0, "met"), (60.3, "**missed**"), (None, "not measured")])
def test_a_round_trip_is_judged_by_that_of_raw_asyncio(ours: float | None, verdict: str) -> None:
    results = Results(load="0")
    results.of("raw", "rtt").pinned.append(40.0)
    if ours is not None:
        results.of("ours", "rtt").pinned.append(ours)
    line = next(line for line in bars(results).splitlines() if line.startswith("| rtt: ours → ours at most 1.5 of raw"))
    assert line.endswith(f"| {verdict} |")


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
