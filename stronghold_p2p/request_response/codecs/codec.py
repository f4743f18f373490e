"""How a message becomes bytes: codecs for its body, and the frame around it.

On the wire a message is its length as an unsigned varint, minimally encoded, and its body (parity 1); that of the Rust
library's protocol is JSON with enums in serde's externally tagged form: ``"Ping"``, ``{"Message":"hi"}`` (parity 2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from stronghold_p2p.encoding import strict_json, varint
from stronghold_p2p.errors import DecodeError, Malformed
from stronghold_p2p.exchange import Exchange

T = TypeVar("T")


class Codec(Protocol[T]):
    """Turns messages into bytes and back. Write your own for the models of your application."""

    def encode(self, value: T, /) -> bytes:
        """The body of ``value``; a ``ValueError`` becomes ``Malformed``."""

    def decode(self, body: bytes, /) -> T:
        """The message in ``body``, which comes from a peer; a ``ValueError`` becomes ``Malformed``.

        For more than 64 KiB it is called in a thread, one call at a time.
        """


@dataclass(eq=False)
class Named(Generic[T]):
    """A codec of two functions, called ``name``."""

    name: str
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]

    def __repr__(self) -> str:
        return self.name


# Less than this is not worth a look at which brackets stand inside strings.
WEIGHED: Final = 65_536
MAX_REASON: Final = 1_000  # characters of what a codec says: an error that waits must not keep a message

# A length below 128 is the byte itself.
_ONE_BYTE: Final = tuple(bytes((size,)) for size in range(128))

BYTES: Final[Codec[bytes]] = Named("BYTES", bytes, lambda body: body)
"""A message is its body."""
JSON: Final[Codec[Any]] = Named("JSON", strict_json.dumps, strict_json.loads)
"""A message is what JSON can say; ``strict_json`` tells what is refused."""


def decode(codec: Codec[T], body: bytes, part: str = "", peer: Any = None) -> T:
    """``codec.decode``, with every ``ValueError`` of a user's codec as ``Malformed``; ``part`` begins its path."""
    try:
        return codec.decode(body)
    except ValueError as error:
        raise malformed(error, part, peer) from error


def malformed(error: ValueError, part: str, peer: Any = None) -> Malformed:
    """What a codec raised, as the error for the caller; ``part`` begins its path."""
    path = error.path if isinstance(error, Malformed) else ""
    between = "." if part and path else ": " if part else ""
    return Malformed(f"{part}{between}{str(error)[:MAX_REASON]}", path=".".join(filter(None, (part, path))), peer=peer)


def weight(codec: Codec[Any], body: bytes) -> int:
    """Bytes of memory that the message in ``body`` takes, at most, once ``codec`` has read it as JSON.

    An object of CPython 3.11 has up to 192 bytes with one member, an array with its place in another one 64, and the
    text or number behind a comma or a colon 58 besides its own; a text has up to four for each character when one of
    them is no ASCII. What stands inside strings is text, and nothing else.
    """
    size = len(body)
    if codec is BYTES:
        return size
    escapes = b"\\" in body and b"\\u" in body  # a single byte is found much quicker
    texts = size if body.isascii() and not escapes else 4 * size
    marks = _marks(body)
    if marks > WEIGHED and b'"' in body:
        marks = _marks(strict_json.outside_strings(body))
    return texts + marks


def _marks(body: bytes) -> int:
    objects, arrays = body.count(b"{"), body.count(b"[")
    if objects + arrays > strict_json.MAX_CONTAINERS:  # it is refused before any is made
        objects, arrays = strict_json.MAX_CONTAINERS, 0
    return 134 * objects + 64 * arrays + 58 * (body.count(b",") + body.count(b":"))


def frame(body: bytes) -> bytes:
    """A message as it goes over a stream. The length is minimal: the Rust peer hangs up on any other."""
    size = len(body)
    return (_ONE_BYTE[size] if size < 128 else varint.encode(size)) + body


def unframe(maximum: int) -> Exchange[bytes]:
    """Read one message of at most ``maximum`` bytes, refused as soon as its length is known: ``Malformed``."""
    try:
        length = yield from varint.read(maximum=maximum)
    except DecodeError as error:
        advice = f"; at most {maximum} bytes, see max_request and max_response of the RequestProtocol"
        raise Malformed(f"message length: {error}{advice}") from None
    return (yield length)
