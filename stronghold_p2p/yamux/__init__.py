"""Yamux: many streams over one connection (libp2p specs, yamux/README.md)."""

from stronghold_p2p.yamux.session import Session
from stronghold_p2p.yamux.state import Intake, Sink, StreamState

__all__ = ["Intake", "Session", "Sink", "StreamState"]
