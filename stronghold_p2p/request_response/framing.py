"""One message on a stream: how it is written, and how it is read from pieces (parity 1)."""

from typing import Final, TypeVar

from stronghold_p2p.errors import LimitExceeded, Malformed
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.identity import PeerId
from stronghold_p2p.per_peer import Hold
from stronghold_p2p.request_response.codecs.codec import Codec, frame, malformed, unframe
from stronghold_p2p.streams.live import LiveStream

T = TypeVar("T")

CHUNK: Final = 65_536


def write(codec: Codec[T], message: T, maximum: int, part: str, peer: PeerId | None) -> bytes:
    """``message`` as it goes over a stream.

    ``part`` is ``request`` or ``response``. ``Malformed``: the codec has no form for it; ``LimitExceeded``: its body
    is longer than ``maximum``, which is the ``max_request`` or ``max_response`` of the protocol.
    """
    try:
        body = codec.encode(message)
    except ValueError as error:
        raise malformed(error, part, peer) from error
    if len(body) > maximum:
        limit = f"max_{part}"
        told = f"{limit} {len(body)}/{maximum}: send less, or raise it in the RequestProtocol"
        raise LimitExceeded(told, limit=limit, current=len(body), maximum=maximum, peer=peer)
    return frame(body)


def whole(piece: bytes, maximum: int) -> bytes:
    """The body of the message that ``piece`` is, if it is a whole one whose length takes one byte; else nothing.

    This is the usual message. The parser takes fifteen times as long for it.
    """
    size = len(piece) - 1
    return piece[1:] if 0 < size < 0x80 and size == piece[0] and size <= maximum else b""


async def receive(
    stream: LiveStream, maximum: int, piece: bytes = b"", held: Hold[bytes] | None = None
) -> bytes | None:
    """The body of one message of at most ``maximum`` bytes, which begins with ``piece``; None: the stream ends instead.

    What has come of it is ``held`` (None: not counted), twice: as it is, and as what it becomes at least.
    ``Malformed``: it is longer (raised as soon as the length is read), cut short, or has bytes behind it;
    ``LimitExceeded``: there is no memory for it.
    """
    piece = piece or await stream.read(CHUNK)
    if not piece:
        return None
    runner = ExchangeRunner(unframe(maximum))
    runner.start()
    try:
        runner.feed(piece)
        size = len(piece)
        while not runner.done:
            if held is not None:
                reserve(held, 2 * size, stream.peer)
            piece = await stream.read(CHUNK)
            if not piece:
                raise Malformed("the stream ended inside a message", peer=stream.peer)
            runner.feed(piece)
            size += len(piece)
    finally:
        runner.close()
    if runner.leftover:
        raise Malformed("bytes behind the message", peer=stream.peer)
    return runner.result


def reserve(held: Hold[bytes], size: int, peer: PeerId) -> None:
    """Let ``held`` be ``size`` bytes; ``LimitExceeded``: there is no memory for so many."""
    if held.resize(size):
        return
    memory, whose = held.memory, peer.multihash
    limit, current, maximum = "request_memory", memory.total, memory.maximum if held.preferred() else memory.common
    if memory.size(whose) + size - held.size > memory.share:
        limit, current, maximum = "request_memory_per_peer", memory.size(whose), memory.share
    told = f"{limit} {current}/{maximum:.0f} bytes are taken, and this needs {size}: raise it in Limits"
    raise LimitExceeded(told, limit=limit, current=current, maximum=int(maximum), peer=peer)
