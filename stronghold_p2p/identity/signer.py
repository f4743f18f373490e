"""What signing needs of a key pair, wherever the private key is kept."""

from __future__ import annotations

from typing import Protocol

from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.public_key import PublicKey


class Signer(Protocol):
    """Signs as ``peer_id``, which is the name of ``public_key``."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def public_key(self) -> PublicKey: ...

    def sign(self, message: bytes, /) -> bytes:
        """The signature over ``message`` that ``public_key`` verifies."""
