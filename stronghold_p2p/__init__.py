"""libp2p for asyncio in pure Python: requests over encrypted connections, behind a firewall that refuses by default.

Everything that a program needs is here; ``Network`` is where it begins.
"""

from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.connection import Connection
from stronghold_p2p.errors import (
    ConfigError,
    ConnectionClosed,
    DeadlineExceeded,
    DecodeError,
    DecryptError,
    DialError,
    HandshakeError,
    IdentityError,
    LimitExceeded,
    ListenError,
    Malformed,
    MuxerError,
    NegotiationError,
    P2PError,
    PeerIdMismatch,
    Rejected,
    StreamEnded,
    StreamReset,
    UnsupportedProtocol,
    UsageError,
)
from stronghold_p2p.events.events import (
    AcceptFailed,
    Accepting,
    AddressAdded,
    AddressRemoved,
    DialFailed,
    Dialing,
    Dropped,
    Ended,
    Event,
    Judged,
    ListenerEnded,
    Opened,
    RequestFailed,
    RequestUnread,
    RulesLoaded,
)
from stronghold_p2p.events.hub import Events
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Rule, Scope
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.network import Address, Network, StreamOpening, Target
from stronghold_p2p.protocols.identify_messages import PeerInfo
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON, Codec
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.request_response.codecs.typed import messages
from stronghold_p2p.request_response.server import Request
from stronghold_p2p.streams.stream import Stream
from stronghold_p2p.swarm.listeners import Listener

__all__ = [
    "BYTES",
    "CONNECTION",
    "JSON",
    "STRONGHOLD",
    "AcceptFailed",
    "Accepting",
    "Address",
    "AddressAdded",
    "AddressBook",
    "AddressRemoved",
    "Attempt",
    "Codec",
    "ConfigError",
    "Connection",
    "ConnectionClosed",
    "DeadlineExceeded",
    "DecodeError",
    "DecryptError",
    "DialError",
    "DialFailed",
    "Dialing",
    "Dropped",
    "Ended",
    "Event",
    "Events",
    "Firewall",
    "HandshakeError",
    "Identity",
    "IdentityError",
    "Judged",
    "LimitExceeded",
    "Limits",
    "ListenError",
    "Listener",
    "ListenerEnded",
    "Malformed",
    "MuxerError",
    "NegotiationError",
    "Network",
    "Opened",
    "P2PError",
    "PeerId",
    "PeerIdMismatch",
    "PeerInfo",
    "Rejected",
    "Request",
    "RequestFailed",
    "RequestProtocol",
    "RequestUnread",
    "Rule",
    "RulesLoaded",
    "Scope",
    "Stream",
    "StreamEnded",
    "StreamOpening",
    "StreamReset",
    "Target",
    "Timeouts",
    "UnsupportedProtocol",
    "UsageError",
    "messages",
]
