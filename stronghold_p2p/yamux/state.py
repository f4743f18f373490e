"""The two halves of a stream: what each may still do, and what becomes of it.

A stream is two independent directions (yamux/README.md, "Closing a stream"). Ours is open until we send FIN, the peer's
until its FIN arrives; a RST of either side ends both at once, and so does the end of the connection. When we close a
stream as a whole, we stop reading as well: Yamux has no frame for that, so what the peer still sends is dropped until
its FIN comes. With both halves over, the stream is gone and its id is forgotten.

Both tables below are complete: a pair of half and event that is missing cannot happen, and a ``KeyError`` there would
be a fault of ours. docs/architecture.md shows them as diagrams, which are drawn from here.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Sending(IntEnum):
    """Our half. The states are integers, because those are hashed quickest."""

    OPEN = 0
    FINISHED = 1
    RESET = 2


class Receiving(IntEnum):
    """The peer's half."""

    OPEN = 0
    DISCARDING = 1
    FINISHED = 2
    RESET = 3


class Event(IntEnum):
    """We send FIN; we read no more; FIN arrives; RST of either side, or the end of the connection."""

    FINISH = 0
    DISCARD = 1
    FIN = 2
    RESET = 3


SENDING: Final[Mapping[tuple[Sending, Event], Sending]] = {
    (Sending.OPEN, Event.FINISH): Sending.FINISHED,
    (Sending.OPEN, Event.RESET): Sending.RESET,
    (Sending.FINISHED, Event.RESET): Sending.RESET,
}

RECEIVING: Final[Mapping[tuple[Receiving, Event], Receiving]] = {
    (Receiving.OPEN, Event.DISCARD): Receiving.DISCARDING,
    (Receiving.OPEN, Event.FIN): Receiving.FINISHED,
    (Receiving.OPEN, Event.RESET): Receiving.RESET,
    (Receiving.DISCARDING, Event.DISCARD): Receiving.DISCARDING,
    (Receiving.DISCARDING, Event.FIN): Receiving.FINISHED,
    (Receiving.DISCARDING, Event.RESET): Receiving.RESET,
    (Receiving.FINISHED, Event.DISCARD): Receiving.FINISHED,
    (Receiving.FINISHED, Event.RESET): Receiving.RESET,
}
