"""Answers in records: how protocols of ours tell why a request is refused, and answer in parts.

A record is framed as every message is; the first byte of its body is its kind, the rest its content:

* ``00``, a part of the answer: a message;
* ``01``, a refusal: why, in UTF-8. It ends the answer;
* ``02``, the end of an answer in parts: no content.

A protocol with ``reasons`` answers in one record, of the first or the second kind; a ``PartsProtocol`` in any number of
parts, then an end or a refusal. As everywhere, a stream that ends without a byte is a refusal without a word. The wire
form is told in docs/requests.md, "On the wire".
"""

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import DecodeError, Malformed, Rejected
from stronghold_p2p.exchange import Exchange
from stronghold_p2p.request_response.codecs.codec import Codec

T = TypeVar("T")

PART: Final = 0
REFUSAL: Final = 1
END: Final = 2

MAX_REASON: Final = 1_000  # bytes of a reason that are sent, and that are read; the rest is cut off
THE_END: Final = bytes((1, END))  # as it goes over a stream


@dataclass(frozen=True, repr=False)
class InRecords(Generic[T]):
    """What ``codec`` writes, as a record; reading one, a refusal is raised: ``Rejected`` with its ``reason``."""

    codec: Codec[T]

    def __repr__(self) -> str:
        return f"{self.codec!r} in records"

    def encode(self, value: T, /) -> bytes:
        return b"\0" + self.codec.encode(value)

    def decode(self, body: bytes, /) -> T:
        return read(self.codec, body)


def read(codec: Codec[T], body: bytes) -> T:
    """The message in the record ``body``. ``Rejected``: it is a refusal; ``Malformed``: neither."""
    kind = body[0] if body else None
    if kind == PART:
        return codec.decode(body[1:])
    if kind == REFUSAL:
        raise refused(body[1:])
    raise Malformed(f"a record of kind {kind}: are both sides of one protocol?")


def refused(content: bytes) -> Rejected:
    """The error for a refusal, whose text a peer has written: cut, and escaped as far as it is not printable."""
    text = content[:MAX_REASON].decode(errors="replace")
    reason = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return Rejected(f"the peer refused the request: {reason or 'ask its owner'}", reason=reason)


def refusal(error: Rejected, maximum: int) -> bytes:
    """The body of the record that tells why, if the application has said it; else nothing, which is told by an end.

    What another call of the application has raised concerns others (``peer``), and is not told. ``maximum`` bytes.
    """
    if error.peer is not None or not error.reason:
        return b""
    content = error.reason.encode(errors="backslashreplace")[: min(MAX_REASON, maximum - 1)]
    return b"\1" + content.decode(errors="ignore").encode() if maximum > 1 else b""


class RecordReader:
    """Records of at most ``maximum`` bytes, one after the other, out of bytes in any pieces.

    Nothing is read ahead: of a piece with thousands of records each is made when it is asked for.
    """

    __slots__ = ("_buffer", "_length", "_maximum", "_size")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._buffer = bytearray()
        self._length: Exchange[int] | None = None  # of a length that has not come whole
        self._size: int | None = None  # of the record whose body is being read

    def feed(self, piece: bytes) -> None:
        self._buffer += piece

    def next(self) -> bytes | None:
        """The body of the next record; None: it is not whole yet. ``Malformed`` at its length."""
        if self._size is None:
            self._size = self._next_size()
        size, buffer = self._size, self._buffer
        if size is None or len(buffer) < size:
            return None
        body = bytes(buffer[:size])
        del buffer[:size]
        self._size = None
        return body

    def _next_size(self) -> int | None:
        buffer = self._buffer
        if self._length is None:
            self._length = varint.read(maximum=self._maximum)
            next(self._length)
        try:
            while buffer:
                byte = bytes(buffer[:1])
                del buffer[:1]
                self._length.send(byte)
        except StopIteration as stop:
            self._length = None
            size: Any = stop.value
            return int(size)
        except DecodeError as error:
            raise Malformed(f"record length: {error}; at most {self._maximum} bytes, see max_part") from None
        return None
