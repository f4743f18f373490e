"""Noise as libp2p speaks it: ``Noise_XX_25519_ChaChaPoly_SHA256``, and nothing else of the framework.

From the inside out, in the order and with the names of the Noise specification: ``cipher`` (CipherState),
``symmetric`` (SymmetricState), ``handshake`` (HandshakeState and the pattern). Around them what libp2p adds
(noise/README.md): ``payload`` proves an identity inside the handshake, ``records`` carries everything after it, and
``libp2p`` frames the three messages and is what the rest of the stack sees. The handshake ends in another type than it
began with: a ``Secured`` names the peer, and nobody can read or write before there is one.
"""
