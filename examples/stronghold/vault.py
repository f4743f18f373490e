"""A vault: secrets in one encrypted file. Procedures use them where they lie; no call gives one out.

The file is JSON: how the key is made of the passphrase (scrypt, RFC 7914), a nonce, and the secrets, sealed with
ChaCha20-Poly1305 (RFC 8439) so that a changed byte anywhere is noticed. It is written anew with each change, beside the
old one and then in its place, and only its owner may read it. A secret has a path, as ``wallet/main``, and is 32 bytes.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

FORMAT = "stronghold-example-vault-1"
COST = 1 << 15  # of scrypt: 32 MiB and a tenth of a second for each try
DERIVED = b"stronghold-example derive "


class VaultError(Exception):
    """Nothing has changed, and the text says why."""


class Vault:
    """Opened with its passphrase. A path that is not there, or is taken, is a ``VaultError``."""

    def __init__(self, file: Path, key: bytes, salt: bytes, secrets: dict[str, bytes]) -> None:
        self._file = file
        self._key = key
        self._salt = salt
        self._secrets = secrets

    @staticmethod
    def open(file: Path, passphrase: bytes, *, create: bool = False) -> "Vault":
        """Read it; with ``create`` a new one where there is none."""
        if create and not file.exists():
            salt = os.urandom(16)
            vault = Vault(file, _key(passphrase, salt), salt, {})
            vault._save({})
            return vault
        try:
            told = json.loads(file.read_bytes())
            salt, nonce, sealed = (bytes.fromhex(told[name]) for name in ("salt", "nonce", "sealed"))
            if told["format"] != FORMAT:
                raise ValueError(told["format"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VaultError(f"{file} is no vault: {error}") from None
        key = _key(passphrase, salt)
        try:
            plain = ChaCha20Poly1305(key).decrypt(nonce, sealed, FORMAT.encode() + salt)
        except InvalidTag:
            raise VaultError("this is another vault's passphrase, or the file has been changed") from None
        return Vault(file, key, salt, {path: bytes.fromhex(secret) for path, secret in json.loads(plain).items()})

    def paths(self) -> list[str]:
        return sorted(self._secrets)

    def generate(self, path: str) -> bytes:
        """A new Ed25519 key at ``path``; its public key."""
        self._put(path, os.urandom(32))
        return self.public_key(path)

    def derive(self, path: str, target: str, info: str) -> bytes:
        """A key made of the one at ``path`` and ``info`` (HKDF, RFC 5869), kept at ``target``; its public key."""
        made = HKDF(hashes.SHA256(), 32, None, DERIVED + info.encode()).derive(self._secret(path))
        self._put(target, made)
        return self.public_key(target)

    def public_key(self, path: str) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self._secret(path)).public_key().public_bytes_raw()

    def sign(self, path: str, message: bytes) -> bytes:
        """The Ed25519 signature (RFC 8032) of the key at ``path``."""
        return Ed25519PrivateKey.from_private_bytes(self._secret(path)).sign(message)

    def revoke(self, path: str) -> None:
        """Forget the secret at ``path``."""
        self._secret(path)
        left = {name: secret for name, secret in self._secrets.items() if name != path}
        self._save(left)

    def _secret(self, path: str) -> bytes:
        try:
            return self._secrets[path]
        except KeyError:
            raise VaultError(f"there is no secret at {path}") from None

    def _put(self, path: str, secret: bytes) -> None:
        if path in self._secrets:
            raise VaultError(f"there is a secret at {path} already: revoke it first")
        self._save({**self._secrets, path: secret})

    def _save(self, secrets: dict[str, bytes]) -> None:
        nonce = os.urandom(12)
        plain = json.dumps({path: secret.hex() for path, secret in secrets.items()}).encode()
        sealed = ChaCha20Poly1305(self._key).encrypt(nonce, plain, FORMAT.encode() + self._salt)
        told: dict[str, Any] = {
            "format": FORMAT,
            "salt": self._salt.hex(),
            "nonce": nonce.hex(),
            "sealed": sealed.hex(),
        }
        with tempfile.NamedTemporaryFile("w", dir=self._file.parent, prefix=self._file.name, delete=False) as beside:
            json.dump(told, beside)
            beside.flush()
            os.fsync(beside.fileno())
        os.replace(beside.name, self._file)
        self._secrets = secrets


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=COST, r=8, p=1).derive(passphrase)
