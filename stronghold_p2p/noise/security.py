"""Noise as a ``Security``: the handshake in, a channel of records out (seams.py)."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from stronghold_p2p.exchange import Exchange
from stronghold_p2p.identity import PeerId
from stronghold_p2p.noise.libp2p import Handshaken, secure
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.noise.records import Opener, Sealer, Workspace
from stronghold_p2p.seams import Deliver, Pieces, Secured, Write

NOISE: Final = "/noise"

_LENGTH: Final = Struct(">H")


class NoiseChannel:
    """Both directions of one connection. ``space`` is where large records are worked on; connections share it."""

    __slots__ = ("_opener", "_sealer", "_space")

    header_size = _LENGTH.size

    def __init__(self, handshaken: Handshaken, space: Workspace) -> None:
        self._opener = Opener(handshaken.receive)
        self._sealer = Sealer(handshaken.send)
        self._space = space

    def body_size(self, header: bytes) -> int:
        size: int = _LENGTH.unpack(header)[0]
        return size

    def open(self, view: memoryview, deliver: Deliver) -> int:
        return self._opener.open(view, deliver, self._space)

    def seal(self, pieces: Pieces, size: int, write: Write) -> None:
        self._sealer.seal_pieces(pieces, self._space, write, size)


class Noise:
    """For one network: its static ``keys``, a source of ``random`` bytes, and memory that its connections share."""

    id = NOISE

    def __init__(self, keys: StaticKeys, random: Callable[[int], bytes]) -> None:
        self._keys = keys
        self._random = random
        self._space = Workspace()

    def handshake(self, *, initiator: bool, expected: PeerId | None, muxers: tuple[str, ...]) -> Exchange[Secured]:
        """``PeerIdMismatch`` or ``HandshakeError``: the wire is then to be closed."""
        done = yield from secure(
            initiator=initiator, local=self._keys, expected=expected, muxers=muxers, random=self._random
        )
        return Secured(done.peer, done.public_key, NoiseChannel(done, self._space), done.early_muxer)
