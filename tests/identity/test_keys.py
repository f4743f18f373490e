"""identity/keys/identity.py: our own key pair."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import ConfigError, IdentityError
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.public_key import KeyMessage, KeyType, PublicKey
from tests.identity import vectors

SEED = bytes(range(32))
# RFC 8032, 7.1, TEST 2
RFC_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def private_data(kind: str) -> bytes:
    data = protobuf.decode(KeyMessage, vectors.private(kind)).data
    assert data is not None
    return data


def test_ed25519_vector() -> None:
    identity = Identity.from_private_protobuf(vectors.private("ed25519"))
    assert identity.public_key.encode() == vectors.public("ed25519")
    assert identity.private_protobuf() == vectors.private("ed25519")
    assert str(identity.peer_id) == "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


def test_rfc_8032_vector() -> None:
    identity = Identity.from_seed(RFC_SEED)
    assert identity.public_key == PublicKey(KeyType.ED25519, RFC_PUBLIC)
    assert identity.sign(b"\x72") == RFC_SIGNATURE


def test_a_fresh_identity_each_time() -> None:
    one, other = Identity(), Identity()
    assert one.peer_id != other.peer_id
    assert one.peer_id == PeerId.from_public_key(one.public_key)
    assert one.public_key.verify(b"message", one.sign(b"message"))
    assert not other.public_key.verify(b"message", one.sign(b"message"))


def test_nothing_shows_the_secret() -> None:
    identity = Identity.from_seed(SEED)
    assert repr(identity) == f"Identity({identity.peer_id})"
    for text in (repr(identity), str(identity), repr(identity._private)):
        assert SEED.hex() not in text
        assert repr(SEED)[2:-1] not in text
    assert not hasattr(identity, "__dict__")
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(identity)
    assert copy.copy(identity).peer_id == identity.peer_id


def test_a_signer_elsewhere(tmp_path: Path) -> None:
    vault = Identity.from_seed(SEED)
    asked: list[bytes] = []

    def sign(message: bytes) -> bytes:
        asked.append(message)
        return vault.sign(message)

    identity = Identity.from_signer(vault.public_key.data, sign)
    assert identity.peer_id == vault.peer_id
    assert identity.sign(b"message") == vault.sign(b"message")
    assert asked == [b"message"]
    for export in (identity.private_protobuf, lambda: identity.save(tmp_path / "key")):
        with pytest.raises(IdentityError, match="held by the signer"):
            export()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IdentityError, match="does not verify"):
        Identity.from_signer(vault.public_key.data, Identity().sign).sign(b"message")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_wrong_lengths(length: int) -> None:
    with pytest.raises(IdentityError, match=f"not {length}"):
        Identity.from_seed(bytes(length))
    with pytest.raises(IdentityError, match=f"not {length}"):
        Identity.from_signer(bytes(length), Identity().sign)


def test_the_older_private_form_repeats_the_public_key() -> None:
    data = private_data("ed25519")
    older = protobuf.encode(KeyMessage(type=1, data=data + data[32:]))
    assert Identity.from_private_protobuf(older).public_key.encode() == vectors.public("ed25519")


def _encoded(key_type: int | None, data: bytes | None) -> bytes:
    return protobuf.encode(KeyMessage(type=key_type, data=data))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        *((vectors.private(kind), "Ed25519") for kind in ("rsa", "ecdsa", "secp256k1")),
        (b"", "not a private key of type Ed25519"),
        (b"\x08", "not a private key: truncated"),
        (_encoded(1, None), "not a private key of type Ed25519"),
        (_encoded(None, bytes(64)), "not a private key of type Ed25519"),
        (_encoded(1, SEED), "not a private key of type Ed25519"),
        (_encoded(1, bytes(65)), "not a private key of type Ed25519"),
        (_encoded(2, SEED), "not a private key of type Ed25519"),
        (_encoded(1, SEED + bytes(32)), "not its own"),
        (_encoded(1, RFC_SEED + RFC_PUBLIC + bytes(32)), "not its own"),
        (_encoded(1, RFC_SEED + bytes(32) + RFC_PUBLIC), "not its own"),
    ],
)
def test_private_protobufs_that_are_refused(encoded: bytes, reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        Identity.from_private_protobuf(encoded)


def test_save_and_load(tmp_path: Path) -> None:
    identity = Identity.from_seed(SEED)
    identity.save(tmp_path / "key", passphrase=b"secret")
    assert Identity.load(str(tmp_path / "key"), passphrase=b"secret").private_protobuf() == identity.private_protobuf()
    made = Identity.load(tmp_path / "other", create=True, passphrase=b"x")
    assert Identity.load(tmp_path / "other", create=True, passphrase=b"x").peer_id == made.peer_id
    with pytest.raises(ConfigError, match="does not exist: create the key first") as caught:
        Identity.load(tmp_path / "nothing")
    assert caught.value.where == str(tmp_path / "nothing")
