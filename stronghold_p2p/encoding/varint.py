"""Unsigned varints: the length prefixes of every libp2p protocol.

An unsigned varint writes a number in groups of seven bits, lowest group first; the top bit of each byte
says that another one follows (LEB128). The multiformats ``unsigned-varint`` specification adds two rules
that make the form canonical and bounded, and this module enforces both: an encoding is minimal (its last
byte is not zero, except for the number 0), and it has at most nine bytes, so 63 bits.
"""

from typing import Final

from stronghold_p2p.errors import DecodeError
from stronghold_p2p.exchange import Exchange

MAX_VALUE: Final = (1 << 63) - 1
MAX_BYTES: Final = 9


def encode(value: int) -> bytes:
    """The minimal encoding of ``value``; ``ValueError`` unless 0 <= value < 2**63."""
    if 0 <= value < 0x80:
        return value.to_bytes(1, "little")
    if not 0 <= value <= MAX_VALUE:
        raise ValueError(f"{value} does not fit an unsigned varint of {MAX_BYTES} bytes")
    return leb128(value)


def leb128(value: int) -> bytes:
    """``value``, which is not negative, in groups of seven bits, however many: Protocol Buffers write 64 bits."""
    if value < 0x80:
        return value.to_bytes(1, "little")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes | bytearray | memoryview, offset: int = 0, *, maximum: int = MAX_VALUE) -> tuple[int, int]:
    """Read the varint at ``offset``: its value and the offset after it.

    ``DecodeError`` if it is truncated, not minimal, longer than nine bytes, or above ``maximum``.
    """
    value = 0
    for index in range(MAX_BYTES):
        if offset >= len(data):
            raise DecodeError("truncated varint")
        byte = data[offset]
        offset += 1
        value = _add(value, byte, index, maximum)
        if byte < 0x80:
            return value, offset
    raise DecodeError(f"varint longer than {MAX_BYTES} bytes")


def read(*, maximum: int, max_bytes: int = MAX_BYTES) -> Exchange[int]:
    """Read one varint as an exchange, a byte at a time, so that nothing behind it is taken.

    ``DecodeError`` as soon as a byte makes it larger than ``maximum``, longer than ``max_bytes``, or not minimal:
    a length is refused when its prefix is read, before any of the body.
    """
    value = 0
    for index in range(max_bytes):
        byte = (yield 1)[0]
        value = _add(value, byte, index, maximum)
        if byte < 0x80:
            return value
    raise DecodeError(f"varint longer than {max_bytes} bytes")


def _add(value: int, byte: int, index: int, maximum: int) -> int:
    value |= (byte & 0x7F) << (7 * index)
    if value > maximum:
        raise DecodeError(f"varint above {maximum}")
    if byte == 0 and index:
        raise DecodeError("varint is not minimal")
    return value
