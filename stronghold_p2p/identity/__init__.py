"""Who a peer is: keys, peer ids, and what a peer signs about itself."""

from stronghold_p2p.identity.envelope import Envelope
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.peer_record import PeerRecord
from stronghold_p2p.identity.public_key import KeyType, PublicKey

__all__ = ["Envelope", "Identity", "KeyType", "PeerId", "PeerRecord", "PublicKey"]
