"""Which address of ours a packet would leave from."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from stronghold_p2p.transport.routes import source_towards


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def test_to_this_machine() -> None:
    assert source_towards(packed("127.0.0.1")) == packed("127.0.0.1")


def test_no_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("stronghold_p2p.transport.routes.socket.socket", Nowhere)
    assert source_towards(packed("203.0.113.1")) is None
    assert source_towards(packed("2001:db8::1")) is None
