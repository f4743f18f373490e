"""Reservation vouchers (relay/circuit-v2.md, "Reservation Vouchers")."""

from __future__ import annotations

import pytest

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.envelope import Envelope
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.relay import voucher
from stronghold_p2p.relay.voucher import VoucherMessage

RELAY, CLIENT, OTHER = Identity(), Identity().peer_id, Identity()
UNTIL = 1_800_000_000


def test_a_voucher_says_until_when() -> None:
    assert voucher.check(voucher.issue(RELAY, CLIENT, UNTIL), RELAY.peer_id, CLIENT) == UNTIL


def test_a_voucher_of_another_relay_or_for_another_peer_is_none() -> None:
    good = voucher.issue(RELAY, CLIENT, UNTIL)
    for relay, peer in ((OTHER.peer_id, CLIENT), (RELAY.peer_id, OTHER.peer_id)):
        with pytest.raises(DecodeError):
            voucher.check(good, relay, peer)
    claims = VoucherMessage(relay=bytes(RELAY.peer_id), peer=bytes(CLIENT), expiration=UNTIL)
    forged = Envelope.seal(OTHER, voucher.DOMAIN, voucher.PAYLOAD_TYPE, protobuf.encode(claims))
    with pytest.raises(DecodeError, match="another peer than the relay"):
        voucher.check(forged, RELAY.peer_id, CLIENT)


@pytest.mark.parametrize(
    ("claims", "match"),
    [
        (VoucherMessage(relay=bytes(OTHER.peer_id), peer=bytes(CLIENT), expiration=UNTIL), "another relay"),
        (VoucherMessage(peer=bytes(CLIENT), expiration=UNTIL), "another relay"),
        (VoucherMessage(relay=bytes(RELAY.peer_id), expiration=UNTIL), "another peer"),
    ],
)
def test_what_a_relay_has_signed_has_to_name_both(claims: VoucherMessage, match: str) -> None:
    signed = Envelope.seal(RELAY, voucher.DOMAIN, voucher.PAYLOAD_TYPE, protobuf.encode(claims))
    with pytest.raises(DecodeError, match=match):
        voucher.check(signed, RELAY.peer_id, CLIENT)


def test_no_byte_of_it_may_change() -> None:
    good = voucher.issue(RELAY, CLIENT, UNTIL)
    for at in range(len(good)):
        with pytest.raises(DecodeError):
            voucher.check(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], RELAY.peer_id, CLIENT)
        with pytest.raises(DecodeError):
            voucher.check(good[:at], RELAY.peer_id, CLIENT)


def test_what_was_signed_for_another_purpose_is_no_voucher() -> None:
    claims = VoucherMessage(relay=bytes(RELAY.peer_id), peer=bytes(CLIENT), expiration=UNTIL)
    record = Envelope.seal(RELAY, "libp2p-peer-record", voucher.PAYLOAD_TYPE, protobuf.encode(claims))
    with pytest.raises(DecodeError):
        voucher.check(record, RELAY.peer_id, CLIENT)
