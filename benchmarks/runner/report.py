"""Turns the results into the text that is printed and written to ``benchmarks/RESULTS.md``."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime

from benchmarks.firewall import MOST, Cost
from benchmarks.runner import machine
from benchmarks.runner.measure import Results, Series
from benchmarks.runner.plan import BARS, COUNTED, METRICS, PAIRINGS, REFERENCE, Bar, Counts, Metric, Pairing
from benchmarks.runner.processes import Spent

ARROWS = {True: "at least", False: "at most"}
TITLES = {pairing.key: pairing.title for pairing in PAIRINGS}


def render(results: Results, pairings: tuple[Pairing, ...], counts: Counts, rounds: int, *, pinned: bool) -> str:
    parts = [
        head(results, rounds, pinned=pinned),
        bars(results),
        *(table(results, pairings, metric) for metric in METRICS),
        processor(results, pairings),
        failures(results),
        amounts(counts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def head(results: Results, rounds: int, *, pinned: bool) -> str:
    how = "server and client pinned to a core each" if pinned else "NOT pinned: this machine has no two cores to pin to"
    rows = [
        ("date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        *machine.describe(),
        ("load average before", results.load),
        *results.versions.items(),
    ]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`. Everything runs over loopback: TCP, in some rows WebSocket over it or secure",
            "WebSocket (TLS 1.3), Noise and Yamux; limits on connections, streams and rates are lifted. `a → b` has a",
            "as the client and b as the server. `ours` is `Network` with default options; what a row names beside it",
            "is what differs. `below Network` is a swarm and live streams.",
            f"Medians of {rounds} round{'s' * (rounds != 1)}, {how}; in each round the",
            "implementations take turns mode by mode. The unpinned figures are of one round more, in which the",
            "scheduler decides.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
        ]
    )


def bars(results: Results) -> str:
    lines = ["## Bars", "", "| bar | measured | |", "|---|---|---|", *(bar_line(results, bar) for bar in BARS)]
    return "\n".join([*lines, *map(cost_line, results.firewall)])


def cost_line(cost: Cost) -> str:
    what = f"processor time per request: rule `{cost.rule}` for one peer at most {MOST:.0%} over a default of allow"
    return f"| {what} | {cost.extra:+.1%} of {cost.base:.0f} µs | {'met' if cost.met else '**missed**'} |"


def bar_line(results: Results, bar: Bar) -> str:
    ratio = results.ratio(bar.row, bar.reference, bar.metric)
    what = f"{bar.metric}: {TITLES[bar.row]} {ARROWS[bar.at_least]} {bar.limit:g} of {TITLES[bar.reference]}"
    if ratio is None:
        return f"| {what} | - | not measured |"
    return f"| {what} | {ratio:.2f} | {'met' if bar.met(ratio) else '**missed**'} |"


def table(results: Results, pairings: tuple[Pairing, ...], metric: Metric) -> str:
    lines = [
        f"## {metric.name}",
        "",
        f"{metric.meaning[0].upper()}{metric.meaning[1:]}; {metric.unit}.",
        "",
        f"| | median | lowest to highest | of {TITLES[REFERENCE]} | unpinned |",
        "|---|---:|---:|---:|---:|",
        *(row(results, pairing, metric) for pairing in pairings if pairing.has(metric.mode)),
    ]
    return "\n".join(lines)


def row(results: Results, pairing: Pairing, metric: Metric) -> str:
    series = results.of(pairing.key, metric.name)
    ratio = results.ratio(pairing.key, REFERENCE, metric.name)
    failed = any((pairing.key, mode) in results.failures for mode in ("all", metric.mode))
    cells = [
        pairing.title,
        "failed" if failed and series.median is None else number(series.median, metric) + " (failures)" * failed,
        span(series, metric),
        "-" if ratio is None else f"{ratio:.2f}",
        number(series.unpinned[0] if series.unpinned else None, metric),
    ]
    return f"| {' | '.join(cells)} |"


def span(series: Series, metric: Metric) -> str:
    if not series.pinned:
        return "-"
    return f"{number(min(series.pinned), metric)} to {number(max(series.pinned), metric)}"


def number(value: float | None, metric: Metric) -> str:
    return "-" if value is None else f"{value:,.{metric.digits}f}"


def processor(results: Results, pairings: tuple[Pairing, ...]) -> str:
    """What both ends took; one row for each pairing, beside each mode its share of the reference."""
    heads = [f"{mode}, µs for a {counted} | of {TITLES[REFERENCE]}" for mode, counted in COUNTED.items()]
    lines = [
        "## processor time per request, both ends",
        "",
        "Client + server = both: what their processes took, polling included and sleep not; medians of the pinned",
        "rounds. A run of one request, or of one byte, is subtracted: start, connection and warm-up are in no figure.",
        "",
        f"| | {' | '.join(heads)} |",
        f"|---|{'---:|---:|' * len(COUNTED)}",
    ]
    for pairing in pairings:
        if any((pairing.key, mode) in results.spent for mode in COUNTED):
            cells = [cell for mode in COUNTED for cell in processor_cells(results, pairing, mode)]
            lines.append(f"| {' | '.join([pairing.title, *cells])} |")
    return "\n".join(lines)


def processor_cells(results: Results, pairing: Pairing, mode: str) -> tuple[str, str]:
    runs, base = results.spent.get((pairing.key, mode)), results.spent.get((REFERENCE, mode))
    if not runs:
        return "-", "-"
    client, server, both = median_spent(runs)
    share = f"{both / median_spent(base)[2]:.2f}" if base else "-"
    return f"{client:,.0f} + {server:,.0f} = {both:,.0f}", share


def median_spent(runs: list[Spent]) -> tuple[float, float, float]:
    """Of the client, of the server, and of both together: each a median of its own."""
    client, server = (statistics.median(getattr(run, end) for run in runs) for end in ("client", "server"))
    return client, server, statistics.median(run.client + run.server for run in runs)


def failures(results: Results) -> str:
    if not results.failures:
        return ""
    lines = [f"- {TITLES[key]}, {mode}: {'; '.join(reasons)}" for (key, mode), reasons in results.failures.items()]
    return "\n".join(["## What failed", "", *lines])


def amounts(counts: Counts) -> str:
    modes = list(next(iter(counts.values())))
    lines = [
        "## How much of each",
        "",
        "The slower implementations get less to do, so that the whole stays within minutes.",
        "",
        f"| | {' | '.join(modes)} |",
        f"|---|{'---:|' * len(modes)}",
    ]
    for pace, amount in counts.items():
        rows = ", ".join(pairing.title for pairing in PAIRINGS if pairing.pace == pace)
        lines.append(f"| {rows} | {' | '.join(in_words(mode, amount[mode]) for mode in modes)} |")
    return "\n".join(lines)


def in_words(mode: str, amount: int) -> str:
    if mode in {"upload", "download"}:
        return f"{amount >> 20} MiB"
    return f"{amount:,}"
