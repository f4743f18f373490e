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


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.levelname}: {record.getMessage()}")


@pytest.fixture(autouse=True)
def no_complaints() -> Iterator[list[str]]:
    """Nothing that happens with a real peer is worth a warning of ours."""
    complaints = _Complaints()
    log = logging.getLogger("stronghold_p2p")
    log.addHandler(complaints)
    yield complaints.lines
    log.removeHandler(complaints)
    assert complaints.lines == []
