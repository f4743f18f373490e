"""Yamux: many streams over one connection (libp2p specs, yamux/README.md)."""

from stronghold_p2p.yamux.receiver import Receiver
from stronghold_p2p.yamux.session import Session, YamuxStream

__all__ = ["Receiver", "Session", "YamuxStream"]
