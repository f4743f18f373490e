"""Reservation vouchers: a relay signs that a peer has a place there, and until when (relay/circuit-v2.md,
"Reservation Vouchers").

go verifies a voucher that is there and does without one that is not; rust sends none. So do we.
"""

from dataclasses import dataclass
from typing import Final

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.envelope import Envelope, Signer

DOMAIN: Final = "libp2p-relay-rsvp"
PAYLOAD_TYPE: Final = b"\x03\x02"
MAX_FIELDS: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class VoucherMessage(Message):
    """``Voucher`` on the wire."""

    relay: bytes | None = field(1, "bytes")
    peer: bytes | None = field(2, "bytes")
    expiration: int | None = field(3, "uint64")


def issue(relay: Signer, peer: PeerId, expiration: int) -> bytes:
    """A voucher of ``relay`` for ``peer`` until ``expiration``, in seconds of the Unix time."""
    message = VoucherMessage(relay=bytes(relay.peer_id), peer=bytes(peer), expiration=expiration)
    return Envelope.seal(relay, DOMAIN, PAYLOAD_TYPE, protobuf.encode(message))


def check(data: bytes, relay: PeerId, peer: PeerId) -> int:
    """Until when the voucher says that ``peer`` has a place at ``relay``.

    ``DecodeError``: it is none, was signed by another key than the relay's, or names another relay or another peer.
    """
    envelope = Envelope.open(data, DOMAIN, PAYLOAD_TYPE)
    message = protobuf.decode(VoucherMessage, envelope.payload, max_fields=MAX_FIELDS)
    if not relay.matches(envelope.public_key):
        raise DecodeError("the voucher was signed by another peer than the relay")
    if message.relay is None or PeerId(message.relay) != relay:
        raise DecodeError("the voucher is for another relay")
    if message.peer is None or PeerId(message.peer) != peer:
        raise DecodeError("the voucher is for another peer")
    return message.expiration or 0
