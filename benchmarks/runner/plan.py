"""What is measured: the pairings, the modes with their figures, how much of each, and the bars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from benchmarks import build


@dataclass(frozen=True)
class Implementation:
    """A program that keeps docs/catalogue/peer-contract.md. ``modes`` is None where it keeps all of them."""

    name: str
    prepare: Callable[[], build.Command]
    pace: str = "fast"
    modes: frozenset[str] | None = None
    over: str = ""  # what its server speaks over TCP: ``ws``, ``tls/ws``; TCP itself without


@dataclass(frozen=True)
class Pairing:
    """A row: who asks and who answers. ``key`` is its name for ``--only``."""

    key: str
    title: str
    client: Implementation
    server: Implementation

    @property
    def pace(self) -> str:
        return min(self.client.pace, self.server.pace, key=PACES.index)

    def has(self, mode: str) -> bool:
        return all(side.modes is None or mode in side.modes for side in (self.client, self.server))


@dataclass(frozen=True)
class Metric:
    """One figure of a mode's JSON line."""

    name: str
    mode: str
    field: str
    unit: str
    digits: int
    meaning: str


@dataclass(frozen=True)
class Bar:
    """``row`` divided by ``reference``, both medians, must be at least (or at most) ``limit``."""

    metric: str
    row: str
    reference: str
    limit: float
    at_least: bool

    def met(self, ratio: float) -> bool:
        return ratio >= self.limit if self.at_least else ratio <= self.limit


def of_ours(name: str, *flags: str) -> Implementation:
    return Implementation(name, partial(build.ours, *flags))


REQUESTS = frozenset({"seq", "conc"})
WS, WSS = "ws", "tls/ws"


def over(transport: str, of: Implementation) -> Implementation:
    """``of``, listening on WebSocket, or on secure WebSocket."""
    return replace(of, name=f"{of.name} over {TRANSPORTS[transport]}", over=transport)


TRANSPORTS = {WS: "ws", WSS: "wss"}

OURS = of_ours("ours")
OURS_BY_HAND = of_ours("ours by hand", "--by-hand")
BELOW = of_ours("ours below Network", "--below")
BUSY = of_ours("ours with busy polling", "--busy-poll")
UVLOOP = of_ours("ours on uvloop", "--uvloop")
BUSY_UVLOOP = of_ours("ours on uvloop with busy polling", "--busy-poll", "--uvloop")
IN_JSON = replace(of_ours("ours in JSON", "--json"), modes=REQUESTS)
RAW = Implementation("raw asyncio", build.raw)
RAW_UVLOOP = Implementation("raw asyncio on uvloop", partial(build.raw, "--uvloop"))
GO = Implementation("go-libp2p", build.go)
JS = Implementation("js-libp2p", build.js, pace="middle")
PY = Implementation("py-libp2p", build.py, pace="slow")
CRATE = Implementation("the Rust crate", build.crate_with_nodelay, modes=REQUESTS)
CRATE_AS_SHIPPED = Implementation("the Rust crate as shipped", build.crate, pace="crawling", modes=REQUESTS)

PACES = ("crawling", "slow", "middle", "fast")

REFERENCE = "go"
PAIRINGS = (
    Pairing("ours", "ours → ours", OURS, OURS),
    Pairing("raw", "raw asyncio, no protocol", RAW, RAW),
    Pairing("below", "ours → ours, below Network", BELOW, BELOW),
    Pairing("busy", "ours → ours, busy_poll=100e-6", BUSY, BUSY),
    Pairing("uvloop", "ours → ours, uvloop", UVLOOP, UVLOOP),
    Pairing("raw-uvloop", "raw asyncio on uvloop, no protocol", RAW_UVLOOP, RAW_UVLOOP),
    Pairing("busy-uvloop", "ours → ours, uvloop and busy_poll=100e-6", BUSY_UVLOOP, BUSY_UVLOOP),
    Pairing("json", "ours → ours, JSON as the crate's", IN_JSON, IN_JSON),
    Pairing("ours-go", "ours → go", OURS_BY_HAND, GO),
    Pairing("go-ours", "go → ours", GO, OURS),
    Pairing(REFERENCE, "go → go", GO, GO),
    Pairing("js", "js → js", JS, JS),
    *(Pairing(f"ours-{name}", f"ours → ours, {name}", OURS, over(key, OURS)) for key, name in TRANSPORTS.items()),
    *(Pairing(f"go-{name}", f"go → go, {name}", GO, over(key, GO)) for key, name in TRANSPORTS.items()),
    Pairing("js-ws", "js → js, ws", JS, over(WS, JS)),
    Pairing("py", "py → py", PY, PY),
    Pairing("crate", "crate → crate, with TCP_NODELAY", CRATE, CRATE),
    Pairing("crate-as-shipped", "crate → crate, as shipped", CRATE_AS_SHIPPED, CRATE_AS_SHIPPED),
)

