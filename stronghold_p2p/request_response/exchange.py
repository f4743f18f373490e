"""What requester and responder share: one message from a stream, and what the firewall is shown of a request."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeVar

from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, Malformed, P2PError, Rejected
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.firewall.rules import Attempt, Direction, variant_of
from stronghold_p2p.request_response.codecs.codec import unframe

if TYPE_CHECKING:
    from stronghold_p2p.connection.connection import Connection
    from stronghold_p2p.connection.live import LiveConnection
    from stronghold_p2p.identity import PeerId
    from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
    from stronghold_p2p.streams.live import LiveStream

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")

CHUNK: Final = 65_536
_SHORT: Final = 127


def short(piece: bytes, maximum: int) -> bytes:
    """The message that ``piece`` is, if it is a whole one with a length of one byte: the usual one needs no parser."""
    if not piece:
        return b""
    size = piece[0]
    return piece[1:] if len(piece) == size + 1 and size <= maximum and size <= _SHORT else b""


async def receive(stream: LiveStream, maximum: int, piece: bytes = b"") -> bytes | None:
    """One message of at most ``maximum`` bytes, which begins with ``piece``; None if the stream ends instead.

    ``Malformed``: longer (said as soon as the length is read), cut short, or with bytes behind it.
    """
    piece = piece or await stream.read(CHUNK)
    if not piece:
        return None
    runner = ExchangeRunner(unframe(maximum))
    runner.start()
    try:
        runner.feed(piece)
        while not runner.done:
            piece = await stream.read(CHUNK)
            if not piece:
                raise Malformed("the stream ended inside a message", peer=stream.peer)
            runner.feed(piece)
    finally:
        runner.close()
    if runner.leftover:
        raise Malformed("bytes behind the message", peer=stream.peer)
    return runner.result


def attempt_of(
    connection: LiveConnection | Connection,
    protocol: RequestProtocol[Rq, Rs],
    message: Rq,
    *,
    direction: Direction,
    deadline: float,
) -> Attempt:
    """A request as the firewall sees it, under the first of the protocol's ids."""
    view: Any = message if protocol.view is None else protocol.view(message)
    return Attempt(
        peer=connection.peer,
        protocol=protocol.ids[0],
        direction=direction,
        address=connection.remote_address,
        deadline=deadline,
        variant=variant_of(view),
        view=view,
    )


def kept_back(connection: LiveConnection, what: str) -> P2PError:
    """The error for ``what`` our own firewall does not let out; a no because the connection has ended is none."""
    if connection.closed:
        ended = ConnectionClosed("the connection ended while our own firewall asked")
        ended.__cause__ = connection.error
        return ended
    told = f"our own firewall keeps this {what} back: see firewall.rules()"
    return Rejected(told, peer=connection.peer, local=True)


class Place:
    """How many requests run with one peer. Requests share it; the last one to leave takes it away."""

    __slots__ = ("peer", "requests")

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.requests = 0


class Places:
    """How many requests run at once with each peer, at most ``maximum`` (None: any number)."""

    def __init__(self, maximum: int | None) -> None:
        self._maximum = math.inf if maximum is None else maximum
        self._places: dict[bytes, Place] = {}  # by the peer's multihash, whose hash costs no call

    def enter(self, peer: PeerId) -> Place:
        """Take a place, to be given back with ``leave``; ``LimitExceeded`` at once if there is none."""
        place = self._places.get(peer.multihash)
        if place is None:
            place = self._places[peer.multihash] = Place(peer)
        if place.requests >= self._maximum:
            self.leave(place, 0)
            raise LimitExceeded(
                f"requests_per_peer {place.requests}/{self._maximum} with {peer}: "
                "wait for one to end, or raise it in Limits",
                limit="requests_per_peer",
                current=place.requests,
                maximum=int(self._maximum),
                peer=peer,
            )
        place.requests += 1
        return place

    def leave(self, place: Place, requests: int = 1) -> None:
        """Give one place back."""
        place.requests -= requests
        if not place.requests:
            del self._places[place.peer.multihash]

    @property
    def taken(self) -> int:
        """Requests that are running, of all peers together."""
        return sum(place.requests for place in self._places.values())
