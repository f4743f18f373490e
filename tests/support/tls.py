"""Somebody who speaks TLS at a bare socket, by Python's ``ssl``, and says in records whatever a test wants."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.transport.wire import Bare

HANDSHAKE, APPLICATION = 22, 23
KEY_UPDATE = bytes([24, 0, 0, 1, 0])  # and the other side need not change its own (RFC 8446, 4.6.3)


class Speaker:
    """One side of a connection; ``name``: a client's, of the server that it wants."""

    def __init__(self, bare: Bare, context: ssl.SSLContext, name: str | None = None) -> None:
        self.bare = bare
        self._in, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self.out, server_side=name is None, server_hostname=name)

    async def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not (came := await self.bare.receive()):
                    raise ConnectionError("closed in the handshake") from None
                self._in.write(came)
            except ssl.SSLError:
                await self._flush()
                raise
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), 16_384):
            self.tls.write(data[start : start + 16_384])
        await self._flush()

    async def receive(self, size: int) -> bytes:
        """Exactly so many bytes, or fewer at the end."""
        got = bytearray()
        while len(got) < size:
            try:
                piece = self.tls.read(size - len(got))
            except ssl.SSLWantReadError:
                if not (came := await self.bare.receive()):
                    raise ConnectionError("closed without close_notify") from None
                self._in.write(came)
            except ssl.SSLZeroReturnError:
                break
            else:
                if not piece:
                    break
                got += piece
        return bytes(got)

    async def close(self) -> None:
        """``close_notify``."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        await self._flush()

    async def _flush(self) -> None:
        if self.out.pending:
            await self.bare.send(self.out.read())


def record(kind: int, body: bytes, size: int | None = None) -> bytes:
    return bytes([kind, 3, 3]) + (len(body) if size is None else size).to_bytes(2, "big") + body


class Sealer:
    """Records under a client's keys, which ``ssl`` has written into ``keylog`` (RFC 8446, 5.2 and 7.3)."""

    def __init__(self, keylog: Path) -> None:
        secrets = dict(line.split()[::2] for line in keylog.read_text("ascii").splitlines() if line[0] != "#")
        self._take(bytes.fromhex(secrets["CLIENT_TRAFFIC_SECRET_0"]))

    def _take(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._key, self._iv = AESGCM(self._expand("key", 32)), int.from_bytes(self._expand("iv", 12), "big")

    def _expand(self, label: str, size: int) -> bytes:
        name = b"tls13 " + label.encode()
        info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
        return HKDFExpand(hashes.SHA384(), size, info).derive(self._secret)

    def seal(self, body: bytes, kind: int = APPLICATION) -> bytes:
        inner = body + bytes([kind])
        header = record(APPLICATION, b"", len(inner) + 16)
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._key.encrypt(nonce, inner, header)

    def key_update(self) -> bytes:
        told = self.seal(KEY_UPDATE, HANDSHAKE)
        self._take(self._expand("traffic upd", 48))
        return told