METRICS = (
    Metric("upload", "upload", "mb_per_s", "MB/s", 0, "one stream, writes of 64 KiB, client to server"),
    Metric("download", "download", "mb_per_s", "MB/s", 0, "one stream, writes of 64 KiB, server to client"),
    Metric("rtt", "rtt", "median_us", "µs", 0, "32 bytes there and back on an open stream, median"),
    Metric("seq", "seq", "req_per_s", "requests/s", 0, "64 bytes there and back, each on a new stream, one at a time"),
    Metric("conc", "conc", "req_per_s", "requests/s", 0, "the same, 32 at a time on one connection"),
    Metric("connect", "connect", "median_ms", "ms", 2, "a fresh host dials until a stream is open, median"),
    Metric("first byte", "connect", "fb_median_ms", "ms", 2, "the same until one byte has come back, median"),
)
MODES = tuple(dict.fromkeys(metric.mode for metric in METRICS))

COUNTED = {"upload": "MB", "download": "MB", "seq": "request", "conc": "request"}
"""The modes of which the processor time is told, and what it is told for one of."""

Counts = dict[str, dict[str, int]]
MIB = 1 << 20


def counts(transfer: int, rtt: int, seq: int, conc: int, connect: int) -> dict[str, int]:
    """How much of each mode: MiB, ping-pongs, requests, requests, dials."""
    mib = transfer * MIB
    return {"upload": mib, "download": mib, "rtt": rtt, "seq": seq, "conc": conc, "connect": connect}


FULL: Counts = {
    "fast": counts(256, 5000, 5000, 20000, 20),
    "middle": counts(128, 2000, 1000, 2000, 10),
    "slow": counts(32, 500, 300, 500, 5),
    "crawling": counts(32, 500, 50, 500, 5),
}
QUICK: Counts = {
    "fast": counts(64, 1000, 1000, 5000, 5),
    "middle": counts(32, 500, 200, 500, 3),
    "slow": counts(8, 200, 100, 100, 2),
    "crawling": counts(8, 200, 10, 100, 2),
}

BARS = (
    *(
        Bar(metric, row, REFERENCE, 0.8, at_least=True)
        for metric in ("upload", "download")
        for row in ("ours", "ours-go", "go-ours")
    ),
    Bar("conc", "ours", REFERENCE, 1.0, at_least=True),
    *(
        Bar(metric, row, reference, limit, at_least=True)
        for metric in ("upload", "download")
        for row, reference, limit in (
            ("ours-ws", "ours", 0.8),
            ("ours-ws", "go-ws", 1.0),
            ("ours-ws", "js-ws", 3.0),
            ("ours-wss", "ours", 0.5),
        )
    ),
    Bar("seq", "ours", "below", 0.95, at_least=True),
    Bar("conc", "ours", "below", 0.95, at_least=True),
    Bar("seq", "ours", "py", 10.0, at_least=True),
    Bar("conc", "ours", "py", 10.0, at_least=True),
    Bar("seq", "json", "crate", 0.5, at_least=True),
    Bar("conc", "json", "crate", 0.5, at_least=True),
    Bar("seq", "json", "crate-as-shipped", 100.0, at_least=True),
    Bar("rtt", "ours", "raw", 1.5, at_least=False),
    Bar("rtt", "uvloop", "raw-uvloop", 1.5, at_least=False),
    Bar("connect", "ours", REFERENCE, 2.5, at_least=False),
    Bar("first byte", "ours", REFERENCE, 2.5, at_least=False),
)
