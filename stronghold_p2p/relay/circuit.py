"""A circuit at the relay: what comes on one stream leaves on the other, both ways.

It has no task and no buffer of its own. What has come is kept as it came, in its window, until the other stream takes
it, and only then the sender may send more: so a reader that is slow slows the writer down, and a circuit never holds
more than a window each way. Nothing is copied here: the piece that the muxer has cut out of its record is the one that
the other muxer seals. Pieces move at the end of the turn in which they came, as nobody writes to one connection while
another is at work.

A circuit ends when both directions have, when either stream is reset, when a direction has carried all that it may, or
when its time is over; then both streams are reset at once, so that nobody waits for what will not come.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Final

from stronghold_p2p.codes import Reset
from stronghold_p2p.relay.allowance import Allowance, Meter
from stronghold_p2p.seams import NOBODY, StreamEnd


class End(Enum):
    """Why a circuit is over."""

    FINISHED = "both ends have finished"
    BROKEN = "an end has left"
    DATA = "the data that it may carry is used up"
    DURATION = "the time that it may last is over"
    REFUSED = "the relay's rules do not allow it any more"
    CLOSED = "the relay has closed it"


_CODES: Final = {End.FINISHED: Reset.NONE, End.BROKEN: Reset.NONE, End.CLOSED: Reset.SHUTDOWN, End.REFUSED: Reset.GATED}

# Bytes: pieces that are shorter are put together, as each costs an object. A window of single bytes would be 15 MB.
JOIN_BELOW: Final = 512

Later = Callable[[Callable[[], None]], None]


class Half:
    """One end of a circuit. Takes the place of whoever read and wrote its stream before.

    ``unread`` is what came before, and ``over`` whether the end of it has. ``later(call)`` calls at the end of the
    connection's turn.
    """

    __slots__ = ("_circuit", "_clock", "_due", "_later", "_meter", "_queued", "finished", "other", "over", "stream")

    def __init__(self, circuit: "Circuit", stream: StreamEnd, later: Later, clock: Callable[[], float]) -> None:
        self._circuit = circuit
        self._later = later
        self._clock = clock
        self._meter: Meter
        self._queued: deque[bytes | memoryview] = deque()
        self._due = False
        self.stream = stream
        self.over = self.finished = False
        self.other: Half

    def begin(self, other: "Half", meter: Meter, unread: bytes, *, over: bool) -> None:
        self.other, self._meter, self.over = other, meter, over
        self.stream.sink = self
        self.stream.due = inf
        if unread:
            self._queued.append(unread)
        if unread or over:
            self._soon()

    @property
    def carried(self) -> int:
        """Bytes that have come here and left there."""
        return self._meter.used

    @property
    def left(self) -> float:
        """Bytes that may still come here."""
        return self._meter.left

    def data(self, piece: bytes | memoryview) -> None:
        queued = self._queued
        if queued and len(piece) < JOIN_BELOW and len(queued[-1]) < JOIN_BELOW:
            queued[-1] = b"".join((queued[-1], piece))
        else:
            queued.append(piece)
        self._soon()

    def end(self) -> None:
        self.over = True
        self._soon()

    def failed(self, error: Exception) -> None:
        self._circuit.end(End.BROKEN)

    def ready(self) -> None:
        """Our stream takes more of what has come on the other one."""
        self.other.move(again=True)

    def expired(self, now: float) -> None:
        """The circuit has one deadline, which its service keeps."""

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self._later(self._turn)

    def _turn(self) -> None:
        self._due = False
        self.move()

    def move(self, *, again: bool = False) -> None:
        """Give what has come to the other stream, as far as it has room and the allowance lasts."""
        if self._circuit.over is not None or self.finished:
            return
        target, queued, meter = self.other.stream, self._queued, self._meter
        moved = 0
        while queued:
            piece = queued[0]
            allowed = piece if len(piece) <= meter.left else memoryview(piece)[: int(meter.left)]
            taken = target.send(allowed) if len(allowed) else 0
            meter.take(taken)
            moved += taken
            if taken == len(piece):
                queued.popleft()
                continue
            queued[0] = memoryview(piece)[taken:]
            if not meter.left:
                break
            target.wait_turn(again=again and not moved)
            break
        if moved:
            self.stream.consumed(moved, self._clock)
        if queued and not meter.left:
            self._circuit.end(End.DATA)
        elif self.over and not queued:
            self.finished = True
            target.finish()
            if self.other.finished:
                self._circuit.end(End.FINISHED)

    def drop(self, code: int) -> None:
        self.stream.sink = NOBODY
        self._queued.clear()
        if not self.stream.gone:
            self.stream.reset(code)


class Circuit:
    """Two ends that are one circuit from now on. ``ended`` is told once why it is over."""

    def __init__(self, allowance: Allowance, began: float, ended: Callable[["Circuit", End], None]) -> None:
        self.allowance = allowance
        self.began = began
        self.over: End | None = None
        self._ended = ended
        self._halves: tuple[Half, Half] | None = None

    @property
    def expires(self) -> float:
        """When its time is over; infinite: never."""
        return self.began + self.allowance.duration

    @property
    def carried(self) -> tuple[int, int]:
        """Bytes from the source to the target, and back."""
        if self._halves is None:
            return 0, 0
        return self._halves[0].carried, self._halves[1].carried

    def join(self, source: Half, target: Half, unread: tuple[bytes, bytes], over: tuple[bool, bool]) -> None:
        """``unread`` and ``over`` are what has come on both streams already, in that order."""
        self._halves = source, target
        source.begin(target, Meter(self.allowance, self.began), unread[0], over=over[0])
        target.begin(source, Meter(self.allowance, self.began), unread[1], over=over[1])

    def end(self, why: End) -> None:
        if self.over is not None:
            return
        if why is End.BROKEN and self._halves is not None and not min(half.left for half in self._halves):
            why = End.DATA  # who counts, too, leaves at the limit
        self.over = why
        for half in self._halves or ():
            half.drop(_CODES.get(why, Reset.RESOURCE_LIMIT))
        self._ended(self, why)
