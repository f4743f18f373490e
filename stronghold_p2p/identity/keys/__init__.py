"""Our own key pair and the file that it is kept in."""

from stronghold_p2p.identity.keys.identity import Identity

__all__ = ["Identity"]
