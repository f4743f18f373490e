"""Our end of a circuit: a stream as a wire, which knows what the relay lets it carry.

The relay counts, and ends a circuit without a word: a go relay lets the target read a clean end, and the source write
into nothing (docs/peers.md). So we count, too. At the limit the connection ends at once with ``CircuitLimit``, instead
of waiting for somebody who cannot hear of it. What still fits is sent, and then our end of the stream: the other has
counted as much then, and knows why there is no more.
"""

from collections.abc import Callable
from math import inf

from multiaddr import Multiaddr

from stronghold_p2p.errors import CircuitLimit
from stronghold_p2p.relay.allowance import Allowance, Meter
from stronghold_p2p.seams import Limited
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.transport.stream_wire import StreamWire

NEARLY = 0.98  # of its time, or of its data: js and rust count both directions together, and each relay has its clock


LINGER = 10.0  # seconds for what still fits to leave


class CircuitWire(StreamWire):
    """``allowance`` is what the relay has told when the circuit began."""

    def __init__(
        self, stream: LiveStream, local: Multiaddr, remote: Multiaddr, clock: Callable[[], float], allowance: Allowance
    ) -> None:
        self.allowance = allowance
        self._began = clock()
        self._struck = False  # we have sent all that we may
        self._look_at = stream.connection.look_at
        self._sent, self._received = Meter(allowance, self._began), Meter(allowance, self._began)
        super().__init__(stream, local, remote, clock)

    @property
    def rest(self) -> Limited | None:
        if not self.allowance.limited:
            return None
        return Limited(data=self._sent.left, seconds=max(0.0, self._sent.ends - self._clock()))

    def write(self, data: bytes | memoryview) -> None:
        if self.lost:
            return
        fits = self._sent.take(len(data))
        super().write(data[:fits])
        if fits < len(data):
            self._struck = True
            self.finish()
            self.failed(self._limit("data"))

    def _let_go(self) -> None:
        if not self._struck or self._end.gone:
            super()._let_go()
            return
        self._end.discard()
        self._end.due = self._clock() + LINGER
        self._look_at(self._end.due)

    def expired(self, now: float) -> None:
        super().expired(now)
        if self.lost and not self._end.gone:
            self._end.reset()

    def data(self, piece: bytes | memoryview) -> None:
        self._received.take(len(piece))
        super().data(piece)

    def failed(self, error: Exception) -> None:
        super().failed(self._why() or error)

    def end(self) -> None:
        why = self._why()
        if why is None:
            super().end()
        else:
            super().failed(why)

    def _why(self) -> CircuitLimit | None:
        """The limit that the relay must have ended the circuit for; None: there is another reason."""
        allowance = self.allowance
        if self._sent.used + self._received.used >= allowance.data * NEARLY:
            return self._limit("data")
        passed = self._clock() - self._began
        return self._limit("duration") if allowance.duration < inf and passed >= allowance.duration * NEARLY else None

    def _limit(self, limit: str) -> CircuitLimit:
        allowance = self.allowance
        if limit == "data":
            told = f"the relay carries {allowance.data:.0f} bytes each way for a circuit, and no more"
            return CircuitLimit(told, limit=limit, maximum=allowance.data)
        told = f"the relay lets a circuit last {allowance.duration:g} s, and no longer"
        return CircuitLimit(told, limit=limit, maximum=allowance.duration)
