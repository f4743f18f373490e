"""What the tests against real peers need: the program, and a log in which nobody complains."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from harness import build
from tests.interop.our_peer import ROLES, Pair, connected


@pytest.fixture(scope="session")
def go() -> Path:
    """The go-libp2p peer; without a Go toolchain the test is skipped, and with ``CI=true`` it fails."""
    program = build.go_peer()
    if program is None:
        pytest.skip("go toolchain missing")
    return program


@pytest_asyncio.fixture(params=ROLES)
async def pair(go: Path, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Ours and go, connected in both roles."""
    async with connected(go, request.param) as both:
        yield both


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that happens with a real peer is worth a warning of ours."""
    yield
    told = [record for record in caplog.get_records("call") if record.name.startswith("stronghold_p2p")]
    assert [record.getMessage() for record in told if record.levelno >= logging.WARNING] == []
