"""identity/envelope.py: what is signed, byte by byte, and what does not open."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.envelope import MAX_SIZE, Envelope, EnvelopeMessage
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.identity.public_key import KeyMessage, PublicKey

ALICE = Identity.from_seed(b"a" * 32)
BOB = Identity.from_seed(b"b" * 32)
DOMAIN, TYPE, PAYLOAD = "libp2p-testing", b"/test/1", b"hello"
SEALED = Envelope.seal(ALICE, DOMAIN, TYPE, PAYLOAD)


def message(**changes: object) -> EnvelopeMessage:
    original = protobuf.decode(EnvelopeMessage, SEALED)
    fields = {name: getattr(original, name) for name in EnvelopeMessage.__dataclass_fields__}
    return EnvelopeMessage(**{**fields, **changes})


def test_the_bytes() -> None:
    signed = b"\x0elibp2p-testing" + b"\x07/test/1" + b"\x05hello"
    key = ALICE.public_key.encode()
    expected = b"\x0a\x24" + key + b"\x12\x07/test/1" + b"\x1a\x05hello" + b"\x2a\x40" + ALICE.sign(signed)
    assert expected == SEALED


def test_an_empty_payload_may_be_absent() -> None:
    sealed = Envelope.seal(ALICE, DOMAIN, TYPE, b"")
    assert Envelope.open(sealed, DOMAIN, TYPE).payload == b""
    assert Envelope.open(sealed.replace(b"\x1a\x00", b"", 1), DOMAIN, TYPE).payload == b""


@pytest.mark.parametrize(
    ("domain", "payload_type", "reason"),
    [
        ("libp2p-testinG", TYPE, "does not verify"),
        ("", TYPE, "does not verify"),
        (DOMAIN, b"/test/2", "another type"),
        (DOMAIN, b"", "another type"),
    ],
)
def test_another_purpose(domain: str, payload_type: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        Envelope.open(SEALED, domain, payload_type)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"public_key": None}, "without public key"),
        ({"public_key": KeyMessage()}, "without type or data"),
        ({"public_key": KeyMessage(type=9, data=bytes(32))}, "unknown key type"),
        ({"public_key": BOB.public_key.message()}, "does not verify"),
        ({"signature": None}, "without public key or signature"),
        ({"signature": b""}, "does not verify"),
        ({"signature": bytes(64)}, "does not verify"),
        ({"payload": b"hullo"}, "does not verify"),
        ({"payload": None}, "does not verify"),
        ({"payload_type": None}, "another type"),
        ({"payload_type": b"/test/2"}, "another type"),
    ],
)
def test_changed(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        Envelope.open(protobuf.encode(message(**changes)), DOMAIN, TYPE)


def test_what_nobody_wants_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublicKey, "verify", Mock(side_effect=AssertionError))

    def refuse(key: PublicKey, payload: bytes) -> None:
        assert (key, payload) == (ALICE.public_key, PAYLOAD)
        raise DecodeError("not for us")

    with pytest.raises(DecodeError, match="not for us"):
        Envelope.open(SEALED, DOMAIN, TYPE, refuse)


def test_parts_cannot_be_shifted() -> None:
    """The lengths are signed too: the same bytes cut elsewhere are another statement."""
    sealed = protobuf.encode(message(payload_type=b"/test/1\x05", payload=b"ello"))
    with pytest.raises(DecodeError, match="does not verify"):
        Envelope.open(sealed, DOMAIN, b"/test/1\x05")


def test_every_byte_counts() -> None:
    for index in range(len(SEALED)):
        flipped = bytearray(SEALED)
        flipped[index] ^= 1
        with pytest.raises(DecodeError):
            Envelope.open(flipped, DOMAIN, TYPE)
        with pytest.raises(DecodeError):
            Envelope.open(SEALED[:index], DOMAIN, TYPE)
    with pytest.raises(DecodeError):
        Envelope.open(SEALED + b"\0", DOMAIN, TYPE)


def test_size() -> None:
    fits = Envelope.seal(ALICE, DOMAIN, TYPE, bytes(MAX_SIZE - len(SEALED) + len(PAYLOAD) - 1))
    assert len(fits) == MAX_SIZE
    assert len(Envelope.open(fits, DOMAIN, TYPE).payload) > 8_000
    with pytest.raises(DecodeError, match="allowed"):
        Envelope.open(fits + b"\x30\x00", DOMAIN, TYPE)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Envelope.open(data, DOMAIN, TYPE)
