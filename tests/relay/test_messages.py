"""Messages of circuit relay v2 (relay/circuit-v2.md), byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.relay import messages
from stronghold_p2p.relay.messages import HopMessage, HopType, Limit, Peer, Status, StopMessage, StopType

PEER = Identity().peer_id
ID = bytes(PEER)


def test_what_is_on_the_wire() -> None:
    assert messages.reserve() == b"\x08\x00"  # the type, although it is 0: go checks that it is there
    assert messages.connect(PEER) == b"\x08\x01\x12" + bytes([len(ID) + 2, 10, len(ID)]) + ID
    assert messages.stop_status(Status.OK) == b"\x08\x01\x20\x64"
    assert messages.hop_status(Status.NO_RESERVATION) == b"\x08\x02\x28\xcc\x01"
    limit = Limit(duration=120, data=131_072)
    assert messages.offer(PEER, limit).endswith(b"\x1a\x06\x08\x78\x10\x80\x80\x08")


def test_a_reservation_is_told_and_read() -> None:
    told = messages.granted(1_800_000_000, [b"\x04\x7f\x00\x00\x01\x06\x00\x01"], b"voucher")
    message = messages.read_hop(messages.hop_status(Status.OK, reservation=told, limit=Limit(duration=60)))
    assert (messages.status_of(message), message.reservation) == (Status.OK, told)
    assert message.limit == Limit(duration=60)


def test_a_reservation_fits_into_a_message() -> None:
    told = messages.granted(1_800_000_000, [bytes(200)] * 100, bytes(300))
    assert 10 < len(told.addrs) < 64
    data = messages.hop_status(Status.OK, reservation=told, limit=Limit(duration=120, data=1 << 17))
    assert len(data) <= messages.MAX_MESSAGE


@pytest.mark.parametrize("data", [b"", b"\x08\x03", b"\x12\x00", b"\x08", b"\x0b", b"\xff" * 20, bytes(4_097)])
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        messages.read_hop(data)
    with pytest.raises(DecodeError):
        messages.read_stop(data)


@pytest.mark.parametrize("peer", [None, Peer(), Peer(id=b""), Peer(id=b"no peer id")])
def test_a_message_to_connect_names_a_peer(peer: Peer | None) -> None:
    with pytest.raises(DecodeError):
        messages.peer_of(HopMessage(type=HopType.CONNECT, peer=peer))
    assert messages.peer_of(StopMessage(type=StopType.CONNECT, peer=Peer(id=ID))) == PEER


def test_a_status_that_nobody_knows_is_none() -> None:
    for status in (None, 0, 7, -1):
        assert messages.status_of(HopMessage(type=HopType.STATUS, status=status)) is Status.NONE


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (messages.read_hop, messages.read_stop):
        try:
            message = read(data)
        except DecodeError:
            continue
        assert protobuf.decode(type(message), protobuf.encode(message)) == message
