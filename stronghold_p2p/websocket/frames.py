"""WebSocket frames (RFC 6455, 5): those of the peer are read as they come, ours are written whole.

For us a WebSocket is a stream of bytes (libp2p: websockets/README.md): where one message ends and the next begins
means nothing, text is read as bytes, and an empty message is nothing at all, not the end. So nothing waits for a whole
frame: the part that is there is handed on, and a frame of any length takes no memory.

The ``websockets`` package has the other way, which costs more than a record's encryption: it collects each frame by two
copies, and joins whatever it is given into one buffer first (``python -m benchmarks.frames``). It is also more patient
than the RFC allows: it takes lengths in more bytes than they need (websockets 17.4).

``Mask`` is that package's, in C; it is passed in, as this module draws no randomness and loads no package.
"""

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final, TypeAlias

from stronghold_p2p.errors import DecodeError
from stronghold_p2p.seams import Buffer
from stronghold_p2p.token_bucket import TokenBucket
from stronghold_p2p.websocket.closing import PROTOCOL_ERROR, TOO_BIG, VIOLATION, Close

Mask: TypeAlias = Callable[[Buffer, bytes], bytes]
"""The payload, each byte of it combined with one of the key's four (RFC 6455, 5.3)."""

Take: TypeAlias = Callable[[Buffer], object]
"""Takes a piece of payload: a part of what was read, where nothing was masked; or memory of its own."""

MAX_FRAME: Final = 1 << 20
"""Bytes of payload that a frame may announce. None is kept, so this only tells early that the length is nonsense; go's
frames have 65,537 at most, and nobody else's more than one record."""
MAX_FRAMES: Final = 1_024  # in one call: the least ones take a microsecond each, and others have their turn, too

# Empty messages, pings and pongs carry nothing, and cost as much as others: js sends one in each handshake, a proxy a
# ping now and then.
NOTHINGS: Final = 100
NOTHINGS_A_SECOND: Final = 10.0

LARGE: Final = 16 << 10  # bytes of a payload from which on memory is used again

MAX_CONTROL: Final = 125  # bytes of payload of a ping, a pong or a close (RFC 6455, 5.5)

_FIN: Final = 0x80
_MASKED: Final = 0x80
_RESERVED: Final = 0x70
_SHORT: Final = 125
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_u16: Final = Struct(">BBH")
_u64: Final = Struct(">BBQ")


