"""A blocking socket that knows how the other side ended it."""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import suppress
from typing import Self

from harness.process import Patience
from tests.netns import IPV6_FREEBIND

PATIENCE = 5.0  # seconds for what is expected to happen
CHUNK = 1 << 18


class Ended(Exception):
    """The other side closed: ``eof`` or ``reset``."""


class Late(AssertionError):
    """What was waited for has not come in time."""


class Cut(Exception):
    """Our own allowance of bytes is used up: the sending direction is closed."""


class Wire:
    """``allowance``: bytes that may still be sent, then our side ends (hostile row 7)."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.ending: str | None = None
        self.sent = self.received = 0
        self.allowance: int | None = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(PATIENCE)

    @classmethod
    def connect(cls, address: tuple[str, int], *, source: str | None = None, small: bool = False) -> Wire:
        """``source``: our own address; ``small``: a receive buffer that is soon full."""
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            if small:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            if source is not None:
                if ":" in source:
                    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
                sock.bind((source, 0))
            sock.settimeout(Patience.of(PATIENCE))
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self.sock.fileno()

    # ------------------------------------------------------------------ sending

    def send(self, data: bytes) -> None:
        """All of it. ``Ended`` when the other side has gone, ``Cut`` when the allowance ends."""
        rest = b""
        if self.allowance is not None:
            data, rest = data[: self.allowance], data[self.allowance :]
            self.allowance -= len(data)
        try:
            self.sock.settimeout(Patience.of(PATIENCE))
            self.sock.sendall(data)
        except TimeoutError:
            raise Late("the other side takes no bytes") from None
        except OSError:
            raise self._gone("reset") from None
        self.sent += len(data)
        if rest:
            self.sock.shutdown(socket.SHUT_WR)
            raise Cut

    def push(self, data: bytes, patience: float = 0.0) -> int:
        """What the socket takes; stops when nothing goes for ``patience`` seconds. ``Ended`` as for ``send``."""
        view, done = memoryview(data), 0
        self.sock.settimeout(0)
        while done < len(view):
            try:
                done += self.sock.send(view[done : done + CHUNK])
            except BlockingIOError:
                if not self._wait(select.POLLOUT, patience):
                    break
            except OSError:
                raise self._gone("reset") from None
        self.sent += done
        return done

    def slowly(self, data: bytes, pause: float = 0.0) -> None:
        """Byte by byte, each a segment of its own."""
        for byte in data:
            self.send(bytes([byte]))
            if pause:
                time.sleep(pause)

    # ------------------------------------------------------------------ receiving

    def fill(self, within: float) -> bool:
        """Receive once; False when nothing came. ``Ended`` when nothing will come any more."""
        if self.ending is not None:
            raise Ended(self.ending)
        if not self._wait(select.POLLIN, within):
            return False
        try:
            data = self.sock.recv(CHUNK)
        except OSError:
            raise self._gone("reset") from None
        if not data:
            raise self._gone("eof")
        self.buffer += data
        self.received += len(data)
        return True

    def exactly(self, count: int, within: float = PATIENCE) -> bytes:
        end = time.monotonic() + Patience.of(within)
        while len(self.buffer) < count:
            if not self.fill(end - time.monotonic()) and time.monotonic() >= end:
                raise Late(f"{len(self.buffer)} of {count} bytes after {within:g} s")
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def until_closed(self, within: float = PATIENCE) -> float:
        """Seconds until the other side had closed; what it said before is in ``buffer``."""
        start, within = time.monotonic(), Patience.of(within)
        while True:
            try:
                self.fill(start + within - time.monotonic())
            except Ended:
                return time.monotonic() - start
            if time.monotonic() - start >= within:
                raise Late(f"not closed after {within:g} s")

    def _gone(self, how: str) -> Ended:
        self.ending = how
        return Ended(how)

    def _wait(self, event: int, within: float) -> bool:
        poll = select.poll()
        poll.register(self.sock, event)
        return bool(poll.poll(max(within, 0.0) * 1e3))

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """FIN."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def crash(self) -> None:
        """RST."""
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()
