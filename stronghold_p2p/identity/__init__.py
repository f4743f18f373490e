"""Who a peer is: public keys, peer ids, and what a peer signs about itself. Our own key pair is in ``keys``."""

from stronghold_p2p.identity.envelope import Envelope
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.peer_record import Edition, PeerRecord
from stronghold_p2p.identity.public_key import KeyType, PublicKey

__all__ = ["Edition", "Envelope", "KeyType", "PeerId", "PeerRecord", "PublicKey"]
