"""A wire in the hands of the test, for what goes around it, and somebody who takes what comes out above."""

from __future__ import annotations

from multiaddr import Multiaddr

from stronghold_p2p.seams import NOBODY, WireUser

HERE, THERE = Multiaddr("/ip4/192.0.2.1/tcp/1"), Multiaddr("/ip4/192.0.2.2/tcp/2")


class Below:
    """Keeps what is written, and what its user has left."""

    def __init__(self) -> None:
        self.user: WireUser = NOBODY
        self.local, self.remote = HERE, THERE
        self.host: str | None = "192.0.2.2"
        self.congested = self.lost = False
        self.unsent, self.delivered = 7, 11
        self.written: list[bytes] = []
        self.kept = b""
        self.paused = self.finished = self.aborted = False
        self.fills = False  # what is written only waits

    @property
    def partial(self) -> bool:
        return bool(self.kept)

    @property
    def said(self) -> bytes:
        """What was written since this was asked last."""
        said = b"".join(self.written)
        self.written.clear()
        return said

    def hear(self, data: bytes) -> None:
        data, self.kept = self.kept + data, b""
        self.kept = data[self.user.received(memoryview(data)) :]

    def write(self, data: bytes | memoryview) -> None:
        self.written.append(bytes(data))
        self.congested = self.fills

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True
        self.end()

    def end(self, error: Exception | None = None) -> None:
        if not self.lost:
            self.lost = True
            user, self.user = self.user, NOBODY
            user.ended(error)


class Above:
    """Takes ``unit`` bytes at a time, and knows what it was told."""

    def __init__(self, unit: int = 1) -> None:
        self.unit = unit
        self.pieces: list[bytes] = []
        self.told: list[str] = []
        self.error: Exception | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    def received(self, view: memoryview) -> int:
        used = len(view) - len(view) % self.unit
        if used:
            self.pieces.append(bytes(view[:used]))
        return used

    def writable(self) -> None:
        self.told.append("writable")

    def ended(self, error: Exception | None) -> None:
        self.told.append("ended")
        self.error = error
