from __future__ import annotations

from typing import Any

import pytest

from stronghold_p2p.request_response.messages import Request
from tests.firewall.attempts import ALICE


def test_a_request_cannot_be_changed() -> None:
    connection: Any = object()
    request = Request(id=1, peer=ALICE, message="Ping", protocol="/echo/1.0.0", connection=connection, deadline=5.0)
    assert request.connection is connection
    assert (request.id, request.peer, request.message, request.deadline) == (1, ALICE, "Ping", 5.0)
    with pytest.raises(AttributeError):
        request.message = "Pong"  # type: ignore[misc]
