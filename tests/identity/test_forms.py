"""identity/keys/forms.py: what people bring instead of a key file, and that each call which is named reads it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from stronghold_p2p.errors import IdentityError
from stronghold_p2p.identity.keys import forms
from stronghold_p2p.identity.keys.identity import Identity
from tests.identity import private_keys as keys

OURS = Identity.from_seed(keys.SEED).peer_id
FOREIGN = X25519PrivateKey.from_private_bytes(bytes(32)).private_bytes(
    Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
)

READABLE = {
    "OpenSSH": (keys.OPENSSH, "an OpenSSH key"),
    "DER": (keys.V1, "PKCS#8 in DER, not PEM"),
    "DER, v2": (keys.V2, "PKCS#8 in DER, not PEM"),
    "DER, v2 of ring": (keys.RING, "PKCS#8 in DER, not PEM"),
    "protobuf": (keys.PROTOBUF, "the PrivateKey protobuf of libp2p"),
    "older protobuf": (keys.PROTOBUF_96, "the PrivateKey protobuf of libp2p"),
    "protobuf in base64": (base64.b64encode(keys.PROTOBUF) + b"\n", "in base64, the PrivateKey protobuf"),
    "protobuf in hex": (keys.PROTOBUF.hex().encode(), "in hexadecimal digits, the PrivateKey protobuf"),
    "kubo's config": (keys.KUBO.encode(), "in base64, the PrivateKey protobuf"),
    "rust's keygen": (keys.KEYGEN.encode(), "in base64, the PrivateKey protobuf"),
    "seed": (keys.SEED, "32 bytes, perhaps a seed"),
    "seed in hex": (keys.SEED.hex().upper().encode() + b"\n", "in hexadecimal digits, 32 bytes"),
    "seed in hex with 0x": (b" 0x" + keys.SEED.hex().encode(), "in hexadecimal digits, 32 bytes"),
    "seed in base64": (base64.b64encode(keys.SEED), "in base64, 32 bytes"),
    "seed and public key": (keys.SEED + keys.PUBLIC, "a seed and its public key"),
    "JSON Web Key": (keys.JWK.encode(), "a JSON Web Key"),
    "UTF-16": (keys.pem(keys.V1).decode().encode("utf-16"), "text in UTF-16"),
    "UTF-16 without a mark": (keys.pem(keys.V1).decode().encode("utf-16-le"), "text in UTF-16"),
}
OTHERS = {
    "empty": (b"", "it is empty"),
    "blank": (b" \n\n", "it is empty"),
    "public key": (keys.PUBLIC_PEM, "a public key"),
    "public key in DER": (keys.PUBLIC_DER, "a public key"),
    "public key of ssh": (keys.PUBLIC_SSH, "a public key"),
    "public key of libp2p": (Identity.from_seed(keys.SEED).public_key.encode(), "a public key"),
    "public key as JWK": (json.dumps({"kty": "OKP", "x": ""}).encode(), "a public key"),
    "certificate": (keys.pem(b"0", "CERTIFICATE"), "a certificate"),
    "PuTTY": (b"PuTTY-User-Key-File-3: ssh-ed25519\r\n", "puttygen FILE -O private-openssh"),
    "protobuf of another type": (bytes.fromhex("080012040a0b0c0d"), "only Ed25519"),
    "a JSON without a key": (b'{"PeerId": "12D3KooW", "n": [1]}', forms.NO_KEY),
    "no JSON": (b"{" * 10_000, forms.NO_KEY),
    "base64 of nothing known": (b"AAAA", forms.NO_KEY),
    "no base64": (b"AAAAA", forms.NO_KEY),
    "64 other bytes": (bytes(64), forms.NO_KEY),
    "a text": (b"no key", forms.NO_KEY),
}


def said(data: bytes) -> str:
    with pytest.raises(IdentityError) as caught:
        Identity.from_pem(data)
    return str(caught.value)


@pytest.mark.parametrize("name", READABLE)
def test_b09_each_form_of_other_tools_is_named_with_the_call_that_reads_it(name: str, tmp_path: Path) -> None:
    data, told = READABLE[name]
    message = said(data)
    assert told in message
    path = tmp_path / "key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=re.escape(f"{path}: {told}")):
        Identity.load(path)
    call = re.search(r"(Identity\..*\)) reads it", message)
    assert call is not None
    text = "" if told.startswith(("PKCS", "text in", "the ", "32 ", "a seed")) else data.decode()
    known = {"Identity": Identity, "base64": base64, "json": json, "load_ssh_private_key": load_ssh_private_key}
    assert eval(call[1], known, {"data": data, "text": text}).peer_id == OURS


@pytest.mark.parametrize("name", OTHERS)
def test_b09_what_cannot_be_read_is_named(name: str) -> None:
    data, told = OTHERS[name]
    assert told in said(data)


def test_a_private_key_of_another_type_in_der_is_none_that_we_know() -> None:
    assert forms.NO_KEY in said(FOREIGN)


def test_nothing_of_a_key_is_told() -> None:
    secrets = [
        keys.SEED.hex(),
        keys.SEED.hex().upper(),
        base64.b64encode(keys.SEED).decode()[:16],
        repr(keys.SEED)[2:20],
    ]
    for data, _ in READABLE.values():
        assert not [secret for secret in secrets if secret in said(data)]
