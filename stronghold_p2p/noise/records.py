"""Noise transport records: the hot path of the whole stack, every byte of a connection passes here.

A record is ``u16 BE length ‖ ciphertext``, the ciphertext at most 65,535 bytes, 16 of them the tag; the
records of one direction form a byte stream (noise/README.md, Wire Format; Noise spec, 3.4 and 5.1).

Both classes repeat what ``CipherState`` says about counters, inlined: at 64 bytes a record the calls would
cost more than the cipher. Up to ``ONE_SHOT`` bytes the plain ``encrypt`` and ``decrypt`` are cheapest. Above it,
memory costs: each fresh buffer is zeroed, filled, and pushes others out of the processor's cache. There both
directions work in a ``Workspace`` that is used again and again; what they hand out is valid during the call only.
"""

from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag

from stronghold_p2p.errors import ConnectionClosed, DecryptError
from stronghold_p2p.noise.cipher import MAX_NONCE, TAGLEN, CipherState, pack_nonce
from stronghold_p2p.noise.handshake import MAX_MESSAGE
from stronghold_p2p.seams import Deliver, Pieces, Write

MAX_PLAINTEXT: Final = MAX_MESSAGE - TAGLEN
"""Bytes of plaintext that one record carries: 65,519."""

# What ``ONE_SHOT`` gains shows ``python -m benchmarks.flushing``; the rest of flushing stands in
# yamux/outbox.py.
ONE_SHOT: Final = 8_192  # bytes of a record up to which it is sealed and opened in fresh memory
JOINED_FROM: Final = 64  # pieces; more are joined first: a copy of each costs more (python -m benchmarks.sealing)

_PREFIX: Final = 2
_length: Final = Struct(">H")


class Workspace:
    """Memory in which large records are sealed and opened; one for all connections of a network."""

    __slots__ = ("opened", "plaintext", "sealed")

    def __init__(self) -> None:
        self.opened = memoryview(bytearray(MAX_PLAINTEXT + ONE_SHOT))
        self.plaintext = memoryview(bytearray(MAX_PLAINTEXT))
        self.sealed = memoryview(bytearray(_PREFIX + MAX_MESSAGE))


class Sealer:
    """Turns plaintext into records, under the cipher of the sending direction, whose counter it takes over."""

    def __init__(self, cipher: CipherState, space: Workspace) -> None:
        assert cipher.aead is not None
        self._encrypt = cipher.aead.encrypt
        self._encrypt_into = cipher.aead.encrypt_into
        self._sent = cipher.n
        self._space = space

    def seal(self, pieces: Pieces, size: int, write: Write) -> None:
        """Give ``pieces``, of ``size`` bytes together, to ``write`` as records, each filled before the next begins.

        Nothing is written for nothing. ``ConnectionClosed`` when the counter is used up: the connection has to end
        (noise/README.md, Encryption and I/O).
        """
        if size <= ONE_SHOT:
            n = self._sent
            if size and n < MAX_NONCE:
                self._sent = n + 1
                write(_length.pack(size + TAGLEN) + self._encrypt(pack_nonce(n), b"".join(pieces), None))
            elif size:
                raise _exhausted()
            return
        if len(pieces) > JOINED_FROM:
            pieces = [b"".join(pieces)]
        plaintext, at = self._space.plaintext, 0
        for piece in pieces:
            start, length = 0, len(piece)
            while start < length:
                taken = min(length - start, MAX_PLAINTEXT - at)
                plaintext[at : at + taken] = piece if taken == length else memoryview(piece)[start : start + taken]
                at += taken
                start += taken
                if at == MAX_PLAINTEXT:
                    self._seal_large(plaintext, write)
                    at = 0
        if at:
            self._seal_large(plaintext[:at], write)

    def _seal_large(self, plaintext: memoryview, write: Write) -> None:
        n = self._sent
        if n >= MAX_NONCE:
            raise _exhausted()
        self._sent = n + 1
        size = len(plaintext) + TAGLEN
        record = self._space.sealed[: _PREFIX + size]
        _length.pack_into(record, 0, size)
        self._encrypt_into(pack_nonce(n), plaintext, None, record[_PREFIX:])
        write(record)


class Opener:
    """Turns records into plaintext, under the cipher of the receiving direction, whose counter it takes over.

    ``failure`` is ``None`` until a record cannot be opened, and then final: nothing behind it can be trusted.
    """

    def __init__(self, cipher: CipherState, space: Workspace) -> None:
        assert cipher.aead is not None
        self._decrypt = cipher.aead.decrypt
        self._decrypt_into = cipher.aead.decrypt_into
        self._received = cipher.n
        self._space = space
        self.failure: ConnectionClosed | None = None

    def open(self, view: memoryview, deliver: Deliver) -> int:
        """Open every whole record at the front of ``view``, until ``deliver`` wants no more. Returns the
        bytes that this took.

        ``deliver`` is called with the plaintext of each once it is authenticated, or with that of a full record and
        the short one behind it. Records without plaintext are legal (Noise spec, 3), and work for us, so they are
        delivered as what they are: nothing. A length that
        cannot hold a tag is refused as soon as it is there. When a record fails, those before it have been delivered,
        and ``failure`` is raised, now and in every later call: ``DecryptError``, or ``ConnectionClosed`` when the
        counter is used up.
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
            n = self._received
            try:
                if TAGLEN <= size <= ONE_SHOT and n < MAX_NONCE:
                    plaintext = self._decrypt(pack_nonce(n), view[body:end], None)
                    self._received = n + 1
                else:
                    plaintext, end = self._open_large(view, body, size)
            except InvalidTag:
                self.failure = DecryptError("a Noise record did not authenticate")
                raise self.failure from None
            except ConnectionClosed as error:
                self.failure = error
                raise
            at = end
            if deliver(plaintext):
                break
        return at

    def _open_large(self, view: memoryview, at: int, size: int) -> tuple[memoryview, int]:
        """Open a large record in the workspace; returns its plaintext and where it ends. Refuse what is no record.

        A full frame of go-yamux is a little longer than a record: the short rest behind a full record is opened with
        it, so that the frame is in one piece. A rest that cannot be opened is left: the next look at it says why.
        """
        if size < TAGLEN:
            raise DecryptError("a Noise record shorter than its tag")
        n, end, opened = self._received, at + size, self._space.opened
        if n >= MAX_NONCE:
            raise _exhausted()
        self._decrypt_into(pack_nonce(n), view[at:end], None, opened[: size - TAGLEN])
        self._received = n = n + 1
        if size == MAX_MESSAGE and end + _PREFIX <= len(view):
            body = end + _PREFIX
            rest = view[end] << 8 | view[end + 1]
            if TAGLEN < rest <= ONE_SHOT and body + rest <= len(view) and n < MAX_NONCE:
                whole = opened[: MAX_PLAINTEXT + rest - TAGLEN]
                try:
                    self._decrypt_into(pack_nonce(n), view[body : body + rest], None, whole[MAX_PLAINTEXT:])
                except InvalidTag:
                    return opened[:MAX_PLAINTEXT], end
                self._received = n + 1
                return whole, body + rest
        return opened[: size - TAGLEN], end


def _exhausted() -> ConnectionClosed:
    return ConnectionClosed("the Noise counter is used up")
