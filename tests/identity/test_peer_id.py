"""identity/peer_id.py: every form of a peer id, and what is none."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding import base58
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.peer_id import MAX_INLINE, PeerId
from stronghold_p2p.identity.public_key import KeyType, PublicKey
from stronghold_p2p.identity.verify import is_sound
from tests.identity import vectors

ED25519 = PublicKey.decode(vectors.public("ed25519"))
BASE58 = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
BASE32 = "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"
BASE36 = "k51qzi5uqu5dgy8qsq67hbz73jqkw87l3fgf4a91qb0d9b5173tir7n4vxk1oe"
SHA256 = bytes.fromhex("1220") + bytes(range(32))

inlined = st.one_of(
    st.binary(min_size=32, max_size=32).filter(is_sound).map(lambda data: PublicKey(KeyType.ED25519, data)),
    st.binary(min_size=33, max_size=33).map(lambda data: PublicKey(KeyType.SECP256K1, data)),
    st.binary(max_size=38).map(lambda data: PublicKey(KeyType.ECDSA, data)),
)
multihashes = inlined.map(lambda key: bytes((0, len(key.encode()))) + key.encode()) | st.binary(
    min_size=32, max_size=32
).map(lambda digest: b"\x12\x20" + digest)


def test_all_texts_of_one_id() -> None:
    peer = PeerId.from_public_key(ED25519)
    assert bytes(peer) == b"\0\x24" + vectors.public("ed25519")
    assert (str(peer), peer.to_cid()) == (BASE58, BASE32)
    base58_cid = "z" + base58.encode(b"\x01\x72" + bytes(peer))
    for text in (BASE58, BASE32, BASE36, base58_cid):
        assert PeerId(text) == peer
    assert repr(peer) == f"PeerId('{BASE58}')"


def test_texts_of_the_specification() -> None:
    for texts in vectors.load()["texts"]:
        peer = PeerId(texts["base58"])
        assert str(peer) == texts["base58"]
        if "cid" in texts:
            assert peer.to_cid() == texts["cid"]
            assert PeerId(texts["cid"]) == peer


@pytest.mark.parametrize(
    ("kind", "prefix"), [("ed25519", "12D3KooW"), ("secp256k1", "16Uiu2HA"), ("rsa", "Qm"), ("ecdsa", "Qm")]
)
def test_keys_of_all_types(kind: str, prefix: str) -> None:
    encoded = vectors.public(kind)
    key = PublicKey.decode(encoded)
    peer = PeerId.from_public_key(key)
    assert str(peer).startswith(prefix)
    assert peer.matches(key)
    if len(encoded) <= MAX_INLINE:
        assert bytes(peer) == bytes((0, len(encoded))) + encoded
        assert peer.public_key() == key
    else:
        assert bytes(peer) == b"\x12\x20" + hashlib.sha256(encoded).digest()
        assert peer.public_key() is None


def test_the_other_hash_of_a_short_key_is_nobody() -> None:
    hashed = PeerId(b"\x12\x20" + hashlib.sha256(ED25519.encode()).digest())
    assert not hashed.matches(ED25519)
    assert hashed.public_key() is None


@pytest.mark.parametrize(
    "inlined",
    [
        b"x",
        bytes(36),
        b"\x12\x20" + bytes(32) + b"\x08\x01",  # a key, in another order
        b"\x08\x81\x00\x12\x20" + bytes(32),  # its type in two bytes
        b"\x08\x63\x12\x20" + bytes(32),  # a type that there is not
        b"\x08\x01\x12\x1f" + bytes(31),
        b"\x08\x01\x12\x20" + bytes(32) + b"\x18\x01",  # a field behind it
        b"\x08\x01",
        b"\x12\x20" + bytes(32),
        b"\x08\x01\x12\x20" + bytes(32),  # of small order
        b"\x08\x01\x12\x20\xf0" + b"\xff" * 30 + b"\x7f",  # the point of y = 3, in a second way
    ],
    ids=bytes.hex,
)
def test_an_inlined_key_has_to_be_canonical(inlined: bytes) -> None:
    with pytest.raises(DecodeError):
        PeerId(bytes((0, len(inlined))) + inlined)


def test_forty_two_bytes_are_the_border() -> None:
    assert len(PublicKey(KeyType.ECDSA, bytes(38)).encode()) == MAX_INLINE
    assert bytes(PeerId.from_public_key(PublicKey(KeyType.ECDSA, bytes(38))))[:2] == b"\0\x2a"
    assert bytes(PeerId.from_public_key(PublicKey(KeyType.ECDSA, bytes(39))))[:2] == b"\x12\x20"


def test_value_object() -> None:
    peer, same, other = PeerId(BASE58), PeerId(BASE36), PeerId(SHA256)
    assert peer == same
    assert hash(peer) == hash(same)
    assert peer != other
    assert (peer == bytes(peer), peer == BASE58, peer != BASE58) == (False, False, True)
    assert {peer, same, other} == {peer, other}
    assert sorted([other, peer]) == [peer, other]
    assert peer < other
    assert other >= peer
    assert pickle.loads(pickle.dumps(peer)) == peer
    with pytest.raises(TypeError):
        _ = peer < BASE58
    assert not hasattr(peer, "__dict__")


@given(multihashes)
def test_round_trips(multihash: bytes) -> None:
    peer = PeerId(multihash)
    assert bytes(peer) == multihash
    cid = b"\x01\x72" + multihash
    for text in (peer.to_cid(), "k" + base58.encode(cid, base58.BASE36), "z" + base58.encode(cid)):
        assert PeerId(text) == peer
    if str(peer).startswith(("1", "Qm")):
        assert PeerId(str(peer)) == peer


NO_BYTES = [
    *(b"", b"\0\0", b"\0", b"\0\x2b" + bytes(43), b"\0\x80\x01" + bytes(128), b"\x12\x1f" + bytes(31), bytes(1 << 20)),
    *(b"\x12\x21" + bytes(33), b"\x11\x14" + bytes(20), b"\x13\x40" + bytes(64), b"\x92\x00\x20" + bytes(32)),
]


@pytest.mark.parametrize("value", NO_BYTES)
def test_bytes_that_are_none(value: bytes) -> None:
    with pytest.raises(DecodeError):
        PeerId(value)


NO_TEXTS = [
    *("", "1", "Qm", "Q", "b", "k", "z", "12D3KooW", "1" * 128, "1" * 129, "b" + "a" * (1 << 20)),
    *(BASE58[:-1], BASE58 + "1", "1" + BASE58, BASE58[:-1] + "0", " " + BASE58, BASE58 + "\n", BASE58 + "\0"),
    *(BASE32[:-1], BASE32 + "=", BASE32 + "a", BASE32.upper(), "b" + BASE32[1:].upper(), BASE32[:-1] + "1"),
    *(BASE32.replace("i", "ı", 1), "k" + BASE36[1:].upper(), BASE36[:-1] + "-", "k0" + BASE36[1:], "m" + BASE58),
    "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxf",  # bits behind the last byte
    "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",  # another multicodec
]


@pytest.mark.parametrize("value", NO_TEXTS)
def test_texts_that_are_none(value: str) -> None:
    with pytest.raises(DecodeError):
        PeerId(value)


@given(st.text(max_size=80) | st.text("bkz1Qm234567abcdefghijk", max_size=80))
def test_any_text(text: str) -> None:
    try:
        peer = PeerId(text)
    except DecodeError:
        return
    assert text in {str(peer), peer.to_cid()} or text[0] in "kz"


@given(st.binary(max_size=50))
def test_any_bytes(data: bytes) -> None:
    try:
        peer = PeerId(data)
    except DecodeError:
        return
    assert bytes(peer) == data
