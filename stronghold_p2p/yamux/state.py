"""One stream as the session sees it: two half-streams, two windows, and who is told about it.

A stream is two independent directions. Ours is open until we send FIN, the peer's until its FIN arrives;
with both sent the stream is gone, and a RST ends both at once (yamux/README.md, "Closing a stream").
"""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

from stronghold_p2p.yamux.header import ACK, INITIAL_WINDOW, SYN
from stronghold_p2p.yamux.window import ReceiveWindow


class Sink(Protocol):
    """What the session tells the owner of a stream. Called from inside ``Session.receive``: never block,
    never call back into application code.
    """

    def data(self, piece: bytes | memoryview) -> None:
        """Bytes of the body, in order, within the window."""

    def end(self) -> None:
        """The peer sent FIN: nothing more will come."""

    def failed(self, error: Exception) -> None:
        """The stream was reset, or the connection ended."""

    def ready(self) -> None:
        """Writing may go on: there is credit, or room in the connection's buffer."""


class Intake(Protocol):
    """Takes what arrives on a stream while its protocol is negotiated; ends with ``Stream.negotiated``."""

    def data(self, piece: bytes | memoryview) -> None: ...

    def end(self) -> None: ...

    def failed(self, error: Exception) -> None: ...


class _Nobody:
    """Takes the place of a sink that needs no more telling."""

    def data(self, piece: bytes | memoryview) -> None:
        """Nobody reads."""

    def end(self) -> None:
        """Nobody waits."""

    def failed(self, error: Exception) -> None:
        """Nobody asks why."""

    def ready(self) -> None:
        """Nobody writes."""


NOBODY: Final = _Nobody()


class StreamState:
    """Bookkeeping of one stream. ``credit`` is what we may still send."""

    __slots__ = (
        "acknowledged",
        "closing_at",
        "credit",
        "discarding",
        "fin_received",
        "fin_sent",
        "first",
        "gone",
        "held",
        "id",
        "inbound",
        "sink",
        "stalled",
        "window",
    )

    def __init__(self, stream_id: int, window: ReceiveWindow, *, inbound: bool) -> None:
        self.sink: Sink = NOBODY
        self.id = stream_id
        self.window = window
        self.inbound = inbound
        self.credit = INITIAL_WINDOW
        self.first = ACK if inbound else SYN  # goes with our first frame; 0 once it has
        self.acknowledged = inbound
        self.fin_sent = False
        self.fin_received = False
        self.gone = False
        self.discarding = False
        self.stalled = False
        self.held = b""  # a short piece that leaves together with the next write
        self.closing_at = inf  # when the shell ends it: its time is over, or we closed it and the peer did not
