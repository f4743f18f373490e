"""libp2p for asyncio in pure Python: requests over encrypted connections, behind a firewall that refuses by default.

Everything that a program needs is here; ``Network`` is where it begins.
"""

# ``as``: for type checkers a name that is exported, and not only used here.
from stronghold_p2p.addressing.parts import AddressParts as AddressParts
from stronghold_p2p.announcing.announcer import ObservedAddress as ObservedAddress
from stronghold_p2p.book.addresses import AddressBook as AddressBook
from stronghold_p2p.config import Limits as Limits
from stronghold_p2p.config import Timeouts as Timeouts
from stronghold_p2p.connection.live import Connection as Connection
from stronghold_p2p.errors import CertificateError as CertificateError
from stronghold_p2p.errors import ConfigError as ConfigError
from stronghold_p2p.errors import ConnectionClosed as ConnectionClosed
from stronghold_p2p.errors import DeadlineExceeded as DeadlineExceeded
from stronghold_p2p.errors import DecodeError as DecodeError
from stronghold_p2p.errors import DecryptError as DecryptError
from stronghold_p2p.errors import DialError as DialError
from stronghold_p2p.errors import HandshakeError as HandshakeError
from stronghold_p2p.errors import IdentityError as IdentityError
from stronghold_p2p.errors import LimitExceeded as LimitExceeded
from stronghold_p2p.errors import ListenError as ListenError
from stronghold_p2p.errors import Malformed as Malformed
from stronghold_p2p.errors import MuxerError as MuxerError
from stronghold_p2p.errors import NameResolutionError as NameResolutionError
from stronghold_p2p.errors import NegotiationError as NegotiationError
from stronghold_p2p.errors import P2PError as P2PError
from stronghold_p2p.errors import PeerIdMismatch as PeerIdMismatch
from stronghold_p2p.errors import ProxyError as ProxyError
from stronghold_p2p.errors import Rejected as Rejected
from stronghold_p2p.errors import StreamEnded as StreamEnded
from stronghold_p2p.errors import StreamReset as StreamReset
from stronghold_p2p.errors import UnsupportedProtocol as UnsupportedProtocol
from stronghold_p2p.errors import UsageError as UsageError
from stronghold_p2p.events.events import AcceptFailed as AcceptFailed
from stronghold_p2p.events.events import Accepting as Accepting
from stronghold_p2p.events.events import AddressAdded as AddressAdded
from stronghold_p2p.events.events import AddressRemoved as AddressRemoved
from stronghold_p2p.events.events import DialFailed as DialFailed
from stronghold_p2p.events.events import Dialing as Dialing
from stronghold_p2p.events.events import Dropped as Dropped
from stronghold_p2p.events.events import Ended as Ended
from stronghold_p2p.events.events import Event as Event
from stronghold_p2p.events.events import Judged as Judged
from stronghold_p2p.events.events import ListenerEnded as ListenerEnded
from stronghold_p2p.events.events import Opened as Opened
from stronghold_p2p.events.events import PeerDiscovered as PeerDiscovered
from stronghold_p2p.events.events import PeerLost as PeerLost
from stronghold_p2p.events.events import RequestFailed as RequestFailed
from stronghold_p2p.events.events import RequestUnread as RequestUnread
from stronghold_p2p.events.events import Retrying as Retrying
from stronghold_p2p.events.events import RulesLoaded as RulesLoaded
from stronghold_p2p.events.hub import Events as Events
from stronghold_p2p.firewall.asking.firewall import Firewall as Firewall
from stronghold_p2p.firewall.rules import CONNECTION as CONNECTION
from stronghold_p2p.firewall.rules import Attempt as Attempt
from stronghold_p2p.firewall.rules import Rule as Rule
from stronghold_p2p.firewall.rules import Scope as Scope
from stronghold_p2p.identity import PeerId as PeerId
from stronghold_p2p.identity.keys.identity import Identity as Identity
from stronghold_p2p.interceptors import Handle as Handle
from stronghold_p2p.keeping import Keeping as Keeping
from stronghold_p2p.network import Network as Network
from stronghold_p2p.protocols.identify_messages import PeerInfo as PeerInfo
from stronghold_p2p.request_response.codecs.codec import BYTES as BYTES
from stronghold_p2p.request_response.codecs.codec import JSON as JSON
from stronghold_p2p.request_response.codecs.codec import Codec as Codec
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD as STRONGHOLD
from stronghold_p2p.request_response.codecs.protocol import PartsProtocol as PartsProtocol
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol as RequestProtocol
from stronghold_p2p.request_response.codecs.typed import messages as messages
from stronghold_p2p.request_response.parts import Parts as Parts
from stronghold_p2p.request_response.server import Request as Request
from stronghold_p2p.resolving.dns import Dns as Dns
from stronghold_p2p.streams.stream import Stream as Stream
from stronghold_p2p.streams.stream import StreamOpening as StreamOpening
from stronghold_p2p.swarm.listeners import Listener as Listener
from stronghold_p2p.targets import Address as Address
from stronghold_p2p.targets import Target as Target
from stronghold_p2p.transport.certificates import WebTLS as WebTLS
from stronghold_p2p.version import VERSION as _VERSION

__version__ = _VERSION
# Written out: type checkers read it for ``import *``.
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
    "AddressParts",
    "AddressRemoved",
    "Attempt",
    "CertificateError",
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
    "Dns",
    "Dropped",
    "Ended",
    "Event",
    "Events",
    "Firewall",
    "Handle",
    "HandshakeError",
    "Identity",
    "IdentityError",
    "Judged",
    "Keeping",
    "LimitExceeded",
    "Limits",
    "ListenError",
    "Listener",
    "ListenerEnded",
    "Malformed",
    "MuxerError",
    "NameResolutionError",
    "NegotiationError",
    "Network",
    "ObservedAddress",
    "Opened",
    "P2PError",
    "Parts",
    "PartsProtocol",
    "PeerDiscovered",
    "PeerId",
    "PeerIdMismatch",
    "PeerInfo",
    "PeerLost",
    "ProxyError",
    "Rejected",
    "Request",
    "RequestFailed",
    "RequestProtocol",
    "RequestUnread",
    "Retrying",
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
    "WebTLS",
    "messages",
]
