"""What the tests against real peers need: the programs, and a log in which nobody complains."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import pytest_asyncio

from tests.interop import build
from tests.interop.our_peer import Pair, connected
from tests.interop.ways import PLAYED, Way, ways

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the implementations that ``INTEROP`` does not name (tests/interop/ways.py)."""
    left_out = [item for item in items if not _wanted(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _wanted(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function) or not item.path.is_relative_to(HERE):
        return True
    callspec = getattr(item, "callspec", None)
    given = callspec.params.values() if callspec is not None else ()
    named = {value.name for value in given if isinstance(value, Way)} | {*item.fixturenames} & {*build.PEERS}
    return named <= {*PLAYED}


@pytest.fixture(scope="session")
def programs() -> Callable[[str], Path]:
    """The program of each implementation; one whose toolchain is missing skips the test, and with ``CI=true`` fails."""

    def program(name: str) -> Path:
        built = build.PEERS[name]()
        if built is None:
            pytest.skip(f"no toolchain for {name}")
        return built

    return cache(program)


@pytest.fixture(scope="session")
def go(programs: Callable[[str], Path]) -> Path:
    """The go-libp2p peer."""
    return programs("go")


@pytest_asyncio.fixture(params=ways(), ids=str)
async def pair(programs: Callable[[str], Path], request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Ours and a real one, connected."""
    way: Way = request.param
    async with connected(programs(way.name), way.role) as both:
        yield both


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that happens with a real peer is worth a warning of ours."""
    yield
    told = [record for record in caplog.get_records("call") if record.name.startswith("stronghold_p2p")]
    assert [record.getMessage() for record in told if record.levelno >= logging.WARNING] == []
