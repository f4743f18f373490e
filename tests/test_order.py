"""Long tests come first, in the share of each worker."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from xdist.scheduler.worksteal import WorkStealingScheduling

from tests import order


def item(name: str, seconds: float = 0.0) -> Any:
    marker = SimpleNamespace(args=(seconds,)) if seconds else None
    return SimpleNamespace(name=name, get_closest_marker=lambda kind: marker if kind == "long" else None)


ITEMS = [item("a"), item("b"), item("L5", 5), item("c"), item("d"), item("L80", 80), item("e"), item("L6", 6)]


def ordered(workers: int | None) -> list[str]:
    config: Any = SimpleNamespace() if workers is None else SimpleNamespace(workerinput={"workercount": workers})
    items = list(ITEMS)
    order.pytest_collection_modifyitems(config, items)
    return [one.name for one in items]


@pytest.mark.parametrize(
    ("workers", "names"),
    [
        (None, "L80 L6 L5 a b c d e"),
        (1, "L80 L6 L5 a b c d e"),
        (2, "L80 L5 a b L6 c d e"),
        (3, "L80 a L6 b c L5 d e"),
        (8, "L80 L6 L5 a b c d e"),
        (20, "L80 L6 L5 a b c d e"),
    ],
)
def test_each_share_begins_with_its_long_ones(workers: int | None, names: str) -> None:
    assert ordered(workers) == names.split()


class Node:
    """What a scheduler knows of a worker; notes what it is given first."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.shutting_down = False
        self.gateway = SimpleNamespace(id=str(id(self)))

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_the_shares_are_those_of_worksteal(workers: int) -> None:
    names = ordered(workers)
    config: Any = SimpleNamespace(getvalue=lambda _name: ["popen"] * workers, option=None)
    scheduler = WorkStealingScheduling(config, log=None)
    nodes: list[Any] = [Node() for _ in range(workers)]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, names)
    scheduler.schedule()
    firsts = [names[node.given[0]] for node in nodes]
    assert firsts == ["L80", "L6", "L5", "d"][:workers]
    assert all(one.given[-1] + 1 == other.given[0] for one, other in pairwise(nodes))
