"""A record layer's two verbs as functions, and its workspace shown to keep nothing."""

from __future__ import annotations

from stronghold_p2p.noise.records import Opener, Sealer, Workspace
from stronghold_p2p.seams import Buffer, SecureChannel

SPACE = Workspace()


def opened(opener: Opener | SecureChannel, wire: bytes | bytearray | memoryview) -> tuple[list[bytes], int]:
    """The plaintexts of the records at the front of ``wire``, and how many bytes those took."""
    plaintexts: list[bytes] = []

    def deliver(plaintext: bytes | memoryview) -> None:
        plaintexts.append(bytes(plaintext))
        SPACE.opened[:] = bytes(len(SPACE.opened))

    used = opener.open(memoryview(wire), deliver)
    return plaintexts, used


def sealed(sealer: Sealer, *pieces: Buffer) -> bytes:
    """The records of ``pieces``, which are one plaintext."""
    wire = bytearray()
    sealer.seal(pieces, sum(map(len, pieces)), wire.extend)
    return bytes(wire)
