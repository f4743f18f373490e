"""Memory in which what came in one callback is put together, and frames of ours.

Fresh memory for each costs more than masking does: it is asked of the system, zeroed, and given back again and again
(``python -m benchmarks.frames``).
"""

from typing import Final

from stronghold_p2p.seams import Buffer

SPACE: Final = 512 << 10  # two inboxes of a socket; memory that nobody has touched is none


class Space:
    """For all WebSockets of an event loop, as each uses it within one call only: ``begin``, ``take``, ``taken``."""

    def __init__(self) -> None:
        self.sent = memoryview(bytearray(SPACE))
        self._received = memoryview(bytearray(SPACE))
        self._single: Buffer = b""
        self._filled = 0

    def begin(self, kept: bytes) -> None:
        """``kept`` stands in front of what is to come."""
        self._single = kept
        self._filled = 0

    def take(self, piece: Buffer) -> None:
        """One more piece. A single one stays where it is."""
        if self._single:
            single, self._single = self._single, b""
            self._add(single)
            self._add(piece)
        elif self._filled:
            self._add(piece)
        else:
            self._single = piece

    def taken(self) -> memoryview:
        """All of it in one piece, valid until ``begin``."""
        single, self._single = self._single, b""
        return memoryview(single) if single else self._received[: self._filled]

    def _add(self, piece: Buffer) -> None:
        end = self._filled + len(piece)
        if end > len(self._received):
            grown = memoryview(bytearray(2 * end))
            grown[: self._filled] = self._received[: self._filled]
            self._received = grown
        self._received[self._filled : end] = piece
        self._filled = end
