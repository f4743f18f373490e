"""Frames of Yamux, any field of which can be wrong."""

from __future__ import annotations

from stronghold_p2p.yamux import header

DATA, UPDATE, PINGS, GO_AWAY = header.DATA, header.WINDOW_UPDATE, header.PING, header.GO_AWAY
SYN, ACK, FIN, RST = header.SYN, header.ACK, header.FIN, header.RST
WINDOW = header.INITIAL_WINDOW


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"", version: int = 0) -> bytes:
    return header.HEADER.pack(version, kind, flags, stream, length) + body


def data(stream: int, body: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, len(body), body)


def update(stream: int, credit: int = 0, flags: int = 0) -> bytes:
    return frame(UPDATE, flags, stream, credit)


def ping(value: int, flags: int = SYN) -> bytes:
    return frame(PINGS, flags, 0, value)
