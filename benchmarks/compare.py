"""Compares two checkouts of this repository on one machine: ``python -m benchmarks.compare OLD NEW``.

Each pair measures everything once over both, one right after the other; who begins changes from pair to pair. A figure
is the median of the pairs, a ratio the median of the pairs' own ratios, which a load that comes and goes moves least.
The exit code is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from benchmarks.run import load
from benchmarks.runner.processes import CLIENT_CORE, SERVER_CORE, can_pin, children_on

ENDS = Path(__file__).resolve().parent / "comparison" / "ends.py"
READY_WITHIN = 30.0
BEYOND = 60.0
"""Seconds that a client may take beyond those of its measurement."""


@dataclass(frozen=True)
class Measure:
    """``bar``: the least ratio of new to old; None: it is only told."""

    name: str
    unit: str
    counted: str
    bar: float | None = None


MEASURES = (
    Measure("upload", "MB/s", "MB", 0.97),
    Measure("download", "MB/s", "MB", 0.97),
    Measure("connect", "1/s", "connection", 0.97),
    Measure("first byte", "1/s", "connection", 0.97),
    Measure("seq", "1/s", "request", 1.15),
    Measure("conc", "1/s", "request", 1.15),
    Measure("seq over streams", "1/s", "request"),
    Measure("conc over streams", "1/s", "request"),
)
FACADE = (("seq", "seq over streams"), ("conc", "conc over streams"))


@dataclass(frozen=True)
class Figure:
    """``client`` and ``server``: microseconds of processor time for one of what is counted."""

    rate: float
    client: float
    server: float

    @property
    def both(self) -> float:
        return self.client + self.server


Pair = tuple[Figure, Figure]
"""Of the old checkout and of the new one."""

Value = Callable[[Figure], float]


@dataclass(frozen=True)
class Compared:
    """What the pairs of one measure say."""

    measure: Measure
    pairs: tuple[Pair, ...]

    def median(self, new: bool, value: Value = attrgetter("rate")) -> float:
        return statistics.median(value(pair[new]) for pair in self.pairs)

    @property
    def ratios(self) -> list[float]:
        return sorted(new.rate / old.rate for old, new in self.pairs)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def missed(self) -> bool:
        return self.measure.bar is not None and self.ratio < self.measure.bar


# ---------------------------------------------------------------------- measuring


def compare(checkouts: tuple[Path, Path], measures: tuple[Measure, ...], pairs: int, seconds: float) -> list[Compared]:
    """Each pair has servers of its own; each measurement a client of its own."""
    found: dict[Measure, list[Pair]] = {measure: [] for measure in measures}
    for number in range(pairs):
        with ExitStack() as stack:
            addresses = [stack.enter_context(server(checkout)) for checkout in checkouts]
            for place, measure in enumerate(measures):
                first = (number + place) % 2
                figures: dict[int, Figure] = {}
                for side in (first, 1 - first):
                    figures[side] = client(checkouts[side], addresses[side], measure, seconds)
                found[measure].append((figures[0], figures[1]))
                told = f"{figures[0].rate:,.0f} {figures[1].rate:,.0f} {measure.unit}"
                print(f"pair {number + 1} of {pairs}: {measure.name} {told}", file=sys.stderr, flush=True)
    return [Compared(measure, tuple(found[measure])) for measure in measures]


@contextmanager
def server(checkout: Path) -> Iterator[str]:
    """A server of that checkout; its address."""
    with children_on(SERVER_CORE if can_pin() else None):
        process = subprocess.Popen(
            command("serve"), cwd=checkout, env=environment(checkout), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    try:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], READY_WITHIN)[0]:
            raise SystemExit(f"the server of {checkout} was not ready within {READY_WITHIN:g} s")
        line = json.loads(process.stdout.readline() or "{}")
        if line.get("package") != str(checkout / "stronghold_p2p"):
            raise SystemExit(f"not the package of {checkout}: {line.get('package')}")
        yield line["addr"]
        process.communicate(timeout=READY_WITHIN)
    finally:
        process.kill()
        process.communicate()


def client(checkout: Path, addr: str, measure: Measure, seconds: float) -> Figure:
    with children_on(CLIENT_CORE if can_pin() else None):
        done = subprocess.run(
            command("client", "--addr", addr, "--measure", measure.name, "--seconds", str(seconds)),
            cwd=checkout,
            env=environment(checkout),
            stdout=subprocess.PIPE,
            timeout=2 * seconds + BEYOND,
            check=True,
        )
    return Figure(**json.loads(done.stdout))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", str(ENDS), *arguments]


def environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout)}


# ---------------------------------------------------------------------- telling

HEADS = ("measure", "", "old", "new", "new/old", "lowest to highest", "bar", "")
PROCESSOR_HEADS = ("processor time, µs", "for one", "client old", "new", "server old", "new", "both, new/old")
FACADE_HEADS = ("the facade", "to", "rate old", "new", "processor time old", "new")


def render(found: list[Compared], pairs: int, seconds: float, before: str) -> str:
    pinned = "server and client pinned to a core each" if can_pin() else "NOT pinned: there are no two cores to pin to"
    parts = [
        f"CPython {sys.version.split()[0]}, {pinned}; busy polling off at both ends; load average before: {before}.",
        f"Medians of {pairs} pair{'s' * (pairs != 1)}, {seconds:g} s each; new/old is the median of the pairs' ratios.",
        "",
        *table(HEADS, [row(compared) for compared in found]),
        "",
        *table(PROCESSOR_HEADS, [processor(compared) for compared in found]),
    ]
    shares = facade(found)
    if shares:
        parts += ["", *table(FACADE_HEADS, shares)]
    return "\n".join(parts)


def row(compared: Compared) -> tuple[str, ...]:
    measure, ratios = compared.measure, compared.ratios
    verdict = "" if measure.bar is None else "MISSED" if compared.missed else "met"
    return (
        measure.name,
        measure.unit,
        *(f"{compared.median(new):,.0f}" for new in (False, True)),
        f"{compared.ratio:.3f}",
        f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
        "-" if measure.bar is None else f"{measure.bar:.2f}",
        verdict,
    )


def processor(compared: Compared) -> tuple[str, ...]:
    ratio = statistics.median(new.both / old.both for old, new in compared.pairs)
    times = (compared.median(new, attrgetter(end)) for end in ("client", "server") for new in (False, True))
    return (compared.measure.name, compared.measure.counted, *(f"{time:,.1f}" for time in times), f"{ratio:.3f}")


def facade(found: list[Compared]) -> list[tuple[str, ...]]:
    """What ``Network.request`` reaches of requests by hand over ``Network.open_stream``, and its processor time."""
    by_name = {compared.measure.name: compared for compared in found}
    return [
        (asked, by_hand, *facade_cells(by_name[asked], by_name[by_hand]))
        for asked, by_hand in FACADE
        if asked in by_name and by_hand in by_name
    ]


def facade_cells(asked: Compared, by_hand: Compared) -> Iterator[str]:
    for what in ("rate", "both"):
        value: Value = attrgetter(what)
        for new in (False, True):
            pairs = zip(asked.pairs, by_hand.pairs, strict=True)
            yield f"{statistics.median(value(facade[new]) / value(streams[new]) for facade, streams in pairs):.3f}"


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of columns: the first two begin at the left, the others end at the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (heads, *rows)
    ]


# ---------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    measures = chosen(options.only)
    before = load()
    found = compare((options.old, options.new), measures, options.pairs, options.seconds)
    print(render(found, options.pairs, options.seconds, before))
    return int(any(compared.missed for compared in found))


def chosen(only: str) -> tuple[Measure, ...]:
    names = [measure.name for measure in MEASURES]
    wanted = only.split(",") if only else names
    unknown = set(wanted) - set(names)
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    return tuple(measure for measure in MEASURES if measure.name in wanted)


def checkout(text: str) -> Path:
    folder = Path(text).resolve()
    if not (folder / "stronghold_p2p" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"no checkout of this repository: {text}")
    return folder


def positive(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("old", type=checkout, metavar="OLD", help="a folder with a checkout")
    parser.add_argument("new", type=checkout, metavar="NEW", help="another one")
    parser.add_argument("--pairs", type=positive, default=5, help="how often both are measured (default 5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each measurement lasts (default 1.5)")
    known = ", ".join(measure.name for measure in MEASURES)
    parser.add_argument("--only", default="", help=f"what to measure, with commas between: {known}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
