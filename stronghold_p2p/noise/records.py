"""Noise transport records: the hot path of the whole stack, every byte of a connection passes here.

A record is ``u16 BE length ‖ ciphertext``, the ciphertext at most 65,535 bytes, 16 of them the tag; the
records of one direction form a byte stream (noise/README.md, Wire Format; Noise spec, 3.4 and 5.1).

Both classes repeat what ``CipherState`` says about counters, inlined: at 64 bytes a record the calls would
cost more than the cipher. The choices below were measured on CPython 3.11 with OpenSSL's ChaCha20Poly1305:

* Opening: ``decrypt`` makes its own ``bytes`` and beats ``decrypt_into`` a fresh bytearray at both ends
  (64 B: 0.9 against 1.1 us; 65,519 B: equal), and unauthenticated plaintext never exists on our side.
* Sealing: up to about 16 KiB the copy of ``encrypt`` behind a prefix is cheaper than the memoryview
  that ``encrypt_into`` needs (64 B: 1.0 against 1.3 us); above, one copy of a record costs more (2 us).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag

from stronghold_p2p.errors import ConnectionClosed, DecryptError, UsageError
from stronghold_p2p.noise.cipher import MAX_NONCE, TAGLEN, CipherState, pack_nonce
from stronghold_p2p.noise.handshake import MAX_MESSAGE

MAX_PLAINTEXT: Final = MAX_MESSAGE - TAGLEN
"""Bytes of plaintext that one record carries: 65,519."""

_PREFIX: Final = 2
_OVERHEAD: Final = _PREFIX + TAGLEN
_SMALL: Final = 16_384
_MANY: Final = 64  # pieces; more are joined first, as that costs less than a copy of each

_length: Final = Struct(">H")


class Sealer:
    """Turns plaintext into records, under the cipher of the sending direction.

    ``cipher`` (``Secured.send``) is taken over with its counter and must not be used otherwise afterwards.
    """

    __slots__ = ("_aead", "_encrypt", "_encrypt_into", "_n")

    def __init__(self, cipher: CipherState) -> None:
        if cipher.aead is None:
            raise UsageError("a record layer needs a cipher with a key")
        self._encrypt = cipher.aead.encrypt
        self._encrypt_into = cipher.aead.encrypt_into
        self._n = cipher.n

    def seal(self, plaintext: bytes | bytearray | memoryview) -> bytes | bytearray:
        """All of ``plaintext`` as records, in one buffer; each is filled before the next begins.

        Nothing for nothing: an empty plaintext gives no record. ``ConnectionClosed`` when the counter does
        not reach; then nothing was sealed and the connection has to end (noise/README.md, Encryption and I/O).
        """
        size = len(plaintext)
        if size > _SMALL:
            return self._seal_large(memoryview(plaintext), size)
        if not size:
            return b""
        n = self._n
        if n >= MAX_NONCE:
            raise _exhausted()
        self._n = n + 1
        return _length.pack(size + TAGLEN) + self._encrypt(pack_nonce(n), plaintext, None)

    def seal_pieces(self, pieces: Sequence[bytes | bytearray | memoryview]) -> list[bytes | bytearray]:
        """The same for plaintext in pieces, as buffers to be written one after the other.

        A long plaintext gives one buffer for each record, below the size from which the C library maps and
        unmaps memory for each allocation: the page faults of one buffer for 256 KiB cost more than its cipher.
        """
        size = sum(map(len, pieces))
        if size <= _SMALL:
            return [self.seal(b"".join(pieces))] if size else []
        if len(pieces) > _MANY:
            pieces = [b"".join(pieces)]
        records: list[bytes | bytearray] = []
        scratch = memoryview(bytearray(MAX_PLAINTEXT))
        at = 0
        for piece in pieces:
            start, length = 0, len(piece)
            while start < length:
                taken = min(length - start, MAX_PLAINTEXT - at)
                scratch[at : at + taken] = piece if taken == length else memoryview(piece)[start : start + taken]
                at += taken
                start += taken
                if at == MAX_PLAINTEXT:
                    records.append(self._seal_large(scratch, at))
                    at = 0
        if at:
            records.append(self.seal(scratch[:at]))
        return records

    def _seal_large(self, plaintext: memoryview, size: int) -> bytearray:
        n = self._n
        count = -(-size // MAX_PLAINTEXT)
        if n + count > MAX_NONCE:
            raise _exhausted()
        self._n = n + count
        records = bytearray(size + count * _OVERHEAD)
        out = memoryview(records)
        at = 0
        for start in range(0, size, MAX_PLAINTEXT):
            chunk = plaintext[start : start + MAX_PLAINTEXT]
            body = at + _PREFIX
            end = body + len(chunk) + TAGLEN
            _length.pack_into(records, at, end - body)
            self._encrypt_into(pack_nonce(n), chunk, None, out[body:end])
            n += 1
            at = end
        return records


class Opener:
    """Turns records into plaintext, under the cipher of the receiving direction.

    ``cipher`` (``Secured.receive``) is taken over with its counter and must not be used otherwise afterwards.
    ``failure`` is ``None`` until a record cannot be opened, and then final: nothing behind it can be trusted.
    """

    __slots__ = ("_decrypt", "_n", "failure")

    def __init__(self, cipher: CipherState) -> None:
        if cipher.aead is None:
            raise UsageError("a record layer needs a cipher with a key")
        self._decrypt = cipher.aead.decrypt
        self._n = cipher.n
        self.failure: ConnectionClosed | None = None

    def open(self, view: memoryview) -> tuple[list[bytes], int]:
        """Open every whole record at the front of ``view``: their plaintexts, and how many bytes they took.

        Records without plaintext are legal and add none (``wire-facts`` 4.2). A length that cannot hold a tag
        is refused as soon as it is there. When a record fails, those before it are still returned and
        ``failure`` says so: deliver, then end the connection. If it is the first one, and in every later
        call, ``failure`` is raised: ``DecryptError``, or ``ConnectionClosed`` when the counter is used up.
        """
        if self.failure is not None:
            raise self.failure
        plaintexts: list[bytes] = []
        n = self._n
        decrypt = self._decrypt
        available = len(view)
        at = 0
        try:
            while at + _PREFIX <= available:
                body = at + _PREFIX
                size = view[at] << 8 | view[at + 1]
                if size < TAGLEN:
                    raise DecryptError("a Noise record shorter than its tag")
                end = body + size
                if end > available:
                    break
                if n >= MAX_NONCE:
                    raise _exhausted()
                plaintext = decrypt(pack_nonce(n), view[body:end], None)
                n += 1
                at = end
                if plaintext:
                    plaintexts.append(plaintext)
        except (InvalidTag, ConnectionClosed) as error:
            self.failure = _closing(error)
            if not at:
                raise self.failure from None
        self._n = n
        return plaintexts, at


def _closing(error: InvalidTag | ConnectionClosed) -> ConnectionClosed:
    return DecryptError("a Noise record did not authenticate") if isinstance(error, InvalidTag) else error


def _exhausted() -> ConnectionClosed:
    return ConnectionClosed("the Noise counter is used up")
