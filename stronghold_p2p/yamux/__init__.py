"""Yamux: many streams over one connection (libp2p specs, yamux/README.md)."""

from stronghold_p2p.yamux.header import GoAway, Reset
from stronghold_p2p.yamux.session import Session
from stronghold_p2p.yamux.state import Intake, Sink, StreamState
from stronghold_p2p.yamux.stream import Stream

__all__ = ["GoAway", "Intake", "Reset", "Session", "Sink", "Stream", "StreamState"]
