"""What a requester does while the application works on its request: it may leave, and must not send any more."""

from __future__ import annotations

from stronghold_p2p.codes import Reset
from stronghold_p2p.streams.live import Intake, LiveStream


class Watch(Intake):
    """From its beginning to ``stop`` it takes what arrives on the stream, and cancels the handler if the stream fails.

    ``error`` is why the stream has failed. Only an end may arrive: the requester may close its side before it has the
    answer, but bytes behind the request reset the stream.
    """

    __slots__ = ("_stream", "error")

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self.error: Exception | None = None
        stream.intake = self

    def stop(self) -> None:
        if self._stream.intake is self:
            self._stream.intake = None

    def data(self, piece: bytes | memoryview) -> None:
        if len(piece):
            self._stream.reset(Reset.PROTOCOL_VIOLATION)

    def failed(self, error: Exception) -> None:
        self.error = error
        self._stream.connection.handlers.cancel_one(self._stream, str(error))
