"""Long tests first, so that no processor waits at the end for one that has begun late (a pytest plugin).

``@pytest.mark.long(seconds)`` stands at a test that takes more than about three seconds, most of them for waiting or
not. pytest-xdist's ``worksteal`` gives each worker a run of neighbours to begin with; each of these begins with its
share of the long ones. Everything else keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    long = sorted((item for item in items if _seconds(item)), key=_seconds, reverse=True)
    others = iter([item for item in items if not _seconds(item)])
    items[:] = [item for share in _shares(len(items), long, others, workers) for item in share]


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("long")
    return float(marker.args[0]) if marker is not None else 0.0


def _shares(
    total: int, long: list[pytest.Item], others: Iterator[pytest.Item], workers: int
) -> Iterator[list[pytest.Item]]:
    """What ``worksteal`` gives to each worker: as many to each, the last ones one more."""
    given = 0
    for number in range(workers):
        size = (total - given) // (workers - number)
        given += size
        first = long[number::workers]
        yield first + list(islice(others, max(0, size - len(first))))
    yield list(others)
