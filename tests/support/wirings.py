"""Three ways in which two peers are wired together, and the suites that run over each.

``tcp`` is what users have. ``memory`` is a wire of memory under the same upgrade, Noise and Yamux. ``native`` brings
its own security and streams, as QUIC does, so nothing of upgrade, Noise and Yamux is there.

A test of one of the ``SUITES`` runs once over each, unless it is marked ``tcp``: it speaks to a socket, or looks at
what only Yamux does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from stronghold_p2p.swarm.swarm import Swarm
from tests.support.memory import MemoryTransport
from tests.support.native import NativeTransport

WIRINGS: Final[Mapping[str, Any]] = {
    "tcp": None,
    "memory": lambda swarm: [MemoryTransport(swarm.upgrader)],
    "native": lambda swarm: [NativeTransport(swarm.identity)],
}

SUITES: Final = (
    "tests/parity/test_firewall.py",
    "tests/parity/test_firewall_defects.py",
    "tests/request_response/test_client.py",
    "tests/request_response/test_server.py",
    "tests/streams/test_over_connections.py",
    "tests/swarm/test_swarm.py",
    "tests/test_network.py",
    "tests/test_requests.py",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = any(mark.name == "tcp" for mark in metafunc.definition.iter_markers())
    if metafunc.definition.nodeid.partition("::")[0] in SUITES and not marked:
        metafunc.parametrize("wiring", list(WIRINGS), indirect=True)


@pytest.fixture(autouse=True)
def wiring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the wiring under this test."""
    name: str = getattr(request, "param", "tcp")
    start = Swarm.start

    def wired(swarm: Swarm) -> None:
        swarm.transports[:] = WIRINGS[name](swarm)
        start(swarm)

    if name != "tcp":
        monkeypatch.setattr(Swarm, "start", wired)
    return name
