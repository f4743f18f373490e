"""One Ed25519 key in the forms in which tools write it."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.identity.public_key import KeyMessage, KeyType

SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
PUBLIC = KEY.public_key().public_bytes_raw()

V1 = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
V2 = bytes.fromhex("3051020101300506032b657004220420") + SEED + bytes.fromhex("812100") + PUBLIC  # RFC 8410, 7
RING = bytes.fromhex("3053020101300506032b657004220420") + SEED + bytes.fromhex("a123032100") + PUBLIC
PROTOBUF = protobuf.encode(KeyMessage(type=KeyType.ED25519, data=SEED + PUBLIC))
PROTOBUF_96 = protobuf.encode(KeyMessage(type=KeyType.ED25519, data=SEED + PUBLIC + PUBLIC))
OPENSSH = KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PUBLIC_DER = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PUBLIC_SSH = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
PEER_ID = "12D3KooWA3wpYCBBkGYbBDQzsDyFiYFCkshxJYaJ8eKzmTLyVu6E"
KUBO = json.dumps({"Identity": {"PeerID": PEER_ID, "PrivKey": base64.b64encode(PROTOBUF).decode()}, "Datastore": {}})
KEYGEN = json.dumps({"PeerId": PEER_ID, "Keypair": base64.b64encode(PROTOBUF).decode()})
JWK = json.dumps({"kty": "OKP", "crv": "Ed25519", "d": base64.urlsafe_b64encode(SEED).decode().rstrip("=")})


def pem(der: bytes, label: str = "PRIVATE KEY") -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()


def tlv(tag: int, content: bytes) -> bytes:
    """One value in DER, of less than 256 bytes."""
    size = len(content)
    return bytes((tag, size) if size < 0x80 else (tag, 0x81, size)) + content


def with_attributes(attributes: bytes) -> bytes:
    """The second version, with the attributes that RFC 8410, 10.3 shows, or other ones."""
    inner = bytes.fromhex("020101300506032b657004220420") + SEED + tlv(0xA0, attributes)
    return tlv(0x30, inner + bytes.fromhex("812100") + PUBLIC)
