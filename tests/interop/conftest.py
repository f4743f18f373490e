"""What the tests against real peers need: the programs, and a log in which nobody complains."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    # For the time that it takes, js plays streams and bulk in ``make peers``, and all the others in ``make test``, too.
    at_length = "INTEROP" in os.environ or item.path.name not in {"test_bulk.py", "test_streams.py"}
    return named <= ({*PLAYED} if at_length else {*PLAYED} - {"js"})


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """The program of each implementation; one whose toolchain is missing skips the test, and with ``CI=true`` fails.

    js-libp2p's hosts live in one process, which takes long to start; each has a bridge that stands for it.
    """
    builders = dict(build.PEERS)
    with ExitStack() as stack:
        if "js" in PLAYED and (js := build.js()) is not None:
            bridge = stack.enter_context(_many(js, tmp_path_factory.mktemp("js")))
            builders["js"] = lambda: bridge

        def program(name: str) -> Path:
            built = builders[name]()
            if built is None:
                pytest.skip(f"no toolchain for {name}")
            return built

        yield cache(program)


@contextmanager
def _many(program: Path, folder: Path) -> Iterator[Path]:
    socket = folder / "socket"
    process = subprocess.Popen([program, "many", "--socket", socket], stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60.0
        while not socket.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        bridge = folder / "peer"
        build.script(bridge, f'exec "{sys.executable}" -S "{HERE}/bridge.py" "{socket}" "$@"')
        yield bridge
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def go(programs: Callable[[str], Path]) -> Path:
    """The go-libp2p peer."""
    return programs("go")


@pytest_asyncio.fixture(params=ways(), ids=str)
async def pair(programs: Callable[[str], Path], request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Ours and a real one, connected."""
    way: Way = request.param
    async with connected(programs(way.name), way.role, over=way.over) as both:
        yield both


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that happens with a real peer is worth a warning of ours."""
    yield
    told = [record for record in caplog.get_records("call") if record.name.startswith("stronghold_p2p")]
    assert [record.getMessage() for record in told if record.levelno >= logging.WARNING] == []
