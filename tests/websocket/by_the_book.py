"""Frames as RFC 6455, 5.2 draws them, written by nothing of ours; and a mask that is the definition of 5.3."""

from __future__ import annotations

from stronghold_p2p.seams import Buffer
from stronghold_p2p.websocket.closing import Close
from stronghold_p2p.websocket.frames import FrameReader

KEY = bytes.fromhex("37fa213d")  # of the examples in 5.7
FIN = 0x80
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def masked(payload: Buffer, key: bytes) -> bytes:
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(bytes(payload)))


def raw(first: int, payload: bytes, *, key: bytes = b"", length: int | None = None, size: int | None = None) -> bytes:
    """A frame. ``length``: what it announces, if that is another one; ``size``: bytes of the length, 1, 2 or 8."""
    told = len(payload) if length is None else length
    size = (1 if told < 126 else 2 if told < 1 << 16 else 8) if size is None else size
    second = told if size == 1 else 126 if size == 2 else 127
    header = bytes([first, second | (0x80 if key else 0)]) + (b"" if size == 1 else told.to_bytes(size, "big"))
    return header + key + (masked(payload, key) if key else payload)


class Heard:
    """A reader of ours, and all that it has told."""

    def __init__(self, *, of_client: bool = True) -> None:
        self.reader = FrameReader(masked, masked=of_client)
        self._data = bytearray()
        self.pings: list[bytes] = []
        self.rest = b""
        self.now = 0.0

    def hear(self, data: bytes) -> Heard:
        """What a wire does: what was not used comes again in front of the next."""
        self.rest += data
        reader, before = self.reader, -1
        while len(self.rest) != before:
            before = len(self.rest)
            used = reader.receive(memoryview(self.rest), self.take, self.now)
            self.rest = self.rest[used:]
            if reader.ping is not None:
                self.pings.append(reader.ping)
                reader.ping = None
            if not reader.more:
                break
        return self

    def take(self, piece: Buffer) -> None:
        self._data += piece

    @property
    def data(self) -> bytes:
        return bytes(self._data)

    @property
    def fault(self) -> int | None:
        return None if self.reader.fault is None else self.reader.fault.code

    @property
    def close(self) -> Close | None:
        return self.reader.close
