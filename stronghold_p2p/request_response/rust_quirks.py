"""What exists only because of the first library of this name, a Rust crate (0.4.2), and how it refuses a protocol.

A request goes out together with the proposal of its protocol. A peer that does not serve the protocol refuses it in a
word of the negotiation, and skips what stood behind the proposal (multistream-select, lazy negotiation). The crate
does not skip it: it takes the request for the next word of the negotiation, finds nonsense, and either closes the
connection or resets the stream; its Yamux sends the reset first, and the refusal is lost
(parity 3; seen with 0.4.2, docs/conformance.md). So neither end says whether the request was refused or has been acted
on. ``another_stream`` finds out, by a proposal without a request behind it.
"""

import math
from dataclasses import dataclass

from stronghold_p2p.errors import ConnectionClosed, StreamReset, UnsupportedProtocol
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.negotiation import unsupported
from stronghold_p2p.swarm.host import Host


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request whose ``stream``, which had proposed ``tried``, has ended. An answer has to come by ``due``."""

    stream: LiveStream
    tried: str
    ids: tuple[str, ...]
    due: float


async def another_stream(swarm: Host, error: UnsupportedProtocol | StreamReset, request: Unanswered) -> LiveStream:
    """A stream on which the request may be sent once more; raises what has become of the request if it may not."""
    if isinstance(error, UnsupportedProtocol):
        return await _after_refusal(swarm, request)
    return await _after_reset(swarm, error, request)


async def _after_refusal(swarm: Host, request: Unanswered) -> LiveStream:
    """The peer has refused ``tried``: nobody has seen the request, and another id may be served."""
    others = tuple(name for name in request.ids if name != request.tried)
    served = swarm.peer_protocols.get(request.stream.peer, frozenset())
    # A peer that serves this id, or has told that it serves none of the others, rejects us by its firewall.
    if not others or request.tried in served or (served and served.isdisjoint(others)):
        raise unsupported(request.ids)
    try:
        return await _agreed(swarm, request, others)
    except ConnectionClosed as error:  # the crate hangs up behind its refusal
        raise unsupported(request.ids) from error


async def _after_reset(swarm: Host, error: StreamReset, request: Unanswered) -> LiveStream:
    """The stream was reset. If that was a refusal without a word, the peer refuses ``tried`` now as well.

    If it accepts ``tried`` now, the reset is all that is known: the peer may have acted on the request.
    """
    if error.code or request.stream.protocol:  # the reset has a reason, or came after the protocol was agreed on
        raise error
    other = await _agreed(swarm, request, request.ids)
    if other.protocol == request.tried:
        other.reset()
        raise error
    return other


async def _agreed(swarm: Host, request: Unanswered, ids: tuple[str, ...]) -> LiveStream:
    """A stream to the same peer under the first of ``ids`` that it accepts."""
    left = None if request.due == math.inf else request.due - swarm.loop.time()
    async with Deadline(left, "negotiate", peer=request.stream.peer):
        stream: LiveStream = await request.stream.connection.open_stream(*ids, wait=True)
    return stream
