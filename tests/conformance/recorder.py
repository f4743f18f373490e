"""What goes over the streams of our connections, written down while it does: bytes, FIN and RST, each way, in order.

Taken where the secure channel ends, so it is the plaintext of Yamux, whatever the streams' owners make of it.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import Literal

from stronghold_p2p import Network
from stronghold_p2p.seams import Deliver, Muxer, MuxerUser, Pieces, SecureChannel, Secured, Wire, Write
from stronghold_p2p.yamux.header import DATA, FIN, HEADER, HEADER_SIZE, RST, WINDOW_UPDATE

Side = Literal["crate", "ours"]
Step = tuple[int, Side, str, float]

WORTH_A_WORD = 0.5
FIN_STEP, RST_STEP = "<FIN>", "<RST>"


class Tape:
    """What went over one connection, in the order in which we heard and said it.

    ``steps`` are bytes as latin-1 text, ``<FIN>`` or ``<RST>``; a stream is named by its number in Yamux: even ones
    were opened by whoever was dialed. The last of a step is for how many seconds nothing had happened before the crate
    spoke, if that is worth a word: then it had a reason to wait.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._unfinished: dict[Side, bytearray] = {"crate": bytearray(), "ours": bytearray()}
        self._last = monotonic()

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
        now = monotonic()
        quiet, self._last = round(now - self._last, 1), now
        texts = [body.decode("latin-1")] if body else []
        texts += [FIN_STEP] if flags & FIN else []
        texts += [RST_STEP] if flags & RST else []
        for text in texts:
            self.steps.append((stream, side, text, quiet if side == "crate" and quiet >= WORTH_A_WORD else 0.0))
            quiet = 0.0


class Recorded:
    """A ``SecureChannel`` that writes down what goes through ``channel``."""

    def __init__(self, channel: SecureChannel, tape: Tape) -> None:
        self._channel = channel
        self._tape = tape
        self.header_size = channel.header_size
        self.body_size = channel.body_size

    def open(self, view: memoryview, deliver: Deliver) -> int:
        def delivered(data: bytes | memoryview) -> bool | None:
            self._tape.add("crate", data)
            return deliver(data)

        return self._channel.open(view, delivered)

    def seal(self, pieces: Pieces, size: int, write: Write) -> None:
        for piece in pieces:
            self._tape.add("ours", piece)
        self._channel.seal(pieces, size, write)


def recorded(network: Network) -> list[Tape]:
    """From now on each connection of the network has a tape, which is appended."""
    tapes: list[Tape] = []
    (factory,) = network._swarm.upgrader.settings.muxers
    start = factory.start

    def taped(wire: Wire, secured: Secured, early: bytes, user: MuxerUser, *, dialer: bool) -> Muxer:
        tapes.append(tape := Tape())
        tape.add("crate", early)
        return start(wire, replace(secured, channel=Recorded(secured.channel, tape)), early, user, dialer=dialer)

    factory.start = taped  # type: ignore[method-assign]
    return tapes
