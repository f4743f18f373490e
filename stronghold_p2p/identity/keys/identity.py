"""Our own key pair. Ed25519 is the type that every libp2p implementation must support (peer-ids/peer-ids.md).

The keys of others, in all four types, are in ``public_key``.
"""

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stronghold_p2p import files
from stronghold_p2p.arguments import kind_of
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import DecodeError, IdentityError
from stronghold_p2p.identity.keys import storage
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.public_key import KeyMessage, KeyType, PublicKey


class Identity:
    """Our identity: an Ed25519 key pair, or a public key with a signer that holds the private one.

    ``Identity()`` makes a fresh one. ``peer_id`` is its name, ``public_key`` what others see of it.
    """

    __slots__ = ("_private", "_sign", "peer_id", "public_key")

    def __init__(self, private: Ed25519PrivateKey | None = None) -> None:
        private = Ed25519PrivateKey.generate() if private is None else private
        if not isinstance(private, Ed25519PrivateKey):
            told = "Identity.load(path) reads a key file, Identity.from_seed and Identity.from_pem take its bytes"
            raise IdentityError(f"private is {kind_of(private)}: {told}", where="private")
        self._be(private.public_key().public_bytes_raw(), private.sign, private)

    def _be(self, public: bytes, sign: Callable[[bytes], bytes], private: Ed25519PrivateKey | None) -> "Identity":
        self._sign, self._private = sign, private
        self.public_key = PublicKey(KeyType.ED25519, public)
        self.peer_id = PeerId.from_public_key(self.public_key)
        return self

    @staticmethod
    def from_seed(seed: bytes) -> "Identity":
        """The key pair of a 32-byte ``seed`` (RFC 8032's private key); ``IdentityError`` for anything else."""
        _check_bytes(seed, "a seed")
        if len(seed) != 32:
            raise IdentityError(f"a seed has 32 bytes, not {len(seed)}")
        return Identity(Ed25519PrivateKey.from_private_bytes(seed))

    @staticmethod
    def from_signer(public_key: bytes, sign: Callable[[bytes], bytes]) -> "Identity":
        """A key that stays elsewhere, in a vault or a token: its 32 public bytes, and ``sign(message)``.

        ``sign`` is called from the event loop and has to be quick. What it returns is verified.
        """
        _check_bytes(public_key, "an Ed25519 public key")
        if not callable(sign):
            raise IdentityError(f"sign={sign!r}: take a function that returns the signature of a message", where="sign")
        if len(public_key) != 32:
            raise IdentityError(f"an Ed25519 public key has 32 bytes, not {len(public_key)}")
        return Identity.__new__(Identity)._be(bytes(public_key), sign, None)  # noqa: SLF001 - ours

    @staticmethod
    def from_private_protobuf(data: bytes) -> "Identity":
        """Import the ``PrivateKey`` protobuf of other implementations; ``IdentityError`` if it holds none of ours.

        Both forms of peer-ids/peer-ids.md, "Ed25519", are read: seed and public key, and the older one that repeats
        the public key. The copies have to be those of the seed.
        """
        _check_bytes(data, "a private key")
        try:
            message = protobuf.decode(KeyMessage, data)
        except DecodeError as error:
            raise IdentityError(f"not a private key: {error}") from None
        if message.type != KeyType.ED25519 or message.data is None or len(message.data) not in (64, 96):
            raise IdentityError("not a private key of type Ed25519")
        identity = Identity.from_seed(message.data[:32])
        copies = message.data[32:]
        if copies != identity.public_key.data * (len(copies) // 32):
            raise IdentityError("the public key inside the private key is not its own")
        return identity

    @staticmethod
    def from_pem(data: bytes | str, *, passphrase: bytes = b"") -> "Identity":
        """The key pair in the text of a key file, wherever that comes from: a mounted secret, a variable, a vault.

        PKCS#8 in PEM (RFC 5958, both versions), encrypted with ``passphrase`` if there is one, and with anything around
        it. ``IdentityError``: it is none; what it looks like is told, and the call that reads that.
        """
        if not isinstance(data, bytes | str):
            raise IdentityError(f"from_pem takes the bytes or the text of a key file, not {kind_of(data)}")
        text = data.encode(errors="replace") if isinstance(data, str) else data
        return Identity(storage.parse(text, "the key", passphrase))

    @staticmethod
    def load(path: Path | str, *, create: bool = False, passphrase: bytes = b"") -> "Identity":
        """Read a key file; with ``create``, make one if there is none: of several processes that do, all get the same.

        Others must have no rights on the file; on one that belongs to root, as mounted secrets do, its group may read.
        ``IdentityError`` says what to do.
        """
        return Identity(storage.load(files.located(path), create=create, passphrase=passphrase))

    def save(self, path: Path | str, *, passphrase: bytes = b"") -> None:
        """Write a new key file of mode 0600, encrypted if there is a ``passphrase``; never overwrites anything."""
        storage.save(self._exportable(), files.located(path), passphrase=passphrase)

    def private_protobuf(self) -> bytes:
        """The ``PrivateKey`` protobuf, for other implementations. It is the secret itself: keep it so."""
        data = self._exportable().private_bytes_raw() + self.public_key.data
        return protobuf.encode(KeyMessage(type=KeyType.ED25519, data=data))

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message``, 64 bytes; ``IdentityError`` if a signer returned anything else."""
        signature = self._sign(message)
        if self._private is None and not self.public_key.verify(message, signature):
            raise IdentityError("the signer returned a signature that does not verify: is it the right key?")
        return signature

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"

    def _exportable(self) -> Ed25519PrivateKey:
        if self._private is None:
            raise IdentityError("the private key is held by the signer and cannot be exported")
        return self._private


def _check_bytes(value: object, what: str) -> None:
    """``IdentityError`` for what is no bytes; it is not shown, as it may be a secret."""
    if not isinstance(value, bytes):
        raise IdentityError(f"{what} is bytes, not {kind_of(value)}")
