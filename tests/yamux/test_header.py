from __future__ import annotations

import pytest

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.yamux.header import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    INITIAL_WINDOW,
    MAX_BODY,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    frame,
)

# What go and rust send (yamux/README.md, "Framing"); they close and reset with different frames.
SAMPLES = {
    "go open": ("00 01 0001 00000001 00000000", (WINDOW_UPDATE, SYN, 1, 0)),
    "go accept": ("00 01 0002 00000001 00000000", (WINDOW_UPDATE, ACK, 1, 0)),
    "data 5 B": ("00 00 0000 00000001 00000005", (DATA, 0, 1, 5)),
    "go close": ("00 01 0004 00000001 00000000", (WINDOW_UPDATE, FIN, 1, 0)),
    "rust close": ("00 00 0004 00000001 00000000", (DATA, FIN, 1, 0)),
    "go reset": ("00 01 0008 00000001 00001001", (WINDOW_UPDATE, RST, 1, Reset.NEGOTIATION_FAILED)),
    "rust reset": ("00 00 0008 00000001 00000000", (DATA, RST, 1, 0)),
    "ping": ("00 02 0001 00000000 0000002a", (PING, SYN, 0, 42)),
    "pong": ("00 02 0002 00000000 0000002a", (PING, ACK, 0, 42)),
    "go away": ("00 03 0000 00000000 00000000", (GO_AWAY, 0, 0, GoAway.NORMAL)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_frames(name: str) -> None:
    text, fields = SAMPLES[name]
    assert frame(*fields) == bytes.fromhex(text)
    assert HEADER.unpack(bytes.fromhex(text)) == (0, *fields)


def test_numbers_of_the_specification() -> None:
    assert HEADER_SIZE + MAX_BODY + 16 == 65_535  # a full frame is one Noise record
    assert INITIAL_WINDOW == 256 * 1_024
