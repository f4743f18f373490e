"""What is behind the faces and seams, for tests that watch or break it there."""

from __future__ import annotations

from stronghold_p2p import Connection
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.muxing.yamux_muxer import YamuxMuxer
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.yamux.session import Session


def live(connection: Connection | LiveConnection) -> LiveConnection:
    """What the library works with."""
    found = connection if isinstance(connection, LiveConnection) else connection._live
    assert isinstance(found, LiveConnection)
    return found


def muxer(connection: Connection | LiveConnection) -> YamuxMuxer:
    found = live(connection)._muxer
    assert isinstance(found, YamuxMuxer)
    return found


def session(connection: Connection | LiveConnection) -> Session:
    return muxer(connection)._session


def wire(connection: Connection | LiveConnection) -> SocketWire:
    found = muxer(connection)._wire
    assert isinstance(found, SocketWire)
    return found
