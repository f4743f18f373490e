"""noise/payload.py: what proves an identity, and all that does not."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding import protobuf, varint
from stronghold_p2p.errors import HandshakeError, PeerIdMismatch
from stronghold_p2p.noise.payload import (
    MAX_MUXERS,
    MAX_PAYLOAD,
    NoiseExtensions,
    NoiseHandshakePayload,
    check,
    make,
)
from tests.noise.pair import YAMUX, identity, keys

RS = keys(2).pair.public
GOOD = make(keys(2), (YAMUX,))
KEY_1 = keys(1).identity_key
KEY, SIGNATURE = keys(2).identity_key, keys(2).signature


def test_the_payload_on_the_wire() -> None:
    expected = b"\x0a\x24" + KEY + b"\x12\x40" + SIGNATURE
    assert make(keys(2), ()) == expected
    assert expected + b"\x22\x0e\x12\x0c/yamux/1.0.0" == GOOD


def test_the_signature_is_over_prefix_and_static_key() -> None:
    assert identity(2).public_key.verify(b"noise-libp2p-static-key:" + RS, SIGNATURE)
    assert not identity(2).public_key.verify(RS, SIGNATURE)


def test_a_good_payload() -> None:
    peer = identity(2).peer_id
    for expected in (None, peer):
        assert check(GOOD, RS, expected) == (peer, identity(2).public_key, (YAMUX,))
    assert check(make(keys(2), ()), RS, None)[2] == ()


def test_unknown_fields_and_extensions_are_skipped() -> None:
    extensions = protobuf.encode(NoiseExtensions(webtransport_certhashes=(b"hash",), stream_muxers=("/a", "/b")))
    unknown = b"\x1a\x04data" + b"\xc2\x3e\x03abc"
    wire = unknown + b"\x0a\x24" + KEY + b"\x12\x40" + SIGNATURE + b"\x22" + bytes([len(extensions)]) + extensions
    assert check(wire, RS, None)[2] == ("/a", "/b")


def payload(key: bytes | None, signature: bytes | None) -> bytes:
    """A payload with these two fields."""
    return protobuf.encode(NoiseHandshakePayload(identity_key=key, identity_sig=signature))


UNPROVEN = {
    "empty": b"",
    "no key": payload(None, SIGNATURE),
    "no signature": payload(KEY, None),
    "empty key": payload(b"", SIGNATURE),
    "empty signature": payload(KEY, b""),
    "the key of another": payload(KEY_1, SIGNATURE),
    "signed by another": payload(KEY, keys(1).signature),
    "over another static key": payload(KEY, identity(2).sign(b"noise-libp2p-static-key:" + keys(1).pair.public)),
    "without the prefix": payload(KEY, identity(2).sign(RS)),
    "signature of 63 bytes": payload(KEY, SIGNATURE[:63]),
    "signature of 65 bytes": payload(KEY, SIGNATURE + b"\0"),
    "key of type 99": payload(b"\x08\x63" + KEY[2:], SIGNATURE),
    "key type missing": payload(KEY[2:], SIGNATURE),
    "key of 31 bytes": payload(b"\x08\x01\x12\x1f" + KEY[4:35], SIGNATURE),
    "a second signature wins": GOOD + b"\x12\x01x",
    "garbage": b"\xff" * 40,
    "DER": bytes.fromhex("308201223082") + bytes(200),
    "group": b"\x0b\x0c" + GOOD,
    "truncated": GOOD[:-1],
    "muxers that are not UTF-8": make(keys(2), ()) + b"\x22\x03\x12\x01\xff",
    "trailing": GOOD + b"\x12",
}


@pytest.mark.parametrize("data", UNPROVEN.values(), ids=UNPROVEN.keys())
def test_what_proves_nothing(data: bytes) -> None:
    """Hostile rows 46, 50 and 52."""
    with pytest.raises(HandshakeError) as caught:
        check(data, RS, None)
    assert not isinstance(caught.value, PeerIdMismatch)


def test_the_identity_is_proven_before_it_is_compared() -> None:
    with pytest.raises(PeerIdMismatch):
        check(GOOD, RS, identity(3).peer_id)
    with pytest.raises(HandshakeError) as caught:
        check(payload(KEY, keys(1).signature), RS, identity(3).peer_id)
    assert not isinstance(caught.value, PeerIdMismatch)


@pytest.mark.parametrize(("count", "kept"), [(MAX_MUXERS, MAX_MUXERS), (MAX_MUXERS + 1, 0), (1000, 0)])
def test_a_list_of_more_than_100_muxers_is_ignored(count: int, kept: int) -> None:
    muxers = ("/a",) * count
    assert check(make(keys(2), muxers), RS, None)[2] == muxers[:kept]


@pytest.mark.parametrize("surplus", [0, 1])
def test_a_payload_over_the_limit(surplus: int) -> None:
    filler = MAX_PAYLOAD - len(GOOD) - 3 + surplus
    wire = GOOD + b"\x1a" + varint.encode(filler) + bytes(filler)
    assert len(wire) == MAX_PAYLOAD + surplus
    with pytest.raises(HandshakeError, match="allowed") if surplus else nullcontext():
        assert check(wire, RS, None)[2] == (YAMUX,)


@given(st.binary(max_size=200))
def test_only_our_errors_leave(data: bytes) -> None:
    for wire in (data, GOOD + data):
        try:
            assert check(wire, RS, None)[0] == identity(2).peer_id
        except HandshakeError as error:
            assert error.phase == "noise"
