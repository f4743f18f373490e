"""identity/keys/pkcs8.py: the second version of PKCS#8, which OpenSSL does not read (B09)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from stronghold_p2p.errors import IdentityError
from stronghold_p2p.identity.keys import pkcs8
from stronghold_p2p.identity.keys.identity import Identity
from tests.identity.private_keys import PUBLIC, RING, SEED, V1, V2, pem, tlv, with_attributes

OURS = Identity.from_seed(SEED).peer_id
# RFC 8410, section 10.3: the published example of the second version, with attributes
RFC_8410 = """-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
"""


def test_the_example_of_the_standard() -> None:
    identity = Identity.from_pem(RFC_8410)
    assert identity.public_key.data.hex() == "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"


@pytest.mark.parametrize(
    "der", [V1, V2, RING, V1[:4] + b"\x01" + V1[5:], with_attributes(bytes(31)), with_attributes(bytes(100))]
)
def test_b09_both_versions_are_read(der: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xef\xbb\xbfsome words\r\n" + pem(der).replace(b"\n", b"\r\n") + b"more words")
    path.chmod(0o600)
    assert Identity.load(path).peer_id == Identity.from_pem(pem(der)).peer_id == OURS


@pytest.mark.parametrize("der", [V2, RING])
def test_b09_the_public_key_inside_has_to_be_its_own(der: bytes) -> None:
    wrong = der[:-32] + bytes(reversed(PUBLIC))
    with pytest.raises(IdentityError, match="the key: the public key inside is not that of the private key"):
        Identity.from_pem(pem(wrong))


def test_what_is_close_to_it() -> None:
    for der in (V2, RING, with_attributes(bytes(31)), with_attributes(bytes(100))):
        assert pkcs8.decode(der) == (SEED, PUBLIC)
        for at in range(len(der)):
            changed = der[:at] + bytes((der[at] ^ 0x40,)) + der[at + 1 :]
            assert pkcs8.decode(changed) in (None, pkcs8.decode(changed))
            assert pkcs8.decode(changed) != (SEED, PUBLIC) or 0xA0 in der[40:60]  # but inside attributes
    assert pkcs8.decode(b"\x30\x81\x30" + V2[2:50]) is None  # a long length where a short one would do
    assert pkcs8.decode(tlv(0x30, V2[2:-1])) is None


def encrypted(der: bytes, passphrase: bytes) -> bytes:
    """PBES2 with PBKDF2 and AES-256-CBC (RFC 8018), as RustCrypto's ``pkcs8`` writes its second version."""
    salt = vector = bytes(16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, 2_048).derive(passphrase)
    padding = 16 - len(der) % 16
    cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    body = cipher.update(der + bytes([padding]) * padding) + cipher.finalize()
    hmac = tlv(0x30, tlv(6, bytes.fromhex("2a864886f70d0209")) + bytes.fromhex("0500"))
    kdf = tlv(0x30, tlv(4, salt) + tlv(2, b"\x08\x00") + hmac)
    derive = tlv(0x30, tlv(6, bytes.fromhex("2a864886f70d01050c")) + kdf)
    aes = tlv(0x30, tlv(6, bytes.fromhex("60864801650304012a")) + tlv(4, vector))
    algorithm = tlv(0x30, tlv(6, bytes.fromhex("2a864886f70d01050d")) + tlv(0x30, derive + aes))
    return pem(tlv(0x30, algorithm + tlv(4, body)), "ENCRYPTED PRIVATE KEY")


def test_encrypted_it_is_not_read_and_the_error_says_so() -> None:
    assert Identity.from_pem(encrypted(V1, b"secret"), passphrase=b"secret").peer_id == OURS
    with pytest.raises(IdentityError, match="or PKCS#8 v2, which is read only unencrypted"):
        Identity.from_pem(encrypted(V2, b"secret"), passphrase=b"secret")
    with pytest.raises(IdentityError, match="is not encrypted: pass no passphrase"):
        Identity.from_pem(pem(V2), passphrase=b"secret")


def test_base64_that_is_none() -> None:
    broken = b"-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----\n"
    assert base64.b64encode(b"") == b""
    with pytest.raises(IdentityError, match="not a private key in PKCS#8 PEM"):
        Identity.from_pem(broken)
