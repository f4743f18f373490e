"""Names of protocols: those of libp2p, of the benchmarks, and of the programs under test."""

from __future__ import annotations

from typing import Final

MULTISTREAM: Final = b"\x13/multistream/1.0.0\n"
NOISE: Final = "/noise"
YAMUX: Final = "/yamux/1.0.0"
IDENTIFY: Final = "/ipfs/id/1.0.0"
PUSH: Final = "/ipfs/id/push/1.0.0"
PING: Final = "/ipfs/ping/1.0.0"
PERF: Final = "/perf/1.0.0"
RR: Final = "/bench/rr/1"
ECHO: Final = "/bench/echo/1"
HOLD: Final = "/bench/hold/1"
ASK: Final = "/hostile/ask/1"
GUARDED: Final = "/guarded/1.0.0"
