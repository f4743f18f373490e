"""Peer records: a peer's own list of its addresses, signed (RFC 0003 - Peer Routing Records).

Deployed implementations use a domain and a payload type other than those in the RFC's text; go, js and py agree on
them, and so do we.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.envelope import Envelope, Signer
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.public_key import PublicKey

DOMAIN: Final = "libp2p-peer-record"
PAYLOAD_TYPE: Final = b"\x03\x01"
MAX_ADDRESSES: Final = 128
MAX_FIELDS: Final = 256  # one for each address, and as many of those that nobody knows
MAX_INNER: Final = 2  # the same of one address
DIGEST: Final = 16  # bytes
_TAG: Final = 1 << 3 | 2  # of ``AddressInfo.multiaddr``: its number, and that a length follows


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressInfo(Message):
    """``PeerRecord.AddressInfo`` on the wire."""

    multiaddr: bytes | None = field(1, "bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerRecordMessage(Message):
    """``PeerRecord`` on the wire. Its addresses are messages, too: ``AddressInfo``."""

    peer_id: bytes | None = field(1, "bytes")
    seq: int | None = field(2, "uint64")
    addresses: tuple[bytes, ...] = field(3, "bytes", repeated=True, limit=MAX_ADDRESSES)


class Edition(NamedTuple):
    """Which of a peer's records one is: ``seq``, and a digest of the addresses, as a ``seq`` may be used twice."""

    seq: int
    digest: bytes

    def follows(self, known: "Edition | None") -> bool:
        """True if it may be taken where ``known`` was the last one: it has a higher ``seq``, or is the same."""
        return known is None or self.seq > known.seq or self == known


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """``peer_id`` is reachable at ``addresses`` (binary multiaddrs without ``/p2p``).

    Of two records the one with the higher ``seq`` counts; its unit is the sender's own business. Of two that have the
    same ``seq``, and are not the same, the one that came first does (hostile row 95).
    """

    peer_id: PeerId
    seq: int
    addresses: tuple[bytes, ...]

    @property
    def edition(self) -> Edition:
        count = len(self.addresses)
        sizes = struct.pack(f">{count + 1}I", count, *map(len, self.addresses))
        return Edition(self.seq, sha256(b"".join((sizes, *self.addresses))).digest()[:DIGEST])

    def seal(self, signer: Signer) -> bytes:
        """The record in an envelope signed by ``signer``, whose peer id has to be the record's (``ValueError``)."""
        if signer.peer_id != self.peer_id:
            raise ValueError("a peer record is signed by the peer that it is about")
        message = PeerRecordMessage(
            peer_id=bytes(self.peer_id),
            seq=self.seq,
            addresses=tuple(protobuf.encode(AddressInfo(multiaddr=address)) for address in self.addresses),
        )
        return Envelope.seal(signer, DOMAIN, PAYLOAD_TYPE, protobuf.encode(message))

    @staticmethod
    def open(
        data: bytes | bytearray | memoryview,
        peer: PeerId | None = None,
        wanted: Callable[["PeerRecord"], bool] | None = None,
    ) -> "PeerRecord":
        """Check and open a record of at most 128 addresses.

        ``DecodeError`` if the envelope is not valid, its signer is not the peer that the record is about, that is not
        ``peer``, or it is not ``wanted``; the signature is verified last. The addresses are the bytes that the peer
        sent: each is checked where it is used.
        """
        found: list[PeerRecord] = []

        def look(key: PublicKey, payload: bytes) -> None:
            if peer is not None and not peer.matches(key):
                raise DecodeError("peer record signed by another peer")
            record = _read(payload)
            if not record.peer_id.matches(key):
                raise DecodeError("peer record signed by another peer")
            if wanted is not None and not wanted(record):
                raise DecodeError("peer record that nobody wants")
            found.append(record)

        Envelope.open(data, DOMAIN, PAYLOAD_TYPE, look)
        return found[0]


def _read(payload: bytes) -> PeerRecord:
    message = protobuf.decode(PeerRecordMessage, payload, max_fields=MAX_FIELDS)
    if message.peer_id is None:
        raise DecodeError("peer record without a peer id")
    # go writes it as proto3, where a sequence number of 0 is not on the wire.
    return PeerRecord(PeerId(message.peer_id), message.seq or 0, tuple(map(_address, message.addresses)))


def _address(info: bytes) -> bytes:
    """The ``multiaddr`` of an encoded ``AddressInfo``, which nearly always is its one field, and short."""
    if len(info) > 2 and info[0] == _TAG and info[1] == len(info) - 2 < 0x80:
        return info[2:]
    return protobuf.decode(AddressInfo, info, max_fields=MAX_INNER).multiaddr or b""
