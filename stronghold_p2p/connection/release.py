"""What keeps a connection that is over from holding itself: it goes with the last one who holds it.

Without this it stays until the next full collection, and with it all that it has: two keyed ciphers of OpenSSL are
more than a third of its memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stronghold_p2p.connection.connection import Connection
    from stronghold_p2p.streams.stream import Stream
    from stronghold_p2p.yamux import StreamState


class Tie:
    """What a session calls instead of its connection, which cuts it at the end.

    A session and its receiver hold each other; what they hold stays as long as they do.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection: Connection | None = connection

    def accept(self, state: StreamState) -> Stream:
        assert self.connection is not None
        return self.connection.accept(state)

    def notify(self) -> None:
        if self.connection is not None:
            self.connection.flush_soon()

    def early(self) -> None:
        if self.connection is not None:
            self.connection.send_early()


def forget_frames(error: BaseException) -> None:
    """The frames of an error, and of what led to it, hold everybody who was at work, the holder of the error too."""
    waiting = [error]
    while waiting:
        one = waiting.pop()
        one.__traceback__ = None
        waiting += [before for before in {one.__cause__, one.__context__} if before is not None]
