"""What requester and responder share: one message from a stream, and what the firewall is shown of a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
_JSON: Final = (str, int, float, list, dict, bytes, type(None))


async def receive(stream: Stream, maximum: int) -> bytes | None:
    """One message of at most ``maximum`` bytes; None if the stream ends instead.

    ``Malformed``: longer (said as soon as the length is read), cut short, or with bytes behind it.
    """
    runner = ExchangeRunner(unframe(maximum))
    runner.start()
    begun = False
    try:
        while not runner.done:
            piece = await stream.read(CHUNK)
            if not piece:
                if begun:
                    raise Malformed("the stream ended inside a message", peer=stream.peer)
                return None
            begun = True
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

    @contextmanager
    def take(self, peer: PeerId) -> Iterator[None]:
        """A place for the time of the block; ``LimitExceeded`` at once if there is none."""
        if self._maximum is not None and self._taken[peer] >= self._maximum:
            current = self._taken[peer]
            raise LimitExceeded(
                f"{current} of {self._maximum} requests with {peer} are running: wait for one, or raise the limit",
                limit="requests_per_peer",
                current=current,
                maximum=self._maximum,
                peer=peer,
            )
        self._taken[peer] += 1
        try:
            yield
        finally:
            self._taken[peer] -= 1
            if not self._taken[peer]:
                del self._taken[peer]

    @property
    def taken(self) -> int:
        """Requests that are running, of all peers together."""
        return self._taken.total()
