"""Noise as libp2p speaks it: ``Noise_XX_25519_ChaChaPoly_SHA256``, and nothing else of the framework.

From the inside out, in the order and with the names of the Noise specification: ``cipher`` (CipherState),
``symmetric`` (SymmetricState), ``handshake`` (HandshakeState and the pattern). Around them what libp2p adds
(noise/README.md): ``payload`` proves an identity inside the handshake, ``exchange`` frames its three
messages, ``records`` carries everything after it. The handshake ends in another type than it began with:
whoever holds a ``Secured`` knows who is at the other end, and can neither read nor write before.
"""

from stronghold_p2p.noise.exchange import Secured, secure
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.noise.records import Opener, Sealer

__all__ = ["Opener", "Sealer", "Secured", "StaticKeys", "secure"]
