"""What requester and responder share: one message from a stream, and what the firewall is shown of a request."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from stronghold_p2p.errors import LimitExceeded, Malformed
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.firewall.rules import Attempt, Direction
from stronghold_p2p.request_response.codec import unframe, variant_of

if TYPE_CHECKING:
    from stronghold_p2p.identity import PeerId
    from stronghold_p2p.request_response.protocol import RequestProtocol
    from stronghold_p2p.swarm.connection import Connection
    from stronghold_p2p.yamux import Stream

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")

CHUNK: Final = 65_536
_SHORT: Final = 127
_JSON: Final = (str, int, float, list, dict, bytes, type(None))


async def receive(stream: Stream, maximum: int) -> bytes | None:
    """One message of at most ``maximum`` bytes; None if the stream ends instead.

    ``Malformed``: longer (said as soon as the length is read), cut short, or with bytes behind it.
    """
    piece = await stream.read(CHUNK)
    if not piece:
        return None
    # The usual short message comes whole, with a length of one byte: it needs no parser.
    if len(piece) == piece[0] + 1 <= min(maximum, _SHORT) + 1:
        return piece[1:]
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
    connection: Connection,
    protocol: RequestProtocol[Rq, Rs],
    message: Rq,
    *,
    direction: Direction,
    deadline: float,
) -> Attempt:
    """A request as the firewall sees it, under the first of the protocol's ids."""
    view: Any = message if protocol.view is None else protocol.view(message)
    variant = variant_of(view) if isinstance(view, _JSON) else type(view).__name__
    return Attempt(
        peer=connection.peer,
        protocol=protocol.ids[0],
        direction=direction,
        address=connection.remote_address,
        deadline=deadline,
        variant=variant,
        view=view,
    )


class Places:
    """How many requests run at once with each peer, at most ``maximum`` (None: any number)."""

    def __init__(self, maximum: int | None) -> None:
        self._maximum = maximum
        self._taken: Counter[PeerId] = Counter()

    def take(self, peer: PeerId) -> _Place:
        """A place for the time of a ``with`` block; ``LimitExceeded`` at once if there is none."""
        current = self._taken[peer]
        if self._maximum is not None and current >= self._maximum:
            raise LimitExceeded(
                f"{current} of {self._maximum} requests with {peer} are running: wait for one, or raise the limit",
                limit="requests_per_peer",
                current=current,
                maximum=self._maximum,
                peer=peer,
            )
        return _Place(self._taken, peer)

    @property
    def taken(self) -> int:
        """Requests that are running, of all peers together."""
        return self._taken.total()


class _Place:
    """Counted from the beginning of its block to the end; nothing between can lose it."""

    __slots__ = ("_peer", "_taken")

    def __init__(self, taken: Counter[PeerId], peer: PeerId) -> None:
        self._taken = taken
        self._peer = peer

    def __enter__(self) -> None:
        self._taken[self._peer] += 1

    def __exit__(self, *_: object) -> None:
        left = self._taken[self._peer] - 1
        if left:
            self._taken[self._peer] = left
        else:
            del self._taken[self._peer]
