"""Noise as a ``Security``: the handshake in, a channel of records out (seams.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stronghold_p2p.exchange import Exchange
from stronghold_p2p.identity import PeerId
from stronghold_p2p.noise.libp2p import Handshaken, secure
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.noise.records import Opener, Sealer, Workspace
from stronghold_p2p.seams import Secured

NOISE: Final = "/noise"


class NoiseChannel(Opener, Sealer):
    """Both directions of one connection."""

    header_size = 2

    def __init__(self, handshaken: Handshaken, space: Workspace) -> None:
        Opener.__init__(self, handshaken.receive, space)
        Sealer.__init__(self, handshaken.send, space)

    def body_size(self, header: bytes) -> int:
        return int.from_bytes(header, "big")


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
