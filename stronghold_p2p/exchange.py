"""Negotiations and handshakes as generators, and the runner that feeds them.

An ``Exchange`` reads like blocking code and knows no event loop. It yields

* an ``int`` n >= 0: "I need exactly n bytes"; the runner sends them in as ``bytes``;
* ``bytes``: "send these"; the runner sends ``b""`` back at once.

Because it only ever asks for an exact number of bytes, it cannot read too far: what is left over belongs
to the next layer and is handed on (``reference: multistream-select README, lazy negotiation``).
The same generator runs over a socket, over a stream, and in a test over a list of bytes.
"""

from collections.abc import Generator
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

Exchange: TypeAlias = Generator[int | bytes, bytes, T]


class ExchangeRunner(Generic[T]):
    """Runs one exchange over bytes that arrive in any pieces.

    ``start`` and ``feed`` return what has to be sent. After ``done`` the ``result`` is there and
    ``leftover`` holds the bytes that arrived beyond the end. An error of the exchange comes out of
    ``start`` or ``feed``; what it wanted to send before is in ``unsent``.
    """

    __slots__ = ("_buffer", "_exchange", "done", "need", "result", "unsent")

    result: T

    def __init__(self, exchange: Exchange[T]) -> None:
        self._exchange = exchange
        self._buffer = bytearray()
        self.need = 0
        self.done = False
        self.unsent = b""

    @property
    def leftover(self) -> bytes:
        return bytes(self._buffer)

    def start(self) -> bytes:
        return self._advance(None)

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        self._buffer += data
        if self.done or len(self._buffer) < self.need:
            return b""
        return self._advance(self._take())

    def close(self) -> None:
        self._exchange.close()

    def _take(self) -> bytes:
        piece = bytes(self._buffer[: self.need])
        del self._buffer[: self.need]
        return piece

    def _advance(self, reply: bytes | None) -> bytes:
        out: list[bytes] = []
        try:
            while True:
                step = next(self._exchange) if reply is None else self._exchange.send(reply)
                if isinstance(step, int):
                    self.need = step
                    if len(self._buffer) < step:
                        return b"".join(out)
                    reply = self._take()
                else:
                    out.append(step)
                    reply = b""
        except StopIteration as stop:
            self.done, self.result = True, stop.value
            return b"".join(out)
        except BaseException:
            self.unsent = b"".join(out)
            raise
