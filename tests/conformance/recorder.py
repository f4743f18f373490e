"""What goes over the streams of our connections, written down while it does: bytes, FIN and RST, each way, in order.

Taken where the secure channel ends, so it is the plaintext of Yamux, whatever the streams' owners make of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from unittest import mock

from stronghold_p2p.config import Limits
from stronghold_p2p.swarm import connection
from stronghold_p2p.yamux import Session
from stronghold_p2p.yamux.header import DATA, FIN, HEADER, HEADER_SIZE, RST, SYN, WINDOW_UPDATE

Side = Literal["crate", "ours"]
Step = tuple[Side, str]

FIN_STEP, RST_STEP = "<FIN>", "<RST>"


@dataclass
class StreamTape:
    """One stream: ``steps`` are bytes as latin-1 text, ``<FIN>`` or ``<RST>``."""

    opener: Side
    steps: list[Step] = field(default_factory=list)

    def add(self, side: Side, text: str) -> None:
        """One more step; our bytes that follow each other are one, the crate's stay apart as it sent them."""
        whole = side == "ours" and not text.startswith("<") and bool(self.steps) and self.steps[-1][0] == side
        if whole and not self.steps[-1][1].startswith("<"):
            text = self.steps.pop()[1] + text
        self.steps.append((side, text))


class ConnectionTape:
    """All streams of one connection, in the order of their opening."""

    def __init__(self) -> None:
        self.streams: dict[int, StreamTape] = {}
        self._unfinished: dict[Side, bytearray] = {"crate": bytearray(), "ours": bytearray()}

    def copy(self) -> ConnectionTape:
        """As it is now: what follows when everything is closed is not of interest."""
        same = ConnectionTape()
        same.streams = {number: StreamTape(tape.opener, list(tape.steps)) for number, tape in self.streams.items()}
        return same

    def add(self, side: Side, plaintext: bytes | bytearray | memoryview) -> None:
        """Plaintext in any pieces."""
        pending = self._unfinished[side]
        pending += plaintext
        while len(pending) >= HEADER_SIZE:
            _, kind, flags, stream, length = HEADER.unpack_from(pending)
            size = HEADER_SIZE + (length if kind == DATA else 0)
            if len(pending) < size:
                return
            if kind in {DATA, WINDOW_UPDATE}:
                self._frame(side, flags, stream, bytes(pending[HEADER_SIZE:size]))
            del pending[:size]

    def _frame(self, side: Side, flags: int, stream: int, body: bytes) -> None:
        if flags & SYN:
            self.streams[stream] = StreamTape(side)
        tape = self.streams[stream]
        if body:
            tape.add(side, body.decode("latin-1"))
        if flags & FIN:
            tape.add(side, FIN_STEP)
        if flags & RST:
            tape.add(side, RST_STEP)


class Recorder:
    """The tapes of every connection of the networks that have these ``Limits`` objects: one object, one network."""

    def __init__(self) -> None:
        self._tapes: dict[int, list[ConnectionTape]] = {}

    def follow(self, limits: Limits) -> list[ConnectionTape]:
        """What will be filled, connection by connection."""
        return self._tapes.setdefault(id(limits), [])

    def tape(self, limits: Limits) -> ConnectionTape:
        tape = ConnectionTape()
        self._tapes.setdefault(id(limits), []).append(tape)
        return tape


@contextmanager
def recording() -> Iterator[Recorder]:
    """Every connection that is made inside has a tape."""
    recorder = Recorder()

    class Recorded(Session):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._tape = recorder.tape(options["limits"])
            deliver = self.deliver

            def delivered(data: bytes | bytearray | memoryview) -> None:
                self._tape.add("crate", data)
                deliver(data)

            self.deliver = delivered

        def data_to_send(self) -> list[bytes | bytearray | memoryview]:
            return self._kept(super().data_to_send())

        def early_data(self) -> list[bytes | bytearray | memoryview]:
            return self._kept(super().early_data())

        def _kept(self, pieces: list[bytes | bytearray | memoryview]) -> list[bytes | bytearray | memoryview]:
            for piece in pieces:
                self._tape.add("ours", piece)
            return pieces

    with mock.patch.object(connection, "Session", Recorded):
        yield recorder
