"""Close frames: what they hold, both ways."""

from __future__ import annotations

import pytest

from stronghold_p2p.errors import DecodeError
from stronghold_p2p.websocket.closing import GOING_AWAY, NO_CODE, NORMAL, ORDINARY, PROTOCOL_ERROR, Close


@pytest.mark.parametrize("close", [Close(NORMAL, "closed"), Close(GOING_AWAY), Close(NO_CODE), Close(4_999, "é")])
def test_it_comes_back_as_it_was(close: Close) -> None:
    assert Close.parse(close.payload()) == close


@pytest.mark.parametrize("payload", [b"\x03", b"\0\0", b"\x03\xec", b"\x03\xee", b"\x13\x88", b"\x03\xe8\xc3"])
def test_what_is_none(payload: bytes) -> None:
    """RFC 6455, 7.4: some codes are never sent, and a reason is UTF-8."""
    with pytest.raises(DecodeError):
        Close.parse(payload)


def test_a_long_reason_is_cut_between_characters() -> None:
    payload = Close(PROTOCOL_ERROR, "é" * 100).payload()
    assert len(payload) <= 125
    assert Close.parse(payload) == Close(PROTOCOL_ERROR, "é" * 61)


def test_ordinary_ends() -> None:
    assert {NORMAL, GOING_AWAY, NO_CODE} == ORDINARY
    assert str(Close(PROTOCOL_ERROR, "why")) == "1002 why"
    assert str(Close(NO_CODE)) == "1005"
