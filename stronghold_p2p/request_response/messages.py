"""What a handler of requests is given: a tuple, because each request makes one."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from stronghold_p2p.connection.live import Connection
from stronghold_p2p.identity import PeerId

M = TypeVar("M")


class Request(NamedTuple, Generic[M]):
    """One request that the firewall let through.

    ``id`` counts this network's inbound requests and is never used twice; ``peer`` is the authenticated one;
    ``deadline`` is when an answer is of no more use, in the event loop's seconds.
    """

    id: int
    peer: PeerId
    message: M
    protocol: str
    connection: Connection
    deadline: float
