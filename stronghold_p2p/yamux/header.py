"""The frame header: 12 bytes, big-endian (yamux/README.md, "Framing").

| Version(8) | Type(8) | Flags(16) | StreamID(32) | Length(32) |

Only Data frames have a body of Length bytes; elsewhere Length carries the credit delta, the ping value,
the go-away code or, on a RST, the error code of go-libp2p (core/network/mux.go).
"""

import struct
from typing import Final

HEADER: Final = struct.Struct(">BBHII")
HEADER_SIZE: Final = HEADER.size
VERSION: Final = 0

DATA: Final = 0
WINDOW_UPDATE: Final = 1
PING: Final = 2
GO_AWAY: Final = 3

SYN: Final = 0x1
ACK: Final = 0x2
# Ours goes in a data frame ("Flag Field" allows a window update, too): rust-yamux 0.10, which the Rust library of our
# name has, takes it in either, but wakes its reader only for one of data (seen: docs/conformance.md).
FIN: Final = 0x4
RST: Final = 0x8

INITIAL_WINDOW: Final = 262_144  # "Flow Control": both sides start with 256 KB, there is no negotiation
MAX_CREDIT: Final = 0xFFFF_FFFF

# One frame of ours is one Noise record: 65,535 less the 16 bytes of the tag and the 12 of the header
# (noise/README.md, "Wire Format"). go-yamux's full frame of 64 KiB takes two records.
MAX_BODY: Final = 65_535 - 16 - HEADER_SIZE


def frame(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """The bytes of one header."""
    return HEADER.pack(VERSION, kind, flags, stream_id, length)
