"""A WebSocket of our own on a blocking socket: what is sent through it is a message, what is said beside it can be
anything.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

from tests.hostile.wire import Ended, Wire
from tests.websocket.by_the_book import BINARY, CLOSE, FIN, raw

KEY = base64.b64encode(bytes(range(16))).decode()
ACCEPT = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
HEADERS = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def request(*more: str, first: str = "GET / HTTP/1.1", **changed: str | None) -> bytes:
    """A request for a WebSocket; ``changed`` headers (``_`` for ``-``) have that value, None: they are not there."""
    headers: dict[str, Any] = HEADERS | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [first, *(f"{name}: {value}" for name, value in headers.items() if value is not None), *more]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(payload: bytes, first: int = FIN | BINARY, **options: Any) -> bytes:
    """Of a client."""
    return raw(first, payload, key=os.urandom(4), **options)


class WebSocket(Wire):
    """``buffer`` is what came in messages; ``closed`` the code of the other side's close, 0 for none in it."""

    client = True

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.frames = bytearray()
        self.framed = False
        self.closed: int | None = None
        self.controls: list[int] = []
        self.head = b""

    def say(self, data: bytes) -> None:
        """Bytes as they are."""
        super().send(data)

    def send(self, data: bytes) -> None:
        super().send(frame(data) if self.client else raw(FIN | BINARY, data))

    def open(self, asked: bytes = b"") -> int:
        """The handshake as a client, and what the server's answer was; frames are read from then on."""
        self.say(asked or request())
        return self.answer()

    def answer(self) -> int:
        """The status of the answer, 0: the server has closed without one."""
        while b"\r\n\r\n" not in self.frames:
            try:
                self._receive(5.0)
            except Ended:
                return 0
        self.head, _, rest = bytes(self.frames).partition(b"\r\n\r\n")
        self.frames[:] = rest
        status = int(self.head.split()[1])
        self.framed = status == 101
        while self._one():
            pass
        return status

    def accept(self) -> None:
        """The handshake as a server."""
        self.client = False
        while b"\r\n\r\n" not in self.frames:
            self._receive(5.0)
        asked = bytes(self.frames).partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = hashlib.sha1(asked + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        told = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {base64.b64encode(accept).decode()}"
        self.frames.clear()
        self.framed = True
        self.say(f"HTTP/1.1 101 Switching Protocols\r\n{told}\r\n\r\n".encode())

    def fill(self, within: float) -> bool:
        came = self._receive(within)
        while self._one():
            pass
        return came

    def _receive(self, within: float) -> bool:
        plain, self.buffer = self.buffer, self.frames
        try:
            return super().fill(within)
        finally:
            self.buffer = plain

    def _one(self) -> bool:
        """Takes one frame, of a peer that writes it well."""
        data = self.frames
        if not self.framed or len(data) < 2:
            return False
        at, size = 2, data[1] & 0x7F
        if size > 125:
            at += 2 if size == 126 else 8
            size = int.from_bytes(data[2:at], "big")
        key = bytes(data[at : at + 4]) if data[1] & 0x80 else bytes(4)
        at += 4 if data[1] & 0x80 else 0
        if len(data) < at + size:
            return False
        payload = bytes(byte ^ key[place % 4] for place, byte in enumerate(data[at : at + size]))
        if data[0] & 8:
            self.controls.append(data[0] & 15)
            if data[0] & 15 == CLOSE:
                self.closed = int.from_bytes(payload[:2], "big")
        else:
            self.buffer += payload
        del data[: at + size]
        return True
