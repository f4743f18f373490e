"""What it is worth to join many short pieces before they are sealed: ``python -m benchmarks.sealing``.

A turn of the loop may collect thousands of them, and a copy of each into the workspace costs more than one join.
"""

from __future__ import annotations

import timeit
from collections.abc import Iterator
from contextlib import contextmanager

from stronghold_p2p.noise import records
from stronghold_p2p.noise.cipher import CipherState
from stronghold_p2p.noise.records import Sealer, Workspace

PIECES = ((100, 100), (1_000, 60), (5_000, 50))
NEVER = 1 << 30


@contextmanager
def joined_from(count: int) -> Iterator[None]:
    """``JOINED_FROM`` is another one."""
    before = records.JOINED_FROM
    vars(records)["JOINED_FROM"] = count
    try:
        yield
    finally:
        vars(records)["JOINED_FROM"] = before


def microseconds(count: int, size: int) -> float:
    """The quickest of several tries."""
    sealer, pieces = Sealer(CipherState(bytes(32)), Workspace()), [bytes(size)] * count
    runs = timeit.repeat(lambda: sealer.seal(pieces, count * size, len), number=20, repeat=5)
    return min(runs) / 20 * 1e6


def main() -> None:
    for count, size in PIECES:
        joined = microseconds(count, size)
        with joined_from(NEVER):
            apart = microseconds(count, size)
        print(f"{count:5} pieces of {size} bytes: {joined:4.0f} µs joined, {apart:4.0f} µs one by one")


if __name__ == "__main__":
    main()
