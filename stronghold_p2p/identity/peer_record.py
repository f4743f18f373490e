"""Peer records: a peer's own list of its addresses, signed (RFC 0003 - Peer Routing Records).

Deployed implementations use a domain and a payload type other than those in the RFC's text; go, js and py agree on
them, and so do we.
"""

from dataclasses import dataclass
from typing import Final

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.envelope import Envelope, Signer
from stronghold_p2p.identity.peer_id import PeerId

DOMAIN: Final = "libp2p-peer-record"
PAYLOAD_TYPE: Final = b"\x03\x01"
MAX_ADDRESSES: Final = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressInfo(Message):
    """``PeerRecord.AddressInfo`` on the wire."""

    multiaddr: bytes | None = field(1, "bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerRecordMessage(Message):
    """``PeerRecord`` on the wire."""

    peer_id: bytes | None = field(1, "bytes")
    seq: int | None = field(2, "uint64")
    addresses: tuple[AddressInfo, ...] = field(3, AddressInfo, repeated=True, limit=MAX_ADDRESSES)


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """``peer_id`` is reachable at ``addresses`` (binary multiaddrs without ``/p2p``).

    Of two records the one with the higher ``seq`` counts; its unit is the sender's own business.
    """

    peer_id: PeerId
    seq: int
    addresses: tuple[bytes, ...]

    def seal(self, signer: Signer) -> bytes:
        """The record in an envelope signed by ``signer``, whose peer id has to be the record's (``ValueError``)."""
        if signer.peer_id != self.peer_id:
            raise ValueError("a peer record is signed by the peer that it is about")
        message = PeerRecordMessage(
            peer_id=bytes(self.peer_id),
            seq=self.seq,
            addresses=tuple(AddressInfo(multiaddr=address) for address in self.addresses),
        )
        return Envelope.seal(signer, DOMAIN, PAYLOAD_TYPE, protobuf.encode(message))

    @staticmethod
    def open(data: bytes | bytearray | memoryview) -> "PeerRecord":
        """Check and open a record of at most 128 addresses.

        ``DecodeError`` if the envelope is not valid, or its signer is not the peer that the record is about. The
        addresses are the bytes that the peer sent: each is checked where it is used.
        """
        envelope = Envelope.open(data, DOMAIN, PAYLOAD_TYPE)
        message = protobuf.decode(PeerRecordMessage, envelope.payload)
        if message.peer_id is None:
            raise DecodeError("peer record without a peer id")
        peer_id = PeerId(message.peer_id)
        if not peer_id.matches(envelope.public_key):
            raise DecodeError("peer record signed by another peer")
        # go writes it as proto3, where a sequence number of 0 is not on the wire.
        seq = message.seq or 0
        return PeerRecord(peer_id, seq, tuple(info.multiaddr or b"" for info in message.addresses))
