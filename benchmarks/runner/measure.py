"""Runs the rounds: in each, every mode of every pairing once, the pairings interleaved mode by mode."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field

from benchmarks import build
from benchmarks.firewall import Cost
from benchmarks.runner.plan import COUNTED, METRICS, MODES, Counts, Implementation, Metric, Pairing
from benchmarks.runner.processes import CLIENT_CORE, SERVER_CORE, PeerFailed, Server, Spent, can_pin, run_client


@dataclass
class Series:
    """What one pairing gave for one metric."""

    pinned: list[float] = field(default_factory=list)
    unpinned: list[float] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        return statistics.median(self.pinned) if self.pinned else None


@dataclass
class Results:
    load: str
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    spent: dict[tuple[str, str], list[Spent]] = field(default_factory=dict)
    failures: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    firewall: list[Cost] = field(default_factory=list)

    def of(self, row: str, metric: str) -> Series:
        return self.series.setdefault((row, metric), Series())

    def ratio(self, row: str, reference: str, metric: str) -> float | None:
        """Median to median; None where either is missing."""
        figure, base = self.of(row, metric).median, self.of(reference, metric).median
        return figure / base if figure is not None and base else None

    def failed(self, row: str, mode: str, reason: str) -> None:
        reasons = self.failures.setdefault((row, mode), [])
        if reason not in reasons:
            reasons.append(reason)


def prepare(pairings: tuple[Pairing, ...], results: Results) -> dict[str, build.Command]:
    """The commands of all implementations that can be had; the others become failures of their rows."""
    commands: dict[str, build.Command] = {}
    reasons: dict[str, str] = {}
    for implementation in {
        side.name: side for pairing in pairings for side in (pairing.client, pairing.server)
    }.values():
        say(f"preparing {implementation.name}")
        try:
            commands[implementation.name] = implementation.prepare()
        except build.Unavailable as error:
            reasons[implementation.name] = str(error)
            say(f"  not available: {error}")
    for pairing in pairings:
        for side in (pairing.client, pairing.server):
            if side.name in reasons:
                results.failed(pairing.key, "all", reasons[side.name])
    return commands


class Round:
    """One round: its servers, started when first needed and again when one has died.

    ``free`` is the round that is printed beside the others: nothing is pinned, and it counts for no median.
    """

    def __init__(self, commands: dict[str, build.Command], results: Results, counts: Counts, *, free: bool) -> None:
        self.commands = commands
        self.results = results
        self.counts = counts
        self.free = free
        self.pinned = can_pin() and not free
        self.servers: dict[str, Server] = {}

    def run(self, pairings: tuple[Pairing, ...]) -> None:
        try:
            for mode in MODES:
                for pairing in pairings:
                    known = pairing.client.name in self.commands and pairing.server.name in self.commands
                    if known and pairing.has(mode):
                        self.run_one(pairing, mode)
        finally:
            for server in self.servers.values():
                server.stop()

    def run_one(self, pairing: Pairing, mode: str) -> None:
        core = CLIENT_CORE if self.pinned else None
        try:
            server = self.server(pairing.server)
            command, count = self.commands[pairing.client.name], self.counts[pairing.pace][mode]
            counted = mode in COUNTED and not self.free
            idle = run_client(command, server, mode, 1, core)[1] if counted else None
            line, spent = run_client(command, server, mode, count, core)
            figures = [(metric, float(line[metric.field])) for metric in METRICS if metric.mode == mode]
        except PeerFailed as error:
            self.results.failed(pairing.key, mode, str(error))
            say(f"  {pairing.title}: {mode} failed: {error}")
        except KeyError as error:
            self.results.failed(pairing.key, mode, f"the JSON line has no {error}")
            say(f"  {pairing.title}: {mode}: the JSON line has no {error}")
        else:
            self.keep(pairing, figures)
            if idle is not None:
                self.results.spent.setdefault((pairing.key, mode), []).append(for_one(mode, count, idle, spent))

    def server(self, implementation: Implementation) -> Server:
        server = self.servers.get(implementation.name)
        if server is None or not server.running:
            if server is not None:
                server.stop()
            core = SERVER_CORE if self.pinned else None
            server = Server(self.commands[implementation.name], core, implementation.over)
            self.servers[implementation.name] = server
            server.start()
            self.results.versions[implementation.name] = str(server.line.get("version", "unknown"))
        return server

    def keep(self, pairing: Pairing, figures: list[tuple[Metric, float]]) -> None:
        for metric, value in figures:
            series = self.results.of(pairing.key, metric.name)
            (series.unpinned if self.free else series.pinned).append(value)
            say(f"  {pairing.title}: {metric.name} {value:,.{metric.digits}f} {metric.unit}")


def for_one(mode: str, count: int, idle: Spent, spent: Spent) -> Spent:
    """Microseconds of both ends for a request, or for 10^6 bytes.

    ``idle`` is a run of one request or byte: start, connection and warm-up are in both runs, and in no figure.
    """
    units = (count - 1) / (1e6 if COUNTED[mode] == "MB" else 1)
    return Spent((spent.client - idle.client) / units * 1e6, (spent.server - idle.server) / units * 1e6)


def firewall_costs(*, quick: bool) -> list[Cost]:
    """What rules for one peer cost, on the interpreter that runs ours."""
    say("what rules for one peer cost")
    few = ("--pairs", "3", "--requests", "200") if quick else ()
    command = (build.python(), "-m", "benchmarks.firewall", *few)
    run = subprocess.run(command, cwd=build.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return [Cost(**line) for line in json.loads(run.stdout)]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