class Opcode(IntEnum):
    """What a frame is (RFC 6455, 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_CONTROL: Final = {_FIN | opcode: opcode for opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG)}
# The first bytes that a frame of data may have: between messages, and within one.
_DATA: Final = {
    False: frozenset({Opcode.TEXT, Opcode.BINARY, _FIN | Opcode.TEXT, _FIN | Opcode.BINARY}),
    True: frozenset({Opcode.CONTINUATION, _FIN | Opcode.CONTINUATION}),
}


class FrameReader:
    """The frames of the peer. ``masked``: it is a client, whose frames have to be; a server's must not (RFC 6455, 5.1).

    ``ping`` is the payload of the newest ping, for who answers it; ``close`` the peer's close, behind which nothing
    is read; ``fault`` what is wrong, as the close to send for it; ``more``: ``receive`` has stopped before the end.
    """

    __slots__ = (
        "_data",
        "_fragmented",
        "_key",
        "_left",
        "_mask",
        "_masked",
        "_nothings",
        "close",
        "fault",
        "more",
        "ping",
    )

    def __init__(self, mask: Mask, *, masked: bool) -> None:
        self._mask = mask
        self._masked = _MASKED if masked else 0
        self._key = b""
        self._left = 0  # bytes of the payload that are still to come
        self._fragmented = False
        self._data = _DATA[False]
        self._nothings = TokenBucket(NOTHINGS_A_SECOND, NOTHINGS)
        self.ping: bytes | None = None
        self.close: Close | None = None
        self.fault: Close | None = None
        self.more = False

    @property
    def inside(self) -> bool:
        """Within a frame or a message: it is no place to end."""
        return bool(self._left) or self._fragmented

    def receive(self, view: memoryview, take: Take, now: float) -> int:
        """Give the payload of what is in ``view`` to ``take``; returns the bytes used: a header comes as a whole."""
        at, size = 0, len(view)
        for _ in range(MAX_FRAMES):
            if not self._left:
                begun = self._begin(view, at, size, now)
                if not begun:
                    break
                at = begun
            if self._left and at < size:
                end = min(at + self._left, size)
                take(self._open(view[at:end]))
                self._left -= end - at
                at = end
            if at == size:
                break
        else:
            self.more = True
            return at
        self.more = False
        return at

    def _open(self, piece: memoryview) -> Buffer:
        if not self._masked:
            return piece
        opened = self._mask(piece, self._key)
        if turned := len(piece) & 3:
            self._key = self._key[turned:] + self._key[:turned]
        return opened

    def _begin(self, view: memoryview, at: int, size: int, now: float) -> int:
        """Read a header, and a control frame whole; returns where that ends, 0 if it is not all there or nothing is
        read any more.
        """
        if size - at < 2 or self.close is not None or self.fault is not None:
            return 0
        first, length = view[at], view[at + 1]
        control = _CONTROL.get(first)
        if (control is None and first not in self._data) or length & _MASKED != self._masked:
            return self._fail(PROTOCOL_ERROR, self._told(first, length))
        body, length = at + 2, length & ~_MASKED
        if length > _SHORT:
            body, length = self._long(view, body, size, length, control)
        if self._masked and body:
            body += 4
            self._key = bytes(view[body - 4 : body])
        if not body or body > size:
            return 0
        if control is not None:
            return self._control(control, view, body, length, now) if body + length <= size else 0
        if not length and not self._nothings.take(now):
            return self._fail(VIOLATION, "too many empty messages")
        self._left = length
        if self._fragmented is not (first < _FIN):
            self._fragmented = first < _FIN
            self._data = _DATA[self._fragmented]
        return body

    def _long(self, view: memoryview, at: int, size: int, kind: int, control: Opcode | None) -> tuple[int, int]:
        """Where a length of more than one byte ends, and the length; (0, 0): it is not all there, or is none."""
        end = at + (2 if kind == _LENGTH_16 else 8)
        length = int.from_bytes(view[at:end], "big")
        if control is not None:
            self._fail(PROTOCOL_ERROR, f"a control frame of more than {MAX_CONTROL} bytes")
        elif end > size:
            return 0, 0
        elif length <= (_SHORT if kind == _LENGTH_16 else 0xFFFF):
            self._fail(PROTOCOL_ERROR, "a length in more bytes than it needs")
        elif length > MAX_FRAME:
            self._fail(TOO_BIG, f"a frame of more than {MAX_FRAME} bytes")
        else:
            return end, length
        return 0, 0

    def _control(self, opcode: Opcode, view: memoryview, body: int, length: int, now: float) -> int:
        payload = bytes(self._open(view[body : body + length]))
        if opcode is Opcode.CLOSE:
            try:
                self.close = Close.parse(payload)
            except DecodeError as error:
                return self._fail(PROTOCOL_ERROR, str(error))
        elif not self._nothings.take(now):
            return self._fail(VIOLATION, "too many pings and pongs")
        elif opcode is Opcode.PING:
            self.ping = payload
        return body + length

    def _told(self, first: int, second: int) -> str:
        if second & _MASKED != self._masked:
            return "a frame without a mask" if self._masked else "a masked frame"
        opcode = first & 0x0F
        if first & _RESERVED:
            return "a reserved bit is set: no extension was agreed upon"
        if opcode > Opcode.BINARY and opcode not in Opcode.__members__.values():
            return f"a frame of the unknown kind {opcode}"
        if opcode > Opcode.BINARY:
            return "a fragment of a control frame"
        return "a new message within another" if self._fragmented else "a continuation of nothing"

    def _fail(self, code: int, told: str) -> int:
        self.fault = Close(code, told)
        return 0


class FrameWriter:
    """Frames of ours, each a message of its own. ``key``: four bytes for each that nobody can foretell (RFC 6455, 5.3),
    of a client, whose frames are masked; None: of a server, whose are not.

    Large ones are put together in ``space``, which is used again and again: fresh memory for each costs more than all
    the rest.
    """

    __slots__ = ("_key", "_mask", "_masked", "_space")

    def __init__(self, mask: Mask, key: Callable[[int], bytes] | None, space: memoryview) -> None:
        self._mask = mask
        self._key = key
        self._masked = _MASKED if key else 0
        self._space = space

    def frame(self, payload: Buffer, opcode: Opcode = Opcode.BINARY) -> bytes | memoryview:
        """The frame, valid until the next one."""
        first, length, masked = _FIN | opcode, len(payload), self._masked
        if length <= _SHORT:
            header = bytes((first, masked | length))
        elif length < 1 << 16:
            header = _u16.pack(first, masked | _LENGTH_16, length)
        else:
            header = _u64.pack(first, masked | _LENGTH_64, length)
        if self._key is not None:
            key = self._key(4)
            header += key
            payload = self._mask(payload, key)
        start, space = len(header), self._space
        end = start + length
        if length < LARGE or end > len(space):
            return header + payload
        space[:start] = header
        space[start:end] = payload
        return space[:end]
