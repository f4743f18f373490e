"""A record layer's ``open`` as a function, and its workspace shown to keep nothing."""

from __future__ import annotations

from stronghold_p2p.noise.records import Opener, Workspace
from stronghold_p2p.seams import SecureChannel

SPACE = Workspace()


def opened(opener: Opener | SecureChannel, wire: bytes | bytearray | memoryview) -> tuple[list[bytes], int]:
    """The plaintexts of the records at the front of ``wire``, and how many bytes those took."""
    plaintexts: list[bytes] = []

    def deliver(plaintext: bytes | memoryview) -> None:
        plaintexts.append(bytes(plaintext))
        SPACE.opened[:] = bytes(len(SPACE.opened))

    view = memoryview(wire)
    used = opener.open(view, deliver, SPACE) if isinstance(opener, Opener) else opener.open(view, deliver)
    return plaintexts, used
