"""identity/peer_record.py: a peer speaks for itself, and for nobody else."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.envelope import Envelope, EnvelopeMessage
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.identity.peer_record import (
    DOMAIN,
    MAX_ADDRESSES,
    PAYLOAD_TYPE,
    PeerRecord,
    PeerRecordMessage,
)
from stronghold_p2p.identity.public_key import PublicKey

ALICE = Identity.from_seed(b"a" * 32)
BOB = Identity.from_seed(b"b" * 32)
ADDRESS = bytes.fromhex("047f000001060fa1")
RECORD = PeerRecord(ALICE.peer_id, 7, (ADDRESS, b"\x29" + bytes(16) + b"\x06\x00\x01"))


def sealed(identity: Identity, **fields: object) -> bytes:
    message = PeerRecordMessage(**fields)  # type: ignore[arg-type]
    return Envelope.seal(identity, DOMAIN, PAYLOAD_TYPE, protobuf.encode(message))


def test_the_bytes() -> None:
    """The deployed form: wire order, and the signed prefix that go and js use."""
    data = PeerRecord(ALICE.peer_id, 300, (ADDRESS,)).seal(ALICE)
    payload = b"\x0a\x26" + bytes(ALICE.peer_id) + b"\x10\xac\x02" + b"\x1a\x0a\x0a\x08" + ADDRESS
    envelope = protobuf.decode(EnvelopeMessage, data)
    assert (envelope.payload_type, envelope.payload) == (b"\x03\x01", payload)
    prefix = bytes.fromhex("126c69627032702d706565722d7265636f7264" + "020301")
    assert envelope.signature == ALICE.sign(prefix + bytes((len(payload),)) + payload)


@given(st.integers(0, (1 << 64) - 1), st.lists(st.binary(max_size=20), max_size=8).map(tuple))
def test_any_record(seq: int, addresses: tuple[bytes, ...]) -> None:
    record = PeerRecord(ALICE.peer_id, seq, addresses)
    assert PeerRecord.open(record.seal(ALICE)) == record


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (bytes(ALICE.peer_id), "signed by another peer"),
        (b"\x12\x20" + bytes(32), "signed by another peer"),  # the other hash of a key
        (b"alice", "peer id"),
    ],
)
def test_only_the_peer_itself_signs(named: bytes, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        PeerRecord.open(sealed(BOB, peer_id=named, seq=7))
    with pytest.raises(ValueError, match="signed by the peer"):
        RECORD.seal(BOB)


def test_the_signature_is_the_last_thing_that_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    data = RECORD.seal(ALICE)
    assert PeerRecord.open(data, ALICE.peer_id, lambda record: record == RECORD) == RECORD
    monkeypatch.setattr(PublicKey, "verify", Mock(side_effect=AssertionError))
    with pytest.raises(DecodeError, match="signed by another peer"):
        PeerRecord.open(data, BOB.peer_id)
    with pytest.raises(DecodeError, match="signed by another peer"):
        PeerRecord.open(sealed(BOB, peer_id=bytes(ALICE.peer_id), seq=7))
    with pytest.raises(DecodeError, match="nobody wants"):
        PeerRecord.open(data, ALICE.peer_id, lambda record: record.seq > 7)


def test_editions() -> None:
    """Hostile row 95."""
    first = RECORD.edition
    other = PeerRecord(ALICE.peer_id, 7, (ADDRESS,)).edition
    assert len(first.digest) == 16
    assert PeerRecord.open(RECORD.seal(ALICE)).edition == first != other
    assert first.follows(None)
    assert first.follows(first)
    assert not other.follows(first)
    assert not PeerRecord(ALICE.peer_id, 6, RECORD.addresses).edition.follows(first)
    assert PeerRecord(ALICE.peer_id, 8, ()).edition.follows(first)
    assert PeerRecord(ALICE.peer_id, 7, (b"ab", b"c")).edition != PeerRecord(ALICE.peer_id, 7, (b"a", b"bc")).edition


def test_absent_fields() -> None:
    assert PeerRecord.open(sealed(ALICE, peer_id=bytes(ALICE.peer_id))) == PeerRecord(ALICE.peer_id, 0, ())
    with pytest.raises(DecodeError, match="without a peer id"):
        PeerRecord.open(sealed(ALICE, seq=7))


@pytest.mark.parametrize(
    ("info", "address"),
    [
        (b"", b""),
        (b"\x0a\x00", b""),
        (b"\x0a\x08" + ADDRESS, ADDRESS),
        (b"\x0a\x88\x00" + ADDRESS, ADDRESS),  # a length need not be minimal
        (b"\x0a\x80\x02" + bytes(256), bytes(256)),
        (b"\x0a\x08" + ADDRESS + b"\x10\x01", ADDRESS),  # a field that nobody knows
        (b"\x10\x01\x0a\x08" + ADDRESS, ADDRESS),
        (b"\x0a\x01x\x0a\x08" + ADDRESS, ADDRESS),  # the last one counts
        (b"\x0a\x09" + ADDRESS, None),
        (b"\x0a\x07" + ADDRESS, None),
        (b"\x0a\x08" + ADDRESS + b"\x10\x01" * 2, None),
    ],
)
def test_an_address_is_a_message(info: bytes, address: bytes | None) -> None:
    data = sealed(ALICE, peer_id=bytes(ALICE.peer_id), addresses=(info, b"\x0a\x01x"))
    if address is None:
        with pytest.raises(DecodeError):
            PeerRecord.open(data)
    else:
        assert PeerRecord.open(data).addresses == (address, b"x")


def test_too_many_addresses() -> None:
    most = PeerRecord(ALICE.peer_id, 1, (b"x",) * MAX_ADDRESSES)
    assert PeerRecord.open(most.seal(ALICE)) == most
    with pytest.raises(DecodeError, match="more than 128 elements"):
        PeerRecord.open(PeerRecord(ALICE.peer_id, 1, (b"x",) * 500).seal(ALICE))
    with pytest.raises(DecodeError, match="allowed"):
        PeerRecord.open(PeerRecord(ALICE.peer_id, 1, (bytes(65_536),)).seal(ALICE))


def test_a_payload_that_is_no_record() -> None:
    for payload in (b"\x0a", b"\x0b", b"\0\0", RECORD.seal(ALICE)):
        with pytest.raises(DecodeError):
            PeerRecord.open(Envelope.seal(ALICE, DOMAIN, PAYLOAD_TYPE, payload))
