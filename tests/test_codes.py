"""codes.py: what a go-away tells, and the two series of go-libp2p."""

from __future__ import annotations

import pytest

from stronghold_p2p.codes import GoAway, Reset, farewell


def test_each_reason_is_told_in_words_and_with_its_code() -> None:
    told = {code: farewell(code) for code in GoAway}
    assert told.pop(GoAway.NORMAL) == "the peer closed the connection"
    for code, words in told.items():
        assert words.startswith("the peer closed the connection: ")
        assert words.endswith(f" (code {code.value:#x})")
        assert "do not know" not in words


@pytest.mark.parametrize("code", [3, 0xFFF, 0xFFFF_FFFF])
def test_a_reason_that_nobody_has_heard_of(code: int) -> None:
    assert farewell(code) == f"the peer closed the connection: for a reason that we do not know (code {code:#x})"


def test_the_codes_of_streams_are_those_of_connections_shifted_by_one() -> None:
    """core/network/conn.go and mux.go begin to count at 0x1000 and 0x1001."""
    shared = {code.name: code + 1 for code in GoAway if code.name in Reset.__members__}
    assert {name: Reset[name] for name in shared} == shared
    assert set(Reset.__members__) - set(shared) == {"NONE"}
    assert [GoAway(code).name for code in range(3)] == ["NORMAL", "PROTOCOL_ERROR", "INTERNAL_ERROR"]
