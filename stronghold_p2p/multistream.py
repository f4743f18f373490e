"""multistream-select 1.0: two sides agree on what is spoken next, on a connection or on one stream.

Every message is ``uvarint(n) ‖ UTF-8 text ‖ \\n``, where n counts the newline. Both sides send the header
``/multistream/1.0.0``; the dialer proposes one protocol at a time; the listener echoes the one it accepts
and answers ``na`` to any other. The dialer never waits for the listener's header before its own proposal,
so a negotiation that succeeds costs one round trip, and with ``lazy`` none: the next layer's first bytes
leave together with the proposal.

Spec: multiformats/multistream-select README; libp2p specs connections/README.md, Protocol Negotiation.
The generators follow ``exchange.Exchange``; every fault of the peer is a ``NegotiationError``.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import ConfigError, DecodeError, NegotiationError
from stronghold_p2p.exchange import Exchange

T = TypeVar("T")

MAX_LINE = 1024  # bytes of one message, newline included: what go and js accept
MAX_PROPOSALS = 64  # messages that a listener reads after the header before it gives up
_PREFIX_BYTES = 2
_CACHED = 256


@lru_cache(_CACHED)
def message(name: str) -> bytes:
    """One message on the wire. ``ConfigError`` for a name that is empty, too long, broken over lines or not UTF-8."""
    try:
        text = name.encode()
    except UnicodeEncodeError:
        raise ConfigError("a protocol name must be valid Unicode", where="protocol") from None
    if not text or b"\n" in text or b"\r" in text:
        raise ConfigError(f"{name!r:.80} is no protocol name: empty, or broken over lines", where="protocol")
    if len(text) >= MAX_LINE:
        raise ConfigError(f"a protocol name has at most {MAX_LINE - 1} bytes, not {len(text)}", where="protocol")
    return varint.encode(len(text) + 1) + text + b"\n"


_HEADER_NAME = "/multistream/1.0.0"
HEADER = message(_HEADER_NAME)
NA = message("na")
_FIRST = len(HEADER) + 1

# Neither is a protocol: ``ls`` was removed from go and its answer may not be relied on, and a header that
# comes twice is answered as go does. Both get ``na`` and never reach the caller's table.
_NEVER = frozenset({_HEADER_NAME, "ls", "na"})


@lru_cache(_CACHED)
def propose(protocol: str) -> bytes:
    """The whole first flight of a dialer that knows what it wants; who accepts answers with the same bytes."""
    return HEADER + message(protocol)


def match_first(data: bytes | bytearray | memoryview) -> tuple[str, int] | None:
    """The protocol that ``data`` proposes and the bytes this took, if a whole first flight is there.

    The fast path of ``listen``, which takes over from the first byte where this is ``None``, as for a name whose length
    takes two bytes, or where the caller does not serve the protocol; ``propose`` gives the answer where it does.
    """
    if len(data) <= _FIRST:
        return None
    size = data[_FIRST - 1]
    end = _FIRST + size
    if size > 0x7F or len(data) < end:  # a length of two bytes is rare
        return None
    name = _flight(bytes(data[:end]))
    return None if name is None else (name, end)


@lru_cache(_CACHED)
def _flight(data: bytes) -> str | None:
    """The proposal of a first flight; peers repeat theirs on every stream."""
    if data[: len(HEADER)] != HEADER or len(data) < _FIRST + 2:
        return None
    try:
        name = _name(data[_FIRST:])
    except NegotiationError:
        return None
    return None if name in _NEVER else name


def dial(protocols: Sequence[str]) -> Exchange[str]:
    """Propose ``protocols`` in the order of preference; the result is the one that the listener echoed.

    ``NegotiationError``, with ``refused`` when the listener answered ``na`` to all of them. An answer that
    is neither ``na`` nor the echo, byte for byte, ends the negotiation: there is no closest match
    (connections/README.md, Protocol Negotiation).
    """
    greeted = False
    for protocol in protocols:
        if greeted:
            yield message(protocol)
        else:
            yield propose(protocol)
            yield from _read_header()
            greeted = True
        if (yield from _read_answer(protocol)):
            return protocol
    raise NegotiationError("the peer speaks none of the protocols offered", refused=True)


def listen(supported: Callable[[str], bool]) -> Exchange[str]:
    """Answer a dialer; the result is the protocol that was accepted.

    ``supported`` decides, by exact name. Every other proposal is answered ``na``, and so are ``ls`` and a
    repeated header. After ``MAX_PROPOSALS`` messages, ``NegotiationError`` with ``refused``.

    Our header follows the dialer's, before the proposal is looked at, because some dialers propose only
    after they have seen it; when both arrived together, header and answer leave in one piece.
    """
    yield from _read_header()
    yield HEADER
    for _ in range(MAX_PROPOSALS):
        name = yield from _read_line()
        if name not in _NEVER and supported(name):
            yield message(name)
            return name
        yield NA
    raise NegotiationError(f"{MAX_PROPOSALS} proposals, none of them served", refused=True)


def confirm(protocol: str) -> Exchange[None]:
    """Read the answer to ``propose``. ``NegotiationError``, with ``refused`` when it is ``na``."""
    yield from _read_header()
    if not (yield from _read_answer(protocol)):
        raise NegotiationError(f"the peer does not speak {protocol}", refused=True)


def lazy(protocol: str, inner: Exchange[T]) -> Exchange[T]:
    """Run ``inner`` as if ``protocol`` were agreed on: its first writes leave together with the proposal.

    Before the first byte reaches ``inner`` the answer is confirmed, so nothing of a peer that refused, or
    that answered something else, is taken for the next layer's (``NegotiationError``). The result is that
    of ``inner``, which is closed whatever happens. ``inner`` must be fresh.
    """
    flight: list[bytes] | None = [propose(protocol)]
    reply: bytes | None = None
    try:
        while True:
            try:
                step = inner.send(reply)  # type: ignore[arg-type]  # None begins it
            except StopIteration as stop:
                if flight is not None:
                    yield b"".join(flight)
                    yield from confirm(protocol)
                return stop.value  # type: ignore[no-any-return]
            if flight is None:
                reply = yield step
            elif isinstance(step, bytes):
                flight.append(step)
                reply = b""
            else:
                yield b"".join(flight)
                flight = None
                yield from confirm(protocol)
                reply = yield step
    finally:
        inner.close()


def _read_header() -> Exchange[None]:
    # Anything longer is no header: a peer that skips the negotiation is found by its first bytes.
    try:
        name = yield from _read_line(longest=len(_HEADER_NAME) + 1)
    except NegotiationError as error:
        raise NegotiationError(f"the other side is no libp2p peer, or no byte of it is multistream: {error}") from None
    if name != _HEADER_NAME:
        raise NegotiationError(f"{name!r:.80} where the multistream header was expected")


def _read_answer(protocol: str) -> Exchange[bool]:
    name = yield from _read_line()
    if name == protocol:
        return True
    if name == "na":
        return False
    raise NegotiationError(f"{name!r:.80} in answer to {protocol}")


def _read_line(longest: int = MAX_LINE) -> Exchange[str]:
    """The text of one message. The length is judged when its last byte is read, before any of the body."""
    try:
        size = yield from varint.read(maximum=longest, max_bytes=_PREFIX_BYTES)
    except DecodeError as error:
        raise NegotiationError(f"length of a multistream message: {error}") from None
    if size < 2:
        raise NegotiationError("an empty multistream message")
    return _name((yield size))


def _name(line: bytes) -> str:
    """The text of a message's body, which ends in its only line break."""
    if line[-1:] != b"\n" or b"\r" in line or line.index(b"\n") != len(line) - 1:
        raise NegotiationError("a multistream message is one line, ended by a newline")
    try:
        return line[:-1].decode()
    except UnicodeDecodeError:
        raise NegotiationError("a multistream message that is not UTF-8") from None
