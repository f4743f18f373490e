"""A fault of ours in a wire around a wire: it ends that connection, and is told as what it is."""

import logging

from stronghold_p2p.codes import GoAway
from stronghold_p2p.errors import ConnectionClosed, HandshakeError, P2PError

log = logging.getLogger("stronghold_p2p.connection")


def internal(error: Exception, where: str, *, opened: bool) -> P2PError:
    """What the user of the wire is told of ``error``; the log has its frames, which would keep the wire alive."""
    log.error("internal error in %s", where, exc_info=error)
    if opened:
        return ConnectionClosed("internal error", code=GoAway.INTERNAL_ERROR)
    return HandshakeError(f"internal error in {where}: {error!r}", phase="internal")
