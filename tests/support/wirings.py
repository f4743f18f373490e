"""Ways in which two peers are wired together, and the suites that run over each.

``tcp`` is what users have. ``websocket`` is TCP with a WebSocket in it at the same addresses; it runs the suites that
say so. ``memory`` is a wire of memory under the same upgrade, Noise and Yamux. ``native`` brings
its own security and streams, as QUIC does, so nothing of upgrade, Noise and Yamux is there.

A test of one of the ``SUITES`` runs once over each, unless it is marked ``tcp``: it speaks to a socket, or looks at
what only Yamux does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.tcp import TcpTransport
from stronghold_p2p.transport.websocket import accepted, dialed
from tests.support.memory import MemoryTransport
from tests.support.native import NativeTransport


class OverWebSocket(TcpTransport):
    """Takes TCP's own addresses, so that suites which were written for TCP run over it unchanged."""

    async def connect(self, address: Any, target: Any, expected: Any, around: Any = None, *, name: str = "") -> Any:
        return await super().connect(address, target, expected, lambda wire: as_tcp(dialed(wire, *target)))

    async def bind(self, address: Any, target: Any, arrivals: Any, around: Any = None, **spoken: Any) -> Any:
        return await super().bind(address, target, arrivals, lambda wire: as_tcp(accepted(wire)), **spoken)


def as_tcp(wire: Any) -> Any:
    """The addresses of the socket, without ``/ws``."""
    wire.local, wire.remote = wire._wire.local, wire._wire.remote
    return wire


WIRINGS: Final[Mapping[str, Any]] = {
    "tcp": None,
    "memory": lambda swarm: [MemoryTransport(swarm.upgrader)],
    "native": lambda swarm: [NativeTransport(swarm.identity)],
    "websocket": lambda swarm: [OverWebSocket(swarm.upgrader, swarm.timeouts)],
}
WITH_WEBSOCKET: Final = ("tests/streams/test_over_connections.py", "tests/swarm/test_swarm.py")

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
        whole = metafunc.definition.nodeid.partition("::")[0] in WITH_WEBSOCKET
        metafunc.parametrize("wiring", [name for name in WIRINGS if whole or name != "websocket"], indirect=True)


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
