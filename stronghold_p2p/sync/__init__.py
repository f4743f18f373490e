"""The same network for programs without an event loop: ``from stronghold_p2p.sync import Network``.

The calls are those of ``stronghold_p2p`` without ``await``; they block, and raise the same errors. Everything else that
a program needs is imported from ``stronghold_p2p``; docs/in-your-program.md shows it.
"""

from stronghold_p2p.sync.network import Network as Network
from stronghold_p2p.sync.parts import Connection as Connection
from stronghold_p2p.sync.parts import Events as Events
from stronghold_p2p.sync.parts import Keeping as Keeping
from stronghold_p2p.sync.parts import Listener as Listener
from stronghold_p2p.sync.parts import Stream as Stream

__all__ = ["Connection", "Events", "Keeping", "Listener", "Network", "Stream"]
