"""Three ways in which two peers are wired together, and the suites that run over each.

``tcp`` is what users have. ``memory`` is a wire of memory under the same upgrade, Noise and Yamux. ``native`` brings
its own security and streams, as QUIC does, so nothing of upgrade, Noise and Yamux is there.

A test of one of the ``SUITES`` runs once over each, unless it is marked ``tcp``: it speaks to a socket, or looks at
what only Yamux does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from stronghold_p2p.transport import registry
from tests.support.memory import MemoryTransport
from tests.support.native import NativeTransport

TCP: Final = registry.default_transports

WIRINGS: Final[Mapping[str, Any]] = {
    "tcp": TCP,
    "memory": lambda identity, upgrader, timeouts: [MemoryTransport(upgrader)],
    "native": lambda identity, upgrader, timeouts: [NativeTransport(identity)],
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
def wiring(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the wiring under this test."""
    name: str = getattr(request, "param", "tcp")
    registry.default_transports = WIRINGS[name]
    try:
        yield name
    finally:
        registry.default_transports = TCP
