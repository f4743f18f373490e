"""Noise transport records: the hot path of the whole stack, every byte of a connection passes here.

A record is ``u16 BE length ‖ ciphertext``, the ciphertext at most 65,535 bytes, 16 of them the tag; the
records of one direction form a byte stream (noise/README.md, Wire Format; Noise spec, 3.4 and 5.1).

Both classes repeat what ``CipherState`` says about counters, inlined: at 64 bytes a record the calls would
cost more than the cipher. Up to ``ONE_SHOT`` bytes the plain ``encrypt`` and ``decrypt`` are cheapest. Above it,
memory costs: each fresh buffer is zeroed, filled, and pushes others out of the processor's cache. There both
directions work in a ``Workspace`` that is used again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag

from stronghold_p2p.errors import ConnectionClosed, DecryptError, UsageError
from stronghold_p2p.noise.cipher import MAX_NONCE, TAGLEN, CipherState, pack_nonce
from stronghold_p2p.noise.handshake import MAX_MESSAGE

MAX_PLAINTEXT: Final = MAX_MESSAGE - TAGLEN
"""Bytes of plaintext that one record carries: 65,519."""

ONE_SHOT: Final = 8_192
"""Bytes of plaintext up to which a record is sealed and opened in fresh memory."""

_PREFIX: Final = 2
SEALED_TOGETHER: Final = 4  # records sealed before they are written: with their plaintext they fit a core's cache
JOINED_FROM: Final = 64  # pieces; more are joined first, as that costs less than a copy of each

_length: Final = Struct(">H")

Buffer = bytes | bytearray | memoryview


class Workspace:
    """Memory in which large records are sealed and opened; one for all connections of an event loop.

    Nothing in it is valid for longer than the call that it was handed to.
    """

    __slots__ = ("opened", "plaintext", "sealed")

    def __init__(self) -> None:
        self.opened = memoryview(bytearray(MAX_PLAINTEXT + ONE_SHOT))
        self.plaintext = memoryview(bytearray(MAX_PLAINTEXT))
        self.sealed = memoryview(bytearray(SEALED_TOGETHER * (_PREFIX + MAX_MESSAGE)))


class Sealer:
    """Turns plaintext into records, under the cipher of the sending direction.

    ``cipher`` (``Handshaken.send``) is taken over with its counter and must not be used otherwise afterwards.
    """

    __slots__ = ("_aead", "_encrypt", "_encrypt_into", "_n")

    def __init__(self, cipher: CipherState) -> None:
        if cipher.aead is None:
            raise UsageError("a record layer needs a cipher with a key")
        self._encrypt = cipher.aead.encrypt
        self._encrypt_into = cipher.aead.encrypt_into
        self._n = cipher.n

    def seal(self, plaintext: Buffer) -> bytes:
        """All of ``plaintext`` as records, each filled before the next begins.

        Nothing for nothing: an empty plaintext gives no record. ``ConnectionClosed`` when the counter does
        not reach; then nothing was sealed and the connection has to end (noise/README.md, Encryption and I/O).
        """
        size, n = len(plaintext), self._n
        if not size:
            return b""
        if n + (size - 1) // MAX_PLAINTEXT >= MAX_NONCE:
            raise _exhausted()
        if size > MAX_PLAINTEXT:
            view = memoryview(plaintext)
            return b"".join(self.seal(view[at : at + MAX_PLAINTEXT]) for at in range(0, size, MAX_PLAINTEXT))
        self._n = n + 1
        return _length.pack(size + TAGLEN) + self._encrypt(pack_nonce(n), plaintext, None)

    def seal_pieces(
        self,
        pieces: Sequence[Buffer],
        space: Workspace,
        write: Callable[[bytes | memoryview], object],
        size: int,
    ) -> None:
        """The same for plaintext in pieces, of ``size`` bytes together.

        ``write`` is called with records in order, several at a time. What it is given is only valid during the call.
        """
        if size <= ONE_SHOT:
            n = self._n
            if size and n < MAX_NONCE:  # ``seal``, as far as it is for one record
                self._n = n + 1
                write(_length.pack(size + TAGLEN) + self._encrypt(pack_nonce(n), b"".join(pieces), None))
            elif size:
                raise _exhausted()
            return
        if len(pieces) > JOINED_FROM:
            pieces = [b"".join(pieces)]
        plaintext, sealed = space.plaintext, space.sealed
        at = end = 0
        for piece in pieces:
            start, length = 0, len(piece)
            while start < length:
                taken = min(length - start, MAX_PLAINTEXT - at)
                plaintext[at : at + taken] = piece if taken == length else memoryview(piece)[start : start + taken]
                at += taken
                start += taken
                if at == MAX_PLAINTEXT:
                    end = self._seal_into(plaintext, sealed, end)
                    at = 0
                    if end == len(sealed):
                        write(sealed)
                        end = 0
        if at:
            end = self._seal_into(plaintext[:at], sealed, end)
        if end:
            write(sealed[:end])

    def _seal_into(self, plaintext: memoryview, sealed: memoryview, at: int) -> int:
        """One record into ``sealed`` from ``at`` on; where it ends."""
        n = self._n
        if n >= MAX_NONCE:
            raise _exhausted()
        self._n = n + 1
        body = at + _PREFIX
        end = body + len(plaintext) + TAGLEN
        _length.pack_into(sealed, at, end - body)
        self._encrypt_into(pack_nonce(n), plaintext, None, sealed[body:end])
        return end


class Opener:
    """Turns records into plaintext, under the cipher of the receiving direction.

    ``cipher`` (``Handshaken.receive``) is taken over with its counter and must not be used otherwise afterwards.
    ``failure`` is ``None`` until a record cannot be opened, and then final: nothing behind it can be trusted.
    """

    __slots__ = ("_decrypt", "_decrypt_into", "_n", "failure")

    def __init__(self, cipher: CipherState) -> None:
        if cipher.aead is None:
            raise UsageError("a record layer needs a cipher with a key")
        self._decrypt = cipher.aead.decrypt
        self._decrypt_into = cipher.aead.decrypt_into
        self._n = cipher.n
        self.failure: ConnectionClosed | None = None

    def open(
        self, view: memoryview, deliver: Callable[[bytes | memoryview], None], space: Workspace | None = None
    ) -> int:
        """Open every whole record at the front of ``view``; returns how many bytes they took.

        ``deliver`` is called with the plaintext of each, once it is authenticated; with a ``space`` it is only valid
        during the call, and may be that of a full record and the short one behind it. Records without plaintext are
        legal and give none (Noise spec, 3). A length that cannot hold a tag is refused as soon as it is there.
        When a record fails, those before it have been delivered, and ``failure`` is raised, now and in every later
        call: ``DecryptError``, or ``ConnectionClosed`` when the counter is used up.
        """
        if self.failure is not None:
            raise self.failure
        plaintext: bytes | memoryview
        available = len(view)
        at = 0
        while at + _PREFIX <= available:
            body = at + _PREFIX
            size = view[at] << 8 | view[at + 1]
            end = body + size
            if end > available and size >= TAGLEN:
                break
            n = self._n
            try:
                if TAGLEN <= size <= ONE_SHOT and n < MAX_NONCE:
                    plaintext = self._decrypt(pack_nonce(n), view[body:end], None)
                else:
                    plaintext = self._open_other(view[body:end], size, space)
            except (InvalidTag, ConnectionClosed) as error:
                self.failure = _closing(error)
                raise self.failure from None
            self._n = n + 1
            at = end
            if size == MAX_MESSAGE and space is not None:
                plaintext, at = self._with_rest(view, at, space)
            if size > TAGLEN:
                deliver(plaintext)
        return at

    def _with_rest(self, view: memoryview, at: int, space: Workspace) -> tuple[memoryview, int]:
        """The full record that was opened last, in one piece with a short one behind it, and where that ends.

        A full frame of go-yamux is a little longer than a record. A rest that cannot be opened is left alone: the
        next look at it says why.
        """
        body = at + _PREFIX
        size = view[at] << 8 | view[at + 1] if body <= len(view) else 0
        if TAGLEN < size <= ONE_SHOT and body + size <= len(view) and self._n < MAX_NONCE:
            whole = space.opened[: MAX_PLAINTEXT + size - TAGLEN]
            try:
                self._decrypt_into(pack_nonce(self._n), view[body : body + size], None, whole[MAX_PLAINTEXT:])
            except InvalidTag:
                return space.opened[:MAX_PLAINTEXT], at
            self._n += 1
            return whole, body + size
        return space.opened[:MAX_PLAINTEXT], at

    def _open_other(self, record: memoryview, size: int, space: Workspace | None) -> bytes | memoryview:
        """A large record, or none."""
        if size < TAGLEN:
            raise DecryptError("a Noise record shorter than its tag")
        n = self._n
        if n >= MAX_NONCE:
            raise _exhausted()
        if space is None:
            return self._decrypt(pack_nonce(n), record, None)
        plaintext = space.opened[: size - TAGLEN]
        self._decrypt_into(pack_nonce(n), record, None, plaintext)
        return plaintext


def _closing(error: InvalidTag | ConnectionClosed) -> ConnectionClosed:
    return DecryptError("a Noise record did not authenticate") if isinstance(error, InvalidTag) else error


def _exhausted() -> ConnectionClosed:
    return ConnectionClosed("the Noise counter is used up")
